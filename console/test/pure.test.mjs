import assert from "node:assert/strict";
import {test} from "node:test";
import {createParser} from "../src/live.js";
import {ago, count, duration, rate, seconds} from "../src/numbers.js";
import {href, parse, tokenOf} from "../src/route.js";
import {block, fitted, shown} from "../src/text.js";

test("hidden characters of a name become visible", () => {
  assert.equal(shown("\u001b[31mred\u0000"), "␛[31mred␀");
  assert.equal(shown("\u202egnp.exe"), "·gnp.exe");
  assert.equal(shown(""), "(no name)");
  assert.equal(shown("   "), '"   "');
});

test("a long name is cut between characters", () => {
  assert.equal(Array.from(shown("x".repeat(10240))).length, 300);
  assert.equal(shown("👍".repeat(9), 4), "👍👍👍…");
  assert.equal(fitted("billing-service", 9), "billing-s…");
  assert.equal(fitted("日本語日本語", 6), "日本語…");
});

test("a block of text keeps its lines", () => assert.equal(block("a\n\tb\u0007"), "a\n\tb␇"));

test("numbers that no peer should send are dashes", () => {
  for (const value of [null, undefined, -1, NaN, Infinity, 1e300, "7", {}]) {
    assert.deepEqual([count(value), rate(value), seconds(value), duration(value), ago(value)], Array(5).fill("–"));
  }
});

test("numbers are short", () => {
  assert.deepEqual([0, 7, 9999, 20417, 3_400_000].map(count), ["0", "7", "9,999", "20.4k", "3.4M"]);
  assert.deepEqual([0, 0.001, 0.25, 48.21, 131.4, 20417].map(rate), ["0/s", "<0.01/s", "0.25/s", "48.2/s", "131/s", "20.4k/s"]);
  assert.deepEqual([0, 0.0000212, 0.0123, 1.5, 8412].map(seconds), ["0 ms", "21.2 µs", "12.3 ms", "1.5 s", "2 h 20 min"]);
  assert.deepEqual([0.2, 59, 61, 90_000].map(duration), ["0 s", "59 s", "1 min", "1 d 1 h"]);
});

test("a route survives any name", () => {
  for (const name of ["a/b?c#d%20&e", "مخزن", "..", "<b>"]) {
    assert.deepEqual(parse(href("map", "component", name)), {view: "map", parts: ["component", name]});
  }
  assert.deepEqual(parse("#/nonsense/x"), {view: "map", parts: []});
  assert.deepEqual(parse("#/queues/%E0%A4%A"), {view: "queues", parts: ["%E0%A4%A"]});
  assert.equal(tokenOf("#token=abc"), "abc");
  assert.equal(tokenOf("#/map"), null);
});

test("events arrive in pieces", () => {
  const push = createParser();
  assert.deepEqual(push(": keep-alive\n\nevent: state\nda"), []);
  assert.deepEqual(push('ta: {"a": 1}\n\nevent: change\n'), [{name: "state", data: '{"a": 1}'}]);
});
