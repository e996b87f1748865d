// The map, its tools, and the panel of what is chosen.
import {useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState} from "preact/hooks";
import {GROUPINGS, graphOf, groupOf, neighbours} from "../map/graph.js";
import {arranged, boundsOf} from "../map/layout.js";
import {pathOf} from "../map/paths.js";
import {createCamera} from "../map/camera.js";
import {Box, Edge, Label, Node} from "../map/shapes.jsx";
import {href} from "../route.js";
import {plural} from "../text.js";
import {useKept} from "../ui/hooks.js";
import {Edges} from "./lists.jsx";
import {NoComponents} from "./status.jsx";
import {Panel} from "./panel.jsx";

const MOST_LABELS = 60;

export function MapView({state, parts: [type, id], filter, onFilter}) {
  const [by, setBy] = useKept("grouping", "auto"), [shape, setShape] = useKept("map", "map"), [toggled, setToggled] = useState(() => new Set());
  const grouping = by === "auto" || !GROUPINGS[by] ? (state.components.size > 60 ? "name" : "none") : by;
  const graph = useMemo(() => graphOf(state, {by: grouping, open: toggled, closed: toggled, filter}), [state.components, state.exchanges, state.edges, grouping, toggled, filter]);
  const toggle = useCallback((group) => setToggled((old) => { const next = new Set(old); next.has(group) ? next.delete(group) : next.add(group); return next; }), []);
  const chosen = type === "component" || type === "exchange" ? `${type}:${id}` : type === "edge" ? id : null;
  const choose = useCallback((node) => (node ? (node.type === "group" ? toggle(node.name) : (location.hash = href("map", node.type, node.name))) : (location.hash = href("map"))), [toggle]);
  const chooseEdge = useCallback((edge) => (edge.isSum ? toggle(graph.nodes.get(edge.from)?.type === "group" ? graph.nodes.get(edge.from).name : graph.nodes.get(edge.to)?.name) : (location.hash = href("map", "edge", edge.id))), [toggle, graph]);
  const isEmpty = !state.components.size && !state.exchanges.size;

  return <section class={`mapview ${type ? "with-panel" : ""}`}>
    <h1 class="hidden">Map</h1>
    <div class="tools">
      <input type="search" name="filter" placeholder="Filter: name, host, kind…" aria-label="Filter components" value={filter} onInput={(event) => onFilter(event.target.value)} />
      <select aria-label="Groups" name="groups" value={grouping} onChange={(event) => { setToggled(new Set()); setBy(event.target.value); }}>{Object.entries(GROUPINGS).map(([name, title]) => <option key={name} value={name}>{title}</option>)}</select>
      {grouping !== "none" && <button type="button" onClick={() => setToggled(graph.isFew === (toggled.size > 0) ? new Set() : toggled.size ? new Set() : new Set(graph.groups.keys()))}>{(graph.isFew ? !toggled.size : toggled.size > 0) ? "Collapse all" : "Expand all"}</button>}
      <div class="switch" role="group" aria-label="Show as"><button type="button" aria-pressed={shape === "map"} onClick={() => setShape("map")}>Map</button><button type="button" aria-pressed={shape === "table"} onClick={() => setShape("table")}>Table</button></div>
      <span class="note count" role="status">{filter ? `${plural(matching(graph), "match").replace("matchs", "matches")} of ${plural(state.components.size, "component")}` : plural(state.components.size, "component")}</span>
    </div>
    <div class="stage">
      {isEmpty ? <NoComponents state={state} />
        : shape === "table" ? <Edges state={state} filter={filter} />
          : !graph.nodes.size ? <div class="empty"><h2>No component matches</h2><p>The filter looks at names, hosts, kinds, groups and states.</p><button type="button" onClick={() => onFilter("")}>Clear the filter</button></div>
            : <Drawing graph={graph} grouping={grouping} filter={filter} chosen={chosen} onChoose={choose} onEdge={chooseEdge} onToggle={toggle} />}
    </div>
    {type && <Panel key={`${type} ${id}`} state={state} type={type} id={id ?? ""} />}
  </section>;
}

const matching = (graph) => [...graph.nodes.values()].reduce((sum, each) => sum + (each.type === "exchange" ? 0 : each.members), 0);

const layouts = new Map(); // by grouping: a layout outlives the view

function useLayout(graph, grouping, filter) {
  const key = graph.isFew && !filter ? grouping : `${grouping} ${graph.isFew} ${filter}`;
  const signature = [...graph.nodes.keys()].join("\n") + [...graph.edges.keys()].join("\n");
  const [round, setRound] = useState(0);
  const layout = useMemo(() => {
    const before = round === useLayout.round ? layouts.get(key) ?? (filter ? layouts.get(grouping) : null) ?? null : null;
    useLayout.round = round;
    const next = arranged(graph, before);
    if (layouts.size > 50) layouts.clear();
    layouts.set(key, next);
    return next;
  }, [signature, key, round]);
  return [layout, () => setRound(round + 1)];
}
useLayout.round = 0;

function Drawing({graph, grouping, filter, chosen, onChoose, onEdge, onToggle}) {
  const svg = useRef(null), layer = useRef(null), camera = useRef(null);
  const [layout, arrange] = useLayout(graph, grouping, filter);
  const near = useMemo(() => (chosen === null ? null : neighbours(graph, chosen)), [graph, chosen]);
  const isAny = near !== null && near.edges.size + near.nodes.size > 0 && (graph.nodes.has(chosen) || graph.edges.has(chosen));
  const bounds = () => boundsOf([...graph.nodes.values()], layout.places);
  const fit = () => camera.current.fit(bounds());

  useLayoutEffect(() => {
    camera.current = createCamera(svg.current, layer.current);
    return () => camera.current.end();
  }, []);
  useLayoutEffect(() => { if (!camera.current.isMoved()) fit(); }, [layout]);
  const latest = useRef(fit);
  latest.current = fit;
  useEffect(() => {
    const observer = new ResizeObserver(() => !camera.current.isMoved() && latest.current());
    observer.observe(svg.current);
    return () => observer.disconnect();
  }, []);
  useEffect(() => { if (chosen && layout.places.has(chosen) && graph.nodes.has(chosen)) camera.current.show(layout.places.get(chosen)); }, [chosen]);

  const paths = useMemo(() => pathsOf(graph, layout), [layout, graph]);
  const nodes = [...graph.nodes.values()], edges = [...graph.edges.values()], first = graph.nodes.has(chosen) ? chosen : nodes[0].id;
  const isShort = edges.length <= MOST_LABELS;
  const labels = isShort ? edges : isAny && near.edges.size <= 3 * MOST_LABELS ? edges.filter((each) => near.edges.has(each.id)) : [];

  const targetOf = (event) => ({node: graph.nodes.get(event.target.closest?.("[data-node]")?.dataset.node), edge: graph.edges.get(event.target.closest?.("[data-edge]")?.dataset.edge)});
  const press = (event) => {
    const {node, edge} = targetOf(event);
    if (node) onChoose(node);
    else if (edge) onEdge(edge);
    else if (!event.target.closest?.(".boxname") && event.type === "click") onChoose(null);
  };
  const key = (event) => {
    const {node} = targetOf(event);
    if (event.key === "Escape") { event.preventDefault(); onChoose(null); return; }
    if (event.key === "0") return fit();
    if (!node) return;
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); onChoose(node); return; }
    const next = beside(node, event.key, nodes, layout.places);
    if (!next) return;
    event.preventDefault();
    svg.current.querySelector(`[data-node="${CSS.escape(next.id)}"]`)?.focus();
    camera.current.show(layout.places.get(next.id));
  };

  return <>
    <svg ref={svg} class={`map ${isAny ? "focused" : ""} ${nodes.length > 90 ? "many" : ""}`} role="group" tabIndex={0} aria-label="Map of components. Arrow keys move between components, Enter opens one, plus and minus zoom, 0 shows all." onClick={press} onKeyDown={key}>
      <defs>
        <marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" markerUnits="userSpaceOnUse" orient="auto"><path class="tip" d="M0 0.500L8 4L0 7.500z" /></marker>
        <marker id="arrow-failing" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="9" markerHeight="9" markerUnits="userSpaceOnUse" orient="auto"><path class="tip failing" d="M0 0.500L8 4L0 7.500z" /></marker>
      </defs>
      <g ref={layer}>
        {grouping !== "none" && <Boxes graph={graph} layout={layout} grouping={grouping} onClose={onToggle} />}
        {edges.map((each) => <Edge key={each.id} edge={cached(each)} entry={each.entry} path={paths.get(each.id).path} isNear={isAny && near.edges.has(each.id)} isChosen={each.id === chosen} />)}
        {labels.map((each) => <Label key={each.id} edge={cached(each)} entry={each.entry} x={paths.get(each.id).x} y={paths.get(each.id).y} isNear={isAny && near.edges.has(each.id)} />)}
        {nodes.map((each) => <Node key={each.id} node={cached(each)} entry={each.entry} members={each.members} x={layout.places.get(each.id).x} y={layout.places.get(each.id).y} isNear={isAny && near.nodes.has(each.id)} isChosen={each.id === chosen} isFirst={each.id === first} />)}
      </g>
    </svg>
    <div class="zoom" role="group" aria-label="Zoom">
      <button type="button" aria-label="Zoom in" title="Zoom in (+)" onClick={() => camera.current.zoom(1.3)}>+</button>
      <button type="button" aria-label="Zoom out" title="Zoom out (−)" onClick={() => camera.current.zoom(1 / 1.3)}>−</button>
      <button type="button" title="Show all (0)" onClick={fit}>Fit</button>
      <button type="button" title="Place all components anew" onClick={() => { arrange(); requestAnimationFrame(fit); }}>Arrange</button>
    </div>
    <Legend />
  </>;
}

// One object for each node or edge as long as it stays the same, so that what is drawn can be kept.
const known = new Map();
function cached(each) {
  const key = `${each.kind ?? each.type} ${each.id} ${each.group ?? ""}`, before = known.get(key);
  if (before && before.isSum === each.isSum && before.members === each.members) return before;
  if (known.size > 20_000) known.clear();
  known.set(key, each);
  return each;
}

function pathsOf(graph, layout) {
  const found = new Map(), count = new Map(), before = paths.get(layout) ?? new Map();
  paths.set(layout, found);
  for (const edge of graph.edges.values()) {
    const pair = [edge.from, edge.to].sort().join("\n"), at = count.get(pair) ?? 0;
    count.set(pair, at + 1);
    found.set(edge.id, before.get(edge.id) ?? pathOf(edge, graph, layout, at === 0 ? 0 : at % 2 ? (at + 1) / 2 : -at / 2));
  }
  return found;
}
const paths = new WeakMap();

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
