// One node, one edge, one box around a group.  Each is drawn again only if what it shows has changed.
import {rate, seconds, sensible} from "../numbers.js";
import {fitted, plural, shown} from "../text.js";
import {glyphOf} from "../ui/glyphs.js";
import {memo} from "../ui/memo.js";
import {toneOf} from "../ui/parts.jsx";
import {sizeOf} from "./layout.js";

const fails = (entry) => sensible(entry.error_rate) > 0;
// Of hundreds of messages one fails now and then: that is told, but no alarm.
const isSlight = (entry) => fails(entry) && entry.error_rate * 200 < entry.rate;

// What a node shows, as plain values: it is drawn again only if one of them has changed.
export function shownOf(node) {
  const {entry} = node, bad = fails(entry), times = node.type === "group" ? node.members : entry.instances?.length ?? 0;
  const title = fitted(node.name, times > 1 ? 12 : 15), small = detailOf(node, bad);
  // A screen reader says what is seen, in the same words, and then the state, which is seen as a sign.
  const label = [title, times > 1 && `×${times}`, small, node.type === "component" && !entry.gone && entry.state && shown(entry.state, 30)].filter(Boolean).join(" ");
  return {
    id: node.id, type: node.type, name: node.name, title, small, times, label, bad: bad && !isSlight(entry), tone: node.type === "exchange" ? "none" : toneOf(entry),
    fails: bad, isGone: entry.gone === true, isProgram: entry.kind === "program", glyph: node.type === "component" ? entry.kind : node.type,
  };
}

function detailOf({type, entry}, bad) {
  if (type === "exchange") return sensible(entry.rate) === null ? "exchange" : `exchange · ${rate(entry.rate)}`;
  if (entry.gone) return "gone";
  if (entry.kind === "program") return "sends only";
  if (bad) return `✕ ${rate(entry.error_rate)} of ${rate(entry.rate)}`;
  return sensible(entry.p99) === null ? rate(entry.rate) : `${rate(entry.rate)} · ${seconds(entry.p99)}`;
}

export const Node = memo(({id, type, name, title, glyph, small, times, bad, fails: isFailing, label, tone, isGone, isProgram, x, y, isNear, isChosen, isFirst, isCopy, isPlain = false}) => {
  const [width, height] = sizeOf({type}), isExchange = type === "exchange", top = height / 2 - 16;
  const classes = ["node", type, tone, isProgram && "program", isGone && "gone", isNear && "near", isChosen && "chosen", bad && "failing"].filter(Boolean).join(" ");
  const own = isCopy ? {"aria-hidden": "true"} : {role: "button", "data-node": id, tabIndex: isFirst ? 0 : -1, "aria-label": label, "aria-pressed": isChosen ? "true" : "false"};
  return <g class={classes} {...own} transform={`translate(${x - width / 2} ${y - height / 2})`}>
    {!isCopy && title !== name && <title>{shown(name, 500)}</title>}
    {type === "group" && <rect class="stack" x="5" y="5" width={width} height={height} rx="12" />}
    <rect class="body" width={width} height={height} rx={isExchange ? height / 2 : 12} />
    {!isPlain && <><rect class="tile" x="12" y={top} width="32" height="32" rx={isExchange ? 16 : 9} /><path class="glyph" d={glyphOf(glyph)} transform={`translate(20 ${height / 2 - 8})`} /></>}
    {!isExchange && <Mark tone={tone} isPlain={isPlain} />}
    <g>
      <text class="title" x="54" y={height / 2 - 4}>{title}</text>{" "}
      {times > 1 && <text class="times" x={width - 12} y={height / 2 - 4} text-anchor="end">×{times}</text>}{" "}
      <text class={isFailing ? "small fail" : "small"} x="54" y={height / 2 + 14}>{small}</text>
    </g>
  </g>;
});

// The state by shape and colour: a disc is well, a triangle wants a look, a cross is bad, a ring is unknown.
function Mark({tone, isPlain}) {
  const shape = tone === "warn" ? <path class="mark" d="M43 38.500l5.500 9.500h-11z" /> : tone === "bad" ? <path class="mark cross" d="M39.500 40.500l7 7m0-7l-7 7" /> : <circle class={tone === "none" ? "mark ring" : "mark"} cx="43" cy="44" r="4" />;
  return isPlain ? <g transform="translate(-15 -13)">{shape}</g> : <g><circle class="hole" cx="43" cy="44" r="7" />{shape}</g>;
}

// Widths in steps, so that a rate which moves a little changes nothing.
export function lineOf(edge) {
  const number = sensible(edge.entry.rate) ?? 0;
  return {id: edge.id, kind: edge.kind, bad: fails(edge.entry), slight: isSlight(edge.entry), idle: number === 0, width: 1.25 + Math.round(Math.min(3.5, Math.log10(1 + number) * 1.2) * 2) / 2};
}

export const Edge = memo(({id, kind, path, bad, slight, idle, width, isNear, isChosen}) => <g class={["edge", kind, bad && "failing", slight && "slight", idle && "idle", isNear && "near", isChosen && "chosen"].filter(Boolean).join(" ")} data-edge={id}>
  <path class="hit" d={path} />
  <path class="line" d={path} stroke-width={width} marker-end={`url(#${slight ? "arrow-slight" : bad ? "arrow-failing" : isNear || isChosen ? "arrow-near" : kind === "message" ? "arrow-message" : "arrow"})`} />
</g>);

export function labelOf(edge) {
  const bad = fails(edge.entry), time = sensible(edge.entry.p99) !== null ? ` · ${seconds(edge.entry.p99)}` : "";
  return {text: `${rate(edge.entry.rate)}${bad ? ` ✕ ${rate(edge.entry.error_rate)}` : time}`, bad};
}

export const Label = memo(({text, bad, x, y, isNear}) => {
  const width = text.length * 6.1 + 12;
  return <g class={["label", bad && "failing", isNear && "near"].filter(Boolean).join(" ")} transform={`translate(${x.toFixed(1)} ${y.toFixed(1)})`}>
    <rect x={-width / 2} y="-9" width={width} height="18" rx="9" /><text text-anchor="middle" y="4">{text}</text>
  </g>;
});

export const Box = memo(({group, count, left, top, width, height, onClose}) => <g class="box" transform={`translate(${left - 14} ${top - 34})`}>
  <rect width={width + 28} height={height + 48} rx="14" />
  <g role="button" tabIndex={0} class="boxname" aria-label={`Collapse the group ${shown(group, 80)}, ${plural(count, "component")}`} onClick={() => onClose(group)} onKeyDown={(event) => (event.key === "Enter" || event.key === " ") && (event.preventDefault(), onClose(group))}>
    <title>{shown(group, 300)}</title><text x="14" y="21">{fitted(group, Math.max(8, Math.floor(width / 8)))} <tspan class="small">− {count}</tspan></text>
  </g>
</g>);
