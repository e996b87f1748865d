// One node, one edge, one box around a group.  Each is drawn again only if what it shows has changed.
import {rate, seconds, sensible} from "../numbers.js";
import {fitted, plural, shown} from "../text.js";
import {memo} from "../ui/memo.js";
import {toneOf} from "../ui/parts.jsx";
import {sizeOf} from "./layout.js";

const fails = (entry) => sensible(entry.error_rate) > 0;
// Among many edges some message always fails: their sum fails from one in a hundred on.
const edgeFails = ({entry, isSum}) => fails(entry) && (!isSum || entry.error_rate * 100 >= entry.rate);
const COLUMNS = {component: 16, group: 16, exchange: 15};

// What a node shows, as plain values: it is drawn again only if one of them has changed.
export function shownOf(node) {
  const {entry} = node, bad = fails(entry);
  const small = node.type === "exchange" ? "exchange" : node.type === "group" ? plural(node.members, "component") : entry.gone ? "gone" : shown(entry.kind, 20);
  const number = sensible(entry.rate) === null || entry.kind === "program" ? "" : !bad ? rate(entry.rate) : node.type === "group" ? `✕ ${rate(entry.error_rate)}` : `✕ ${rate(entry.error_rate)} of ${rate(entry.rate)}`;
  const lines = [fitted(node.name, COLUMNS[node.type]), node.type === "exchange" && number ? `${small} · ${number}` : small];
  // A screen reader says what is seen, in the same words, and then the state, which is seen as a sign.
  const label = [...lines, node.type !== "exchange" && number, node.type === "component" && !entry.gone && entry.state && shown(entry.state, 30)].filter(Boolean).join(" ");
  return {
    id: node.id, type: node.type, name: node.name, small, bad, label, number, tone: node.type === "exchange" ? "none" : toneOf(entry), isGone: entry.gone === true, isProgram: entry.kind === "program",
  };
}

export const Node = memo(({id, type, name, small, bad, label, tone, isGone, isProgram, number, x, y, isNear, isChosen, isFirst, isCopy}) => {
  const [width, height] = sizeOf({type});
  const classes = ["node", type, tone, isProgram && "program", isGone && "gone", isNear && "near", isChosen && "chosen", bad && "failing"].filter(Boolean).join(" ");
  const own = isCopy ? {"aria-hidden": "true"} : {role: "button", "data-node": id, tabIndex: isFirst ? 0 : -1, "aria-label": label, "aria-pressed": isChosen ? "true" : "false"};
  return <g class={classes} {...own} transform={`translate(${x - width / 2} ${y - height / 2})`}>
    {!isCopy && name.length > COLUMNS[type] && <title>{shown(name, 500)}</title>}
    {type === "group" && <rect class="stack" x="5" y="5" width={width} height={height} rx="10" />}
    <rect class="body" width={width} height={height} rx={type === "exchange" ? height / 2 : 10} />
    <g>
      {type === "exchange"
        ? <><text class="title" x={width / 2} y="17" text-anchor="middle">{fitted(name, COLUMNS[type])}</text>{" "}<text class="small" x={width / 2} y="30" text-anchor="middle">{number ? `exchange · ${number}` : "exchange"}</text></>
        : <>
          <Mark tone={tone} />
          <text class="title" x="30" y="25">{fitted(name, COLUMNS[type])}</text>{" "}
          <text class="small" x="14" y="47">{small}</text>{" "}
          {number && <text class={bad ? "number fail" : "number"} x={width - 12} y="47" text-anchor="end">{number}</text>}
        </>}
    </g>
  </g>;
});

// The state by shape and colour: a disc is well, a triangle wants a look, a cross is bad, a ring is unknown.
function Mark({tone}) {
  if (tone === "warn") return <path class="mark" d="M19 14l6 11h-12z" />;
  if (tone === "bad") return <path class="mark cross" d="M15 16l8 8m0-8l-8 8" />;
  return <circle class={tone === "none" ? "mark ring" : "mark"} cx="19" cy="20" r="4.500" />;
}

// Widths in steps, so that a rate which moves a little changes nothing.
export function lineOf(edge) {
  const number = sensible(edge.entry.rate) ?? 0;
  return {id: edge.id, kind: edge.kind, bad: edgeFails(edge), idle: number === 0, width: 1.25 + Math.round(Math.min(3.5, Math.log10(1 + number) * 1.2) * 2) / 2};
}

export const Edge = memo(({id, kind, path, bad, idle, width, isNear, isChosen}) => <g class={["edge", kind, bad && "failing", idle && "idle", isNear && "near", isChosen && "chosen"].filter(Boolean).join(" ")} data-edge={id}>
  <path class="hit" d={path} />
  <path class="line" d={path} stroke-width={width} marker-end={bad ? "url(#arrow-failing)" : "url(#arrow)"} />
</g>);

export function labelOf(edge) {
  const bad = edgeFails(edge), time = sensible(edge.entry.p99) !== null ? ` · ${seconds(edge.entry.p99)}` : "";
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
