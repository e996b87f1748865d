// The drawing of the map: where things stand, how they are pressed, what is drawn anew.
import {useEffect, useLayoutEffect, useMemo, useRef, useState} from "preact/hooks";
import {createCamera} from "../map/camera.js";
import {groupOf, neighbours} from "../map/graph.js";
import {arranged, boundsOf, MOST_LABELS} from "../map/layout.js";
import {pathOf, portsOf} from "../map/paths.js";
import {Box, Edge, Label, labelOf, lineOf, Node, shownOf} from "../map/shapes.jsx";
import {memo} from "../ui/memo.js";

const MOST_EDGES = 400; // above, those that work are one line each kind: 2,000 elements would stutter
const MOST_NODES = 90;

const layouts = new Map(); // a layout outlives the view

// Dagre or the blocks only run when nodes or edges have come or gone.
function useLayout(graph, grouping, filter, down) {
  const named = `${grouping} ${down}`, key = graph.isFew && !filter ? named : `${named} ${graph.isFew} ${filter}`, [round, setRound] = useState(0), last = useRef(0);
  const structure = useMemo(() => `${[...graph.nodes.keys()].join("\n")}\n\n${[...graph.edges.keys()].join("\n")}`, [graph]);
  const layout = useMemo(() => {
    const before = round === last.current ? layouts.get(key) ?? (filter ? layouts.get(named) : null) ?? null : null;
    last.current = round;
    const next = arranged(graph, before, down);
    if (layouts.size > 50) layouts.clear();
    layouts.set(key, next);
    return next;
  }, [structure, key, round]);
  const paths = useMemo(() => pathsOf(graph, layout), [structure, layout]);
  return {layout, paths, arrange: () => setRound(round + 1)};
}

// Whether the window is higher than wide, as that of a telephone.
const HIGH = matchMedia("(max-width: 820px) and (orientation: portrait)");

function useIsHigh() {
  const [isHigh, set] = useState(HIGH.matches);
  useEffect(() => {
    const changed = () => set(HIGH.matches);
    HIGH.addEventListener("change", changed);
    return () => HIGH.removeEventListener("change", changed);
  }, []);
  return isHigh;
}

function pathsOf(graph, layout) {
  const found = new Map(), count = new Map(), ports = portsOf(graph, layout);
  for (const edge of graph.edges.values()) {
    const pair = edge.from < edge.to ? `${edge.from}\n${edge.to}` : `${edge.to}\n${edge.from}`, at = count.get(pair) ?? 0;
    count.set(pair, at + 1);
    found.set(edge.id, pathOf(edge, graph, layout, ports, at % 2 ? (at + 1) / 2 : -at / 2));
  }
  return found;
}

export function Drawing({graph, grouping, filter, chosen, onChoose, onEdge, onToggle}) {
  const svg = useRef(null), layer = useRef(null), camera = useRef(null), again = useRef(false);
  const isHigh = useIsHigh(), {layout, paths, arrange} = useLayout(graph, grouping, filter, isHigh);
  const isMany = graph.nodes.size > MOST_NODES || graph.edges.size > MOST_EDGES, isChosen = graph.nodes.has(chosen) || graph.edges.has(chosen);
  const near = useMemo(() => (isChosen ? neighbours(graph, chosen) : null), [graph, chosen, isChosen]);
  const fit = () => camera.current.fit(boundsOf([...graph.nodes.values()], layout.places, graph.edges.size >= layout.routes.size ? layout.routes : undefined)), latest = useRef(fit);
  // Where names are too small to be read, what is chosen comes near, with its neighbours.
  const show = () => {
    if (isChosen && isMany && camera.current.isFar()) camera.current.fit(boundsOf([...near.nodes].map((id) => graph.nodes.get(id)).filter(Boolean), layout.places), true);
    else if (graph.nodes.has(chosen)) camera.current.show(layout.places.get(chosen));
  };
  latest.current = () => {
    if (!camera.current.isMoved()) fit();
    show();
  };

  useLayoutEffect(() => {
    camera.current = createCamera(svg.current, layer.current);
    const observer = new ResizeObserver(() => latest.current());
    observer.observe(svg.current);
    return () => {
      observer.disconnect();
      camera.current.end();
    };
  }, []);
  useLayoutEffect(() => {
    if (!camera.current.isMoved() || again.current) fit();
    again.current = false;
  }, [layout]);
  useEffect(() => { show(); }, [chosen]);

  const targetOf = (event) => ({node: graph.nodes.get(event.target.closest?.("[data-node]")?.dataset.node), edge: graph.edges.get(event.target.closest?.("[data-edge]")?.dataset.edge)});
  const press = (event) => {
    const {node, edge} = targetOf(event);
    if (node) onChoose(node);
    else if (edge) onEdge(edge);
    else if (!event.target.closest?.(".boxname")) onChoose(null);
  };
  const key = (event) => {
    const {node} = targetOf(event);
    if (event.key === "Escape") onChoose(null);
    else if (event.key === "0") fit();
    else if (node && (event.key === "Enter" || event.key === " ")) onChoose(node);
    else {
      const next = node && beside(node, event.key, [...graph.nodes.values()], layout.places);
      if (!next) return;
      svg.current.querySelector(`[data-node="${CSS.escape(next.id)}"]`)?.focus();
      camera.current.show(layout.places.get(next.id));
    }
    event.preventDefault();
  };

  const shared = {graph, layout, paths};
  return <>
    <svg ref={svg} class={["map", near && "focused", isMany && "many", layout.ring && "ring"].filter(Boolean).join(" ")} role="group" tabIndex={0} aria-label="Map of components. Arrow keys move between components, Enter opens one, plus and minus zoom, 0 shows all." onClick={press} onKeyDown={key}>
      <defs>{["arrow", "arrow-message", "arrow-near", "arrow-failing", "arrow-slight"].map((id) => <Arrow key={id} id={id} />)}</defs>
      <g ref={layer}>
        {grouping !== "none" && <Boxes graph={graph} layout={layout} grouping={grouping} onClose={onToggle} />}
        {isMany ? <><Many {...shared} first={isChosen ? chosen : null} />{near && <Near {...shared} near={near} chosen={chosen} />}</> : <Few {...shared} near={near} chosen={chosen} />}
      </g>
    </svg>
    <div class="zoom" role="group" aria-label="Zoom">
      <button type="button" aria-label="Zoom in" title="Zoom in (+)" onClick={() => camera.current.zoom(1.3)}>+</button>
      <button type="button" aria-label="Zoom out" title="Zoom out (−)" onClick={() => camera.current.zoom(1 / 1.3)}>−</button>
      <button type="button" title="Show all (0)" onClick={fit}>Fit</button>
      <button type="button" title="Place all components anew" onClick={() => { arrange(); again.current = true; }}>Arrange</button>
    </div>
    <Legend />
  </>;
}

const Arrow = ({id}) => <marker id={id} viewBox="0 0 8 8" refX="7" refY="4" markerWidth="9" markerHeight="9" markerUnits="userSpaceOnUse" orient="auto"><path class={`tip ${id}`} d="M0 0.500L8 4L0 7.500z" /></marker>;

// A map that a person reads at once: each edge has its label.
function Few({graph, layout, paths, near, chosen}) {
  const nodes = [...graph.nodes.values()], edges = [...graph.edges.values()], first = graph.nodes.has(chosen) ? chosen : nodes[0].id;
  const labels = edges.length <= MOST_LABELS ? edges : edges.filter((each) => near?.edges.has(each.id));
  return <>
    {edges.map((each) => <Edge key={each.id} {...lineOf(each)} path={paths.get(each.id).path} isNear={near?.edges.has(each.id) === true} isChosen={each.id === chosen} />)}
    {labels.map((each) => <Label key={each.id} {...labelOf(each)} x={paths.get(each.id).x} y={paths.get(each.id).y} isNear={near?.edges.has(each.id) === true} />)}
    {nodes.map((each) => <Node key={each.id} {...shownOf(each)} {...layout.places.get(each.id)} isNear={near?.nodes.has(each.id) === true} isChosen={each.id === chosen} isFirst={each.id === first} isCopy={false} />)}
  </>;
}

// A map of hundreds.  It does not change when a node is chosen: the style dims all of it, and `Near` lies above it.
const Many = memo(({graph, layout, paths, first}) => {
  const nodes = [...graph.nodes.values()], edges = [...graph.edges.values()], start = first ?? nodes[0].id, isMerged = edges.length > MOST_EDGES;
  const merged = useMemo(() => (isMerged ? ["call", "message"].map((kind) => [kind, edges.filter((each) => each.kind === kind).map((each) => paths.get(each.id).path).join("")]) : []), [paths, isMerged]);
  const drawn = isMerged ? edges.filter((each) => each.entry.error_rate > 0).slice(0, MOST_EDGES) : edges;
  return <g class="base">
    {merged.map(([kind, path]) => <g key={kind} class={`edge merged ${kind}`}><path class="line" d={path} stroke-width="1" /></g>)}
    {drawn.map((each) => <Edge key={each.id} {...lineOf(each)} path={paths.get(each.id).path} isNear={false} isChosen={false} />)}
    {nodes.map((each) => <Node key={each.id} {...shownOf(each)} {...layout.places.get(each.id)} isNear={false} isChosen={false} isFirst={each.id === start} isCopy={false} isPlain />)}
  </g>;
});

function Near({graph, layout, paths, near, chosen}) {
  const edges = [...near.edges].slice(0, MOST_EDGES).map((id) => graph.edges.get(id)).filter(Boolean), nodes = [...near.nodes].map((id) => graph.nodes.get(id)).filter(Boolean);
  return <g>
    {edges.map((each) => <Edge key={each.id} {...lineOf(each)} path={paths.get(each.id).path} isNear isChosen={each.id === chosen} />)}
    {edges.length <= MOST_LABELS && edges.map((each) => <Label key={each.id} {...labelOf(each)} x={paths.get(each.id).x} y={paths.get(each.id).y} isNear />)}
    <g class="copies">{nodes.map((each) => <Node key={each.id} {...shownOf(each)} {...layout.places.get(each.id)} isNear isChosen={each.id === chosen} isFirst={false} isCopy />)}</g>
  </g>;
}

function Boxes({graph, layout, grouping, onClose}) {
  const members = new Map();
  for (const node of graph.nodes.values()) {
    if (node.type !== "component") continue;
    const group = groupOf(node.entry, grouping);
    members.set(group, [...(members.get(group) ?? []), node]);
  }
  return [...members].map(([group, nodes]) => <Box key={group} group={group} count={nodes.length} {...boundsOf(nodes, layout.places)} onClose={onClose} />);
}

// The nearest node in the direction of an arrow key.
function beside(node, key, nodes, places) {
  const way = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[key];
  if (!way) return null;
  const from = places.get(node.id);
  let found = null, least = Infinity;
  for (const each of nodes) {
    const {x, y} = places.get(each.id), along = (x - from.x) * way[0] + (y - from.y) * way[1], across = Math.abs((x - from.x) * way[1]) + Math.abs((y - from.y) * way[0]);
    if (along <= 1) continue;
    const far = along + 2.5 * across;
    if (far < least) [found, least] = [each, far];
  }
  return found;
}

function Legend() {
  return <ul class="legend" aria-label="Legend">
    <li><svg width="26" height="8" aria-hidden="true"><path class="key call" d="M1 4H25" /></svg>call</li>
    <li><svg width="26" height="8" aria-hidden="true"><path class="key message" d="M1 4H25" /></svg>message</li>
    <li class="bad"><span aria-hidden="true">✕</span> fails</li>
    <li>rate · p99</li>
  </ul>;
}
