// One node, one edge, one box around a group.  Each is drawn again only if what it shows has changed.
import {rate, seconds, sensible} from "../numbers.js";
import {fitted, plural, shown} from "../text.js";
import {memo} from "../ui/memo.js";
import {toneOf} from "../ui/parts.jsx";
import {sizeOf} from "./layout.js";

const fails = (entry) => sensible(entry.error_rate) > 0;
const KINDS = {component: (node) => node.entry.kind, exchange: () => "exchange", group: (node) => plural(node.members, "component")};

export function spoken(node) {
  const {entry} = node;
  return [node.type === "group" ? `group ${shown(node.name, 80)}` : shown(node.name, 80), KINDS[node.type](node), node.type === "component" && (entry.gone ? "gone" : entry.state), sensible(entry.rate) !== null && `${rate(entry.rate)} handled`, fails(entry) && `${rate(entry.error_rate)} fail`].filter(Boolean).map((each) => shown(each, 100)).join(", ");
}

export const Node = memo(({node, entry, members, x, y, isNear, isChosen, isFirst}) => {
  const [width, height] = sizeOf(node), tone = node.type === "exchange" ? "none" : toneOf(entry), bad = fails(entry);
  const classes = ["node", node.type, tone, entry.kind === "program" && "program", entry.gone && "gone", isNear && "near", isChosen && "chosen", bad && "failing"].filter(Boolean).join(" ");
  return <g class={classes} role="button" data-node={node.id} tabIndex={isFirst ? 0 : -1} aria-label={spoken(node)} aria-pressed={isChosen ? "true" : "false"} transform={`translate(${x - width / 2} ${y - height / 2})`}>
    <title>{shown(node.name, 500)}</title>
    {node.type === "group" && <rect class="stack" x="5" y="5" width={width} height={height} rx="10" />}
    <rect class="body" width={width} height={height} rx={node.type === "exchange" ? height / 2 : 10} />
    {node.type === "exchange"
      ? <><text class="title" x={width / 2} y="17" text-anchor="middle">{fitted(node.name, 19)}</text><text class="small" x={width / 2} y="30" text-anchor="middle">exchange{sensible(entry.rate) !== null && ` · ${rate(entry.rate)}`}</text></>
      : <>
        <Mark tone={tone} />
        <text class="title" x="30" y="25">{fitted(node.name, 19)}</text>
        <text class="small" x="14" y="47">{node.type === "group" ? plural(members, "component") : entry.gone ? "gone" : entry.kind}</text>
        {bad ? <text class="number fail" x={width - 12} y="47" text-anchor="end">✕ {rate(entry.error_rate)} of {rate(entry.rate)}</text>
          : sensible(entry.rate) !== null && <text class="number" x={width - 12} y="47" text-anchor="end">{rate(entry.rate)}</text>}
      </>}
  </g>;
});

// The state by shape and colour: a disc is well, a triangle wants a look, a cross is bad, a ring is unknown.
function Mark({tone}) {
  if (tone === "warn") return <path class="mark" d="M19 14l6 11h-12z" />;
  if (tone === "bad") return <path class="mark cross" d="M15 16l8 8m0-8l-8 8" />;
  return <circle class={tone === "none" ? "mark ring" : "mark"} cx="19" cy="20" r="4.500" />;
}

export const Edge = memo(({edge, path, entry, isNear, isChosen}) => {
  const bad = fails(entry), width = 1.25 + Math.min(3.5, Math.log10(1 + (sensible(entry.rate) ?? 0)) * 1.2), idle = !(sensible(entry.rate) > 0);
  return <g class={["edge", edge.kind, bad && "failing", idle && "idle", isNear && "near", isChosen && "chosen"].filter(Boolean).join(" ")} data-edge={edge.id}>
    <path class="hit" d={path} />
    <path class="line" d={path} stroke-width={width.toFixed(2)} marker-end={bad ? "url(#arrow-failing)" : "url(#arrow)"} />
  </g>;
});

export const Label = memo(({edge, entry, x, y, isNear}) => {
  const bad = fails(entry), first = rate(entry.rate), time = sensible(entry.p99) !== null ? ` · ${seconds(entry.p99)}` : "";
  const text = `${first}${bad ? ` ✕ ${rate(entry.error_rate)}` : time}`, width = text.length * 6.1 + 12;
  return <g class={["label", bad && "failing", isNear && "near"].filter(Boolean).join(" ")} transform={`translate(${x.toFixed(1)} ${y.toFixed(1)})`} data-of={edge.id}>
    <rect x={-width / 2} y="-9" width={width} height="18" rx="9" /><text text-anchor="middle" y="4">{text}</text>
  </g>;
});

export const Box = memo(({group, count, left, top, width, height, onClose}) => <g class="box" transform={`translate(${left - 14} ${top - 34})`}>
  <rect width={width + 28} height={height + 48} rx="14" />
  <g role="button" tabIndex={0} class="boxname" aria-label={`Collapse the group ${shown(group, 80)}, ${plural(count, "component")}`} onClick={() => onClose(group)} onKeyDown={(event) => (event.key === "Enter" || event.key === " ") && (event.preventDefault(), onClose(group))}>
    <title>{shown(group, 300)}</title><text x="14" y="21">{fitted(group, Math.max(8, Math.floor(width / 8)))} <tspan class="small">− {count}</tspan></text>
  </g>
</g>);
