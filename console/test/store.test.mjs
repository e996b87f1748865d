import assert from "node:assert/strict";
import {test} from "node:test";
import {createStore, EMPTY, POINTS, withChange, withLink, withPoint, withState} from "../src/store.js";

const told = {about: {broker: "amqp://b"}, components: {a: {rate: 2, error_rate: 1}, b: {rate: 1, gone: true}}, queues: {q: {depth: 4}}};
const live = withLink(withState(EMPTY, told), "live");

test("a state replaces all that was known", () => {
  const next = withState(live, {components: {c: {}}});
  assert.deepEqual([...next.components.keys()], ["c"]);
  assert.equal(next.known, true);
});

test("a change keeps the entries that it does not name", () => {
  const next = withChange(live, {components: {a: {rate: 3}, b: null}, about: {problem: "away"}});
  assert.deepEqual([...next.components], [["a", {rate: 3}]]);
  assert.equal(next.components === live.components, false);
  assert.equal(next.queues, live.queues);
  assert.deepEqual([next.about.problem, next.about.broker], ["away", "amqp://b"]);
});

test("an id may be __proto__", () => {
  const next = withChange(live, JSON.parse('{"components": {"__proto__": {"rate": 7}}}'));
  assert.equal(next.components.get("__proto__").rate, 7);
  assert.equal({}.rate, undefined);
});

test("a point of history is null for what is gone, and while nothing is heard", () => {
  const next = withPoint(live);
  assert.deepEqual(next.history.components.get("a"), [[2, 1]]);
  assert.deepEqual(next.history.components.get("b"), [null]);
  assert.deepEqual(withPoint(withLink(next, "lost")).history.queues.get("q"), [4, null]);
});

test("history is bounded", () => {
  let next = live;
  for (let at = 0; at < POINTS + 9; at += 1) next = withPoint(next);
  assert.equal(next.history.components.get("a").length, POINTS);
});

test("listeners hear once of many updates", () => {
  const frames = [];
  const store = createStore((run) => frames.push(run));
  let heard = 0;
  store.subscribe(() => (heard += 1));
  store.update((state) => withState(state, told));
  store.update((state) => withPoint(state));
  frames.forEach((run) => run());
  assert.equal(heard, 1);
  assert.equal(frames.length, 1);
});
