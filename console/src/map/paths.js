// The lines of edges.  Pure.
import {sizeOf} from "./layout.js";

// {path, x, y}: the way of *edge*, and where its label stands.
export function pathOf(edge, graph, {places, routes}, beside = 0) {
  const route = routes.get(edge.id);
  if (route) return {path: through(route.points), x: route.x, y: route.y};
  const from = graph.nodes.get(edge.from), to = graph.nodes.get(edge.to), a = places.get(edge.from), b = places.get(edge.to);
  if (edge.from === edge.to) return loop(a, sizeOf(from));
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

// A smooth line through *points*: each is the control of a curve between the middles beside it.
function through(points) {
  const p = points.map(({x, y}) => ({x: round(x), y: round(y)})), last = p.length - 1;
  let path = `M${p[0].x} ${p[0].y}`;
  for (let at = 1; at < last; at += 1) {
    const end = at === last - 1 ? p[last] : {x: round((p[at].x + p[at + 1].x) / 2), y: round((p[at].y + p[at + 1].y) / 2)};
    path += `Q${p[at].x} ${p[at].y} ${end.x} ${end.y}`;
  }
  return last === 1 ? `${path}L${p[1].x} ${p[1].y}` : path;
}
