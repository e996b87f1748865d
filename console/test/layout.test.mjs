import assert from "node:assert/strict";
import {test} from "node:test";
import {graphOf} from "../src/map/graph.js";
import {arranged, sizeOf} from "../src/map/layout.js";
import {pathOf, portsOf} from "../src/map/paths.js";
import {STATES} from "../dev/states.mjs";
import {EMPTY, withState} from "../src/store.js";

const graph = (name, options) => graphOf(withState(EMPTY, STATES[name]()), options);

const overlaps = (of, places) => {
  const all = [...of.nodes.values()].map((node) => [places.get(node.id), sizeOf(node)]);
  return all.some(([a, [width, height]], at) => all.slice(at + 1).some(([b]) => Math.abs(a.x - b.x) < width && Math.abs(a.y - b.y) < height));
};

test("messages flow to the right, or down in a high window", () => {
  const shop = graph("shop"), at = (layout, id) => layout.places.get(`component:${id}`);
  const wide = arranged(shop), high = arranged(shop, null, true);
  assert.ok(at(wide, "web").x < at(wide, "orders").x && at(wide, "orders").x < at(wide, "stock").x);
  assert.ok(at(high, "web").y < at(high, "orders").y && at(high, "orders").y < at(high, "stock").y);
  assert.equal(overlaps(shop, wide.places) || overlaps(shop, high.places), false);
});

test("no two edges leave or enter a node at the same point", () => {
  const shop = graph("shop"), ends = [...portsOf(shop, arranged(shop)).values()].flat().map(({x, y}) => `${x} ${y}`);
  assert.equal(new Set(ends).size, ends.length);
});

test("nodes do not overlap, neither 500 in blocks nor groups in a ring", () => {
  for (const down of [false, true]) {
    const all = graph("large"), groups = graph("large", {by: "name"}), ring = arranged(groups, null, down);
    assert.equal(overlaps(all, arranged(all, null, down).places), false);
    assert.equal(ring.ring, true);
    assert.equal(overlaps(groups, ring.places), false);
  }
});

test("each edge has a way without a hole in it", () => {
  for (const [name, options] of [["shop", {}], ["hostile", {}], ["large", {}], ["large", {by: "host"}]]) {
    const of = graph(name, options), layout = arranged(of), ports = portsOf(of, layout);
    for (const edge of of.edges.values()) assert.match(pathOf(edge, of, layout, ports).path, /^M[-\d. ]+([CQ][-\d. ]+)+$/);
  }
});
