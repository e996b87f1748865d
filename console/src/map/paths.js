// The lines of edges.  Pure.
import {sizeOf} from "./layout.js";

// {path, x, y}: the way of *edge*, and where its label stands.  *ports* are those of `portsOf`.
export function pathOf(edge, graph, {places, routes, down, ring}, ports, beside = 0) {
  const route = routes.get(edge.id);
  if (route && ports.has(edge.id)) return {path: through(ports.get(edge.id).concat(route.points.slice(1, -1)), down), x: route.x, y: route.y};
  const from = graph.nodes.get(edge.from), to = graph.nodes.get(edge.to), a = places.get(edge.from), b = places.get(edge.to);
  if (edge.from === edge.to) return loop(a, sizeOf(from));
  if (ring) return chord(a, b, sizeOf(from), sizeOf(to), beside);
  const [fromWidth, fromHeight] = sizeOf(from), [toWidth, toHeight] = sizeOf(to), dx = b.x - a.x, dy = b.y - a.y, shift = beside * 12;
  if (Math.abs(dx) > Math.max(fromWidth, toWidth) * 0.75) {
    const side = Math.sign(dx), x1 = a.x + (side * fromWidth) / 2, x2 = b.x - (side * toWidth) / 2, bend = side * Math.max(30, Math.abs(x2 - x1) / 2), y1 = a.y + shift, y2 = b.y + shift;
    return curve(x1, y1, x1 + bend, y1, x2 - bend, y2, x2, y2);
  }
  const side = Math.sign(dy) || 1, y1 = a.y + (side * fromHeight) / 2, y2 = b.y - (side * toHeight) / 2, bend = side * Math.max(24, Math.abs(y2 - y1) / 2), x1 = a.x + shift, x2 = b.x + shift;
  return curve(x1, y1, x1, y1 + bend, x2, y2 - bend, x2, y2);
}

const round = (number) => Math.round(number * 10) / 10;

function curve(...at) {
  const [x1, y1, x2, y2, x3, y3, x4, y4] = at.map(round);
  return {path: `M${x1} ${y1}C${x2} ${y2} ${x3} ${y3} ${x4} ${y4}`, x: (x1 + 3 * x2 + 3 * x3 + x4) / 8, y: (y1 + 3 * y2 + 3 * y3 + y4) / 8};
}

function loop({x, y}, [width, height]) {
  const top = y - height / 2;
  return {...curve(x + width / 4, top, x + width / 2, top - 44, x - width / 2, top - 44, x - width / 4, top), y: top - 34};
}

// Where each routed edge leaves and enters: the edges on one side of a node are spread along it, in the order of
// what they lead to, so that none crosses another there.  A Map of [start, end] by the id of the edge.
export function portsOf(graph, {places, routes, down}) {
  const [along, across, size] = down ? ["y", "x", 0] : ["x", "y", 1], sides = new Map(), ports = new Map();
  for (const edge of [...graph.edges.values()].sort((a, b) => (a.id < b.id ? -1 : 1))) {
    const points = routes.get(edge.id)?.points;
    if (!points || points.length < 3) continue;
    ports.set(edge.id, []);
    for (const [at, id, next] of [[0, edge.from, points[1]], [1, edge.to, points[points.length - 2]]]) {
      const side = Math.sign(next[along] - places.get(id)[along]) || 1, key = `${side} ${id}`;
      if (!sides.has(key)) sides.set(key, []);
      sides.get(key).push({edge, at, id, side, wish: next[across]});
    }
  }
  for (const ends of sides.values()) {
    const measures = sizeOf(graph.nodes.get(ends[0].id)), step = Math.min(14, (measures[size] - 26) / Math.max(1, ends.length - 1));
    ends.sort((a, b) => a.wish - b.wish).forEach(({edge, at, id, side}, row) => {
      const place = places.get(id);
      ports.get(edge.id)[at] = {[along]: place[along] + (side * measures[1 - size]) / 2, [across]: place[across] + (row - (ends.length - 1) / 2) * step};
    });
  }
  return ports;
}

// A smooth line from the first point by all others to the second; it leaves and enters straight.
function through([start, end, ...between], down) {
  let path = `M${round(start.x)} ${round(start.y)}`, last = start;
  for (const next of [...between, end]) {
    const [x1, y1, x2, y2] = [last.x, last.y, next.x, next.y].map(round), middle = round(down ? (y1 + y2) / 2 : (x1 + x2) / 2);
    path += down ? `C${x1} ${middle} ${x2} ${middle} ${x2} ${y2}` : `C${middle} ${y1} ${middle} ${y2} ${x2} ${y2}`;
    last = next;
  }
  return path;
}

// Across a ring: bent to its centre, from border to border.
function chord(a, b, fromSize, toSize, beside) {
  const bend = 0.35, turn = beside * 26, length = Math.hypot(b.x - a.x, b.y - a.y) || 1;
  const middle = {x: ((a.x + b.x) / 2) * (1 - bend) - ((b.y - a.y) / length) * turn, y: ((a.y + b.y) / 2) * (1 - bend) + ((b.x - a.x) / length) * turn};
  const start = border(a, middle, fromSize), end = border(b, middle, toSize), at = [start, middle, end].flatMap(({x, y}) => [round(x), round(y)]);
  return {path: `M${at[0]} ${at[1]}Q${at[2]} ${at[3]} ${at[4]} ${at[5]}`, x: (start.x + 2 * middle.x + end.x) / 4, y: (start.y + 2 * middle.y + end.y) / 4};
}

// Where the line from the middle of a node to *to* leaves the node.
function border(from, to, [width, height]) {
  const dx = to.x - from.x, dy = to.y - from.y, share = Math.min(1, Math.min(width / 2 / Math.abs(dx || 1e-6), height / 2 / Math.abs(dy || 1e-6)));
  return {x: from.x + dx * share, y: from.y + dy * share};
}
