import assert from "node:assert/strict";
import {test} from "node:test";
import {draftOf, fieldOf, valueOf} from "../src/form.js";

const ORDER = {type: "object", required: ["customer", "count"], properties: {
  customer: {type: "string"}, count: {type: "integer"}, note: {type: "string"}, gift: {type: "boolean"},
  size: {enum: ["small", 7, null]}, items: {type: "object", additionalProperties: {type: "integer"}},
  tags: {type: "array", items: {type: "string"}}, limit: {anyOf: [{type: "number"}, {type: "null"}]},
}};

test("what is not required and empty is not sent", () => {
  const draft = {...draftOf(ORDER), customer: "ada", count: " 3 "};
  assert.deepEqual(valueOf(ORDER, draft), {value: {customer: "ada", count: 3}, problems: []});
});

test("all kinds of parts are read", () => {
  const draft = {customer: "", count: "1", note: "x", gift: "false", size: "2", items: [["bolt", "3"]], tags: ["", "b"], limit: {at: 1, draft: "0"}};
  assert.deepEqual(valueOf(ORDER, draft).value, {customer: "", count: 1, note: "x", gift: false, size: null, items: {bolt: 3}, tags: ["", "b"], limit: null});
});

test("each problem has the path of its part", () => {
  const draft = {...draftOf(ORDER), count: "1.5", items: [["a", ""], ["a", "1"]], limit: {at: 0, draft: "12x"}};
  assert.deepEqual(valueOf(ORDER, draft).problems.map((each) => each.path), ["/count", "/items/0", "/items/1", "/limit"]);
});

test("a number that a browser would round is refused", () => {
  assert.equal(valueOf({type: "integer"}, "9007199254740993").problems.length, 1);
});

test("what is no schema takes any JSON", () => {
  for (const odd of [null, 7, "x", [], {type: "odd"}, {anyOf: 3}]) assert.equal(fieldOf(odd).kind, "json");
  assert.deepEqual(valueOf({}, '{"a": [1]}').value, {a: [1]});
  assert.equal(valueOf({}, "{").problems.length, 1);
});

test("a part may be called __proto__", () => {
  const schema = {type: "object", properties: JSON.parse('{"__proto__": {"type": "string"}}'), required: ["__proto__"]};
  const draft = Object.assign(Object.create(null), {["__proto__"]: "x"});
  assert.equal(JSON.stringify(valueOf(schema, draft).value), '{"__proto__":"x"}');
});
