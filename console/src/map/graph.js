// What the map draws: nodes and edges, made of the state, a grouping and a filter.  Pure.
//
// A node is {id, type: "component" | "exchange" | "group", name, group, entry, members}; an edge is
// {id, from, to, kind, entry} whose ends are ids of nodes.  An edge of a collapsed group sums up those of its members.

export const FEW = 60; // so many components are drawn one by one
export const GROUPINGS = {none: "No groups", host: "By host", kind: "By kind", name: "By name", group: "By group"};

export const nodeId = ({type, id}) => `${type}:${id}`;

// The group of a component; of a name it is what comes before the first separator or number.
export function groupOf(entry, by) {
  if (by === "host") return entry.hosts?.[0] ?? "unknown host";
  if (by === "kind") return entry.kind ?? "unknown kind";
  if (by === "group") return entry.groups?.[0] ?? "no group";
  return by === "name" ? /^[^-_.:/\d\s]+/.exec(String(entry.name ?? "").slice(0, 200))?.[0] ?? "others" : "";
}

export function matches(entry, words) {
  if (!words.length) return true;
  const texts = [entry.name, entry.kind, entry.class, entry.state, ...(entry.hosts ?? []), ...(entry.groups ?? [])].map((each) => String(each ?? "").slice(0, 300).toLowerCase());
  return words.every((word) => texts.some((text) => text.includes(word)));
}

export const wordsOf = (filter) => filter.toLowerCase().split(/\s+/).filter(Boolean);

export function graphOf({components, exchanges, edges}, {by = "none", open = new Set(), closed = new Set(), filter = ""} = {}) {
  const words = wordsOf(filter), found = [...components].filter(([, entry]) => matches(entry, words));
  const isFew = found.length <= FEW, nodes = new Map(), standsFor = new Map(), groups = new Map();
  const put = (id, node) => nodes.set(id, {id, members: 1, ...node});
  const isOpen = (group) => by === "none" || (isFew ? !closed.has(group) : open.has(group));

  for (const [name, entry] of found) {
    const group = groupOf(entry, by), id = `component:${name}`;
    if (by !== "none") groups.set(group, (groups.get(group) ?? 0) + 1);
    if (isOpen(group)) put(id, {type: "component", name, entry, group});
    else standsFor.set(id, gathered(nodes, group, entry));
  }
  for (const [name, entry] of exchanges) {
    const isNear = !words.length || matches({name}, words);
    if (isNear) put(`exchange:${name}`, {type: "exchange", name, entry, group: ""});
  }
  return {nodes, edges: edgesOf(edges, nodes, standsFor), groups, isFew};
}

function gathered(nodes, group, entry) {
  const id = `group:${group}`, node = nodes.get(id) ?? {id, type: "group", name: group, group, members: 0, entry: {rate: 0, error_rate: 0, gone: true, state: ""}};
  const sum = node.entry;
  nodes.set(id, node);
  node.members += 1;
  sum.rate += known(entry.rate);
  sum.error_rate += known(entry.error_rate);
  sum.gone &&= entry.gone === true;
  if (!sum.state || entry.state !== "consuming") sum.state = entry.state;
  return id;
}

const known = (number) => (Number.isFinite(number) && number > 0 && number < 1e12 ? number : 0);

function edgesOf(edges, nodes, standsFor) {
  const found = new Map();
  const end = (of) => { const id = nodeId(of); return nodes.has(id) ? id : standsFor.get(id); };
  for (const [id, entry] of edges) {
    if (!entry?.from || !entry.to) continue;
    const from = end(entry.from), to = end(entry.to);
    if (from === undefined || to === undefined) continue;
    const isWhole = from === nodeId(entry.from) && to === nodeId(entry.to);
    if (isWhole) { found.set(id, {id, from, to, kind: entry.kind, entry, count: 1}); continue; }
    if (from === to) continue;
    const key = `${entry.kind} ${from} > ${to}`, sum = found.get(key);
    if (sum === undefined) found.set(key, {id: key, from, to, kind: entry.kind, count: 1, isSum: true, entry: {...entry, rate: known(entry.rate), error_rate: known(entry.error_rate), p99: entry.p99}});
    else {
      sum.count += 1;
      sum.entry.rate += known(entry.rate);
      sum.entry.error_rate += known(entry.error_rate);
      if (entry.p99 > (sum.entry.p99 ?? 0)) sum.entry.p99 = entry.p99;
    }
  }
  return found;
}

// The nodes beside *id*, and the edges to them.
export function neighbours(graph, id) {
  const nodes = new Set([id]), edges = new Set();
  for (const edge of graph.edges.values()) {
    if (edge.from !== id && edge.to !== id && edge.id !== id) continue;
    edges.add(edge.id);
    nodes.add(edge.from).add(edge.to);
  }
  return {nodes, edges};
}
