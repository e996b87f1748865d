// Forms made of JSON schemas: a draft holds what a person has typed, `valueOf` makes the JSON of it.  Pure.
//
// Each draft is a text, except those of objects, maps, arrays and alternatives.  An empty text of a part that
// is not required means that the part is not sent.

const MOST_PARTS = 200; // of one object: schemas come from peers
const TYPES = ["string", "number", "integer", "boolean", "array", "object", "null"];

// What kind of field *schema* needs: {kind, ...what the field must know}.
export function fieldOf(schema) {
  if (typeof schema !== "object" || schema === null || Array.isArray(schema)) return {kind: "json"};
  if (Array.isArray(schema.enum)) return {kind: "enum", values: schema.enum.slice(0, MOST_PARTS)};
  if ("const" in schema) return {kind: "enum", values: [schema.const]};
  const ways = waysOf(schema);
  if (ways) return ways.length === 1 ? fieldOf(ways[0]) : {kind: "ways", ways};
  if (schema.type === "object" || schema.properties) return objectField(schema);
  if (schema.type === "array") return {kind: "array", items: schema.items ?? {}};
  if (schema.type === "null") return {kind: "enum", values: [null]};
  return TYPES.includes(schema.type) ? {kind: schema.type} : {kind: "json"};
}

function waysOf(schema) {
  const ways = schema.anyOf ?? schema.oneOf ?? (Array.isArray(schema.type) ? schema.type.map((type) => ({...schema, type})) : null);
  return Array.isArray(ways) && ways.length ? ways.slice(0, 20) : null;
}

function objectField(schema) {
  const properties = Object.entries(schema.properties ?? {}).slice(0, MOST_PARTS);
  if (!properties.length && schema.additionalProperties !== false) {
    const values = schema.additionalProperties;
    return {kind: "map", values: typeof values === "object" && values ? values : {}};
  }
  const required = new Set(Array.isArray(schema.required) ? schema.required : []);
  return {kind: "object", parts: properties.map(([name, part]) => ({name, schema: part, required: required.has(name)}))};
}

export const wayName = (schema) => schema?.title ?? (schema?.enum ? "one of" : schema?.type === "null" ? "nothing (null)" : schema?.type ?? "JSON");

// The draft to begin with.  Parts that are not required begin as left out.
export function draftOf(schema, required = true) {
  const field = fieldOf(schema);
  if (field.kind === "object") return required ? Object.assign(Object.create(null), Object.fromEntries(field.parts.map((each) => [each.name, draftOf(each.schema, each.required)]))) : null;
  if (field.kind === "map" || field.kind === "array") return required ? [] : null;
  if (field.kind === "ways") return required ? {at: 0, draft: draftOf(field.ways[0])} : null;
  if (field.kind === "enum") return required && field.values.length ? "0" : "";
  if (field.kind === "boolean") return required ? "false" : "";
  return "";
}

// The value of *draft*: {value, problems}; the value is undefined if it is not to be sent.
export function valueOf(schema, draft, required = true) {
  const problems = [];
  return {value: read(schema, draft, required, "", problems), problems};
}

function read(schema, draft, required, path, problems) {
  const field = fieldOf(schema), wrong = (text) => void problems.push({path, text});
  if (draft === null || draft === undefined) return required ? wrong("is needed") : undefined;
  switch (field.kind) {
    case "object": return readObject(field, draft, path, problems);
    case "map": return readMap(field, draft, path, problems);
    case "array": return draft.map((each, at) => read(field.items, each, true, `${path}/${at}`, problems));
    case "ways": return read(field.ways[draft.at], draft.draft, true, path, problems);
    case "string": return draft === "" && !required ? undefined : draft;
  }
  if (draft.trim() === "") return required ? wrong("is needed") : undefined;
  if (field.kind === "enum") return field.values[Number(draft)];
  if (field.kind === "boolean") return draft === "true";
  if (field.kind === "number" || field.kind === "integer") return readNumber(field, draft, wrong);
  return readJson(draft, wrong);
}

function readObject(field, draft, path, problems) {
  const found = [];
  for (const {name, schema, required} of field.parts) {
    const value = read(schema, draft[name], required, `${path}/${name}`, problems);
    if (value !== undefined) found.push([name, value]);
  }
  return Object.fromEntries(found);
}

function readMap(field, draft, path, problems) {
  const keys = new Set();
  const found = draft.map(([key, each], at) => {
    if (keys.has(key)) problems.push({path: `${path}/${at}`, text: "has the same key as another line"});
    keys.add(key);
    return [key, read(field.values, each, true, `${path}/${at}`, problems)];
  });
  return Object.fromEntries(found);
}

function readNumber(field, draft, wrong) {
  const text = draft.trim(), number = Number(text);
  if (!/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) || !Number.isFinite(number)) return wrong("is not a number");
  if (field.kind === "integer" && !Number.isInteger(number)) return wrong("must be a whole number");
  if (Number.isInteger(number) && !Number.isSafeInteger(number)) return wrong("has more digits than a browser can hold");
  return number;
}

function readJson(draft, wrong) {
  try {
    return JSON.parse(draft);
  } catch (error) {
    return wrong(`is not JSON: ${error.message}`);
  }
}
