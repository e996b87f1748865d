// The map, its tools, and the panel of what is chosen.
import {useCallback, useMemo, useState} from "preact/hooks";
import {GROUPINGS, graphOf} from "../map/graph.js";
import {href} from "../route.js";
import {plural} from "../text.js";
import {useKept} from "../ui/hooks.js";
import {Drawing} from "./drawing.jsx";
import {Edges} from "./lists.jsx";
import {NoComponents} from "./status.jsx";
import {Panel} from "./panel.jsx";

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
