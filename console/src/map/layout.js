// Where nodes stand.  Positions depend on the structure only, and a node that has a place keeps it.
//
// Dagre arranges what a person can read at once.  Measured: 10 ms for a shop, but 4 s for 500 components with 2,000
// edges, and its drawing is then 30,000 wide: such a map stands in blocks, one for each group, sorted by name.
// Groups that nearly all talk to each other have no order from left to right, so they stand in a ring.
import dagre from "@dagrejs/dagre";

export const SIZES = {component: [192, 62], exchange: [192, 50], group: [192, 62]};
const MOST_NODES = 90, MOST_EDGES = 260;
export const MOST_LABELS = 40; // with more edges, labels would cover the lines
const GAP = 26;

export const sizeOf = (node) => SIZES[node.type];

// *before* is the layout before, or null: {places: Map of {x, y}, routes: Map of points by the id of the edge, down}.
// Messages flow to the right, or *down* in a window that is higher than wide.
export function arranged(graph, before = null, down = false) {
  const nodes = [...graph.nodes.values()];
  const added = before ? nodes.filter((each) => !before.places.has(each.id)) : nodes;
  if (before && !added.length) return before;
  if (!before || added.length * 3 > nodes.length) return anew(graph, nodes, down);
  const places = new Map(before.places);
  for (const node of added) places.set(node.id, freePlace(graph, node, places));
  return {...before, places};
}

function anew(graph, nodes, down) {
  if (isTangle(graph, nodes)) return inRing(nodes, down);
  return nodes.length > MOST_NODES || graph.edges.size > MOST_EDGES ? inBlocks(nodes, down) : inLayers(graph, nodes, down);
}

const isTangle = (graph, nodes) => nodes.length >= 5 && nodes.length <= 40 && nodes.filter((each) => each.type === "group").length * 2 > nodes.length && graph.edges.size >= nodes.length * 2.5;

function inRing(nodes, down) {
  const places = new Map(), sorted = [...nodes].sort((a, b) => words.compare(a.name.slice(0, 200), b.name.slice(0, 200)) || (a.id < b.id ? -1 : 1));
  const apart = 0.5 / Math.sin(Math.PI / nodes.length), wide = (down ? 215 : 330) * apart, high = (down ? 250 : 190) * apart;
  sorted.forEach((node, at) => {
    const angle = ((at + 0.5) / nodes.length) * 2 * Math.PI - Math.PI / 2;
    places.set(node.id, {x: Math.round(Math.cos(angle) * wide), y: Math.round(Math.sin(angle) * high)});
  });
  return {places, routes: new Map(), down, ring: true};
}

function inLayers(graph, nodes, down) {
  const drawing = new dagre.graphlib.Graph({multigraph: true, compound: true});
  const ids = [...graph.edges.keys()].sort(), isLabelled = ids.length <= MOST_LABELS;
  drawing.setGraph({rankdir: down ? "TB" : "LR", nodesep: down ? 24 : 44, ranksep: (down ? 36 : 56) + (isLabelled ? 0 : 60), edgesep: 22, marginx: 0, marginy: 0});
  // Sorted, so that the order in which processes have answered has no effect.
  for (const node of nodes.sort((a, b) => (a.id < b.id ? -1 : 1))) {
    const [width, height] = sizeOf(node);
    drawing.setNode(node.id, {width, height});
  }
  for (const id of ids) {
    const {from, to} = graph.edges.get(id);
    if (from !== to) drawing.setEdge(from, to, isLabelled ? {width: 96, height: 20, labelpos: "c"} : {}, id);
  }
  clusters(drawing, nodes);
  try {
    dagre.layout(drawing);
  } catch {
    return inBlocks(nodes, down);
  }
  const places = new Map(nodes.map(({id}) => [id, {x: drawing.node(id).x, y: drawing.node(id).y}])), routes = new Map();
  for (const edge of drawing.edges()) {
    const {points, x, y} = drawing.edge(edge);
    routes.set(edge.name, {points, x, y});
  }
  return {places, routes, down};
}

function clusters(drawing, nodes) {
  for (const node of nodes) {
    if (node.type !== "component" || !node.group) continue;
    const cluster = `box:${node.group}`;
    if (!drawing.hasNode(cluster)) drawing.setNode(cluster, {});
    drawing.setParent(node.id, cluster);
  }
}

// Blocks beside each other, about as wide as they are high; each has its nodes in rows.
function inBlocks(nodes, down) {
  const blocks = new Map(), places = new Map();
  for (const node of nodes.sort((a, b) => words.compare(a.name.slice(0, 200), b.name.slice(0, 200)) || (a.id < b.id ? -1 : 1))) {
    const block = node.type === "exchange" ? "\uffff" : node.type === "group" ? "" : node.group;
    if (!blocks.has(block)) blocks.set(block, []);
    blocks.get(block).push(node);
  }
  const wide = Math.max(down ? 500 : 1000, Math.sqrt(nodes.length * 214 * 92) * (down ? 0.7 : 1.5));
  let x = 0, y = 0, high = 0;
  for (const [, members] of [...blocks].sort(([a], [b]) => words.compare(a, b))) {
    const columns = Math.max(1, Math.ceil(Math.sqrt(members.length * 0.75))), width = columns * (188 + GAP) + 2 * GAP;
    if (x > 0 && x + width > wide) [x, y, high] = [0, y + high, 0];
    members.forEach((node, at) => places.set(node.id, {x: x + (at % columns) * (188 + GAP) + 94, y: y + Math.floor(at / columns) * (62 + GAP) + 31}));
    high = Math.max(high, Math.ceil(members.length / columns) * (62 + GAP) + 3 * GAP);
    x += width;
  }
  return {places, routes: new Map(), down};
}

const words = new Intl.Collator("en", {numeric: true});

// The nearest free place to where the neighbours of a new node would have it.
function freePlace(graph, node, places) {
  let x = 0, y = 0, count = 0;
  for (const {from, to} of graph.edges.values()) {
    const other = from === node.id ? places.get(to) : to === node.id ? places.get(from) : undefined;
    if (!other) continue;
    x += other.x + (from === node.id ? -300 : 300);
    y += other.y;
    count += 1;
  }
  const beside = [...places].filter(([id]) => graph.nodes.has(id)).map(([, place]) => place);
  const wanted = count ? {x: x / count, y: y / count} : {x: Math.min(...beside.map((each) => each.x), 0), y: Math.max(...beside.map((each) => each.y), 0) + 110};
  const isFree = (at) => beside.every((each) => Math.abs(each.x - at.x) >= 188 + GAP || Math.abs(each.y - at.y) >= 62 + GAP);
  for (let ring = 0; ring < 200; ring += 1) {
    for (let step = 0; step < Math.max(1, ring * 6); step += 1) {
      const angle = (step / Math.max(1, ring * 6)) * 2 * Math.PI + Math.PI / 2;
      const at = {x: Math.round(wanted.x + Math.cos(angle) * ring * 60), y: Math.round(wanted.y + Math.sin(angle) * ring * 45)};
      if (isFree(at)) return at;
    }
  }
  return wanted;
}

// The rectangle around all *nodes*.
export function boundsOf(nodes, places, routes = new Map()) {
  let left = Infinity, top = Infinity, right = -Infinity, bottom = -Infinity;
  for (const node of nodes) {
    const {x, y} = places.get(node.id), [width, height] = sizeOf(node);
    left = Math.min(left, x - width / 2);
    right = Math.max(right, x + width / 2);
    top = Math.min(top, y - height / 2);
    bottom = Math.max(bottom, y + height / 2);
  }
  for (const {points} of routes.values()) {
    for (const {x, y} of points) [left, top, right, bottom] = [Math.min(left, x), Math.min(top, y), Math.max(right, x), Math.max(bottom, y)];
  }
  return left === Infinity ? null : {left, top, width: right - left, height: bottom - top};
}
