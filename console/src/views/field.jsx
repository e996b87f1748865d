// One part of a form: see form.js for drafts.
import {useId} from "preact/hooks";
import {draftOf, fieldOf, wayName} from "../form.js";
import {shown} from "../text.js";

const DEEPEST = 12;

export function Field(props) {
  const field = fieldOf(props.schema);
  if (props.level > DEEPEST) return <Simple {...props} field={{kind: "json"}} />;
  if (["object", "map", "array", "ways"].includes(field.kind)) return <Group {...props} field={field} />;
  return <Simple {...props} field={field} />;
}

function Simple({schema, field, draft, onDraft, name, path, required, problems}) {
  const id = useId(), own = problems.filter((each) => each.path === path), hint = hintOf(schema, field, required);
  const described = [hint && `${id}h`, ...own.map((_, at) => `${id}p${at}`)].filter(Boolean).join(" ") || undefined;
  const shared = {id, value: draft ?? "", name: path.slice(1) || "value", "aria-describedby": described, "aria-invalid": own.length ? "true" : undefined, "aria-required": required ? "true" : undefined, onInput: (event) => onDraft(event.target.value)};
  return <div class="field">
    <label for={id}><bdi>{shown(name, 80)}</bdi>{required ? <span class="needed" aria-hidden="true"> *</span> : <span class="optional"> optional</span>}</label>
    {input(field, shared, schema, required)}
    {hint && <small id={`${id}h`}>{hint}</small>}
    {own.map((each, at) => <small key={each.text} id={`${id}p${at}`} class="wrong" role="alert">This {each.text}</small>)}
  </div>;
}

function input(field, shared, schema, required) {
  if (field.kind === "enum") return <select {...shared}>{(!required || shared.value === "") && <option value="">not sent</option>}{field.values.map((each, at) => <option key={at} value={String(at)}>{shown(typeof each === "string" ? each : JSON.stringify(each), 80)}</option>)}</select>;
  if (field.kind === "boolean") return <select {...shared}>{!required && <option value="">not sent</option>}<option value="true">true</option><option value="false">false</option></select>;
  if (field.kind === "json") return <textarea {...shared} class="code" rows={3} spellcheck={false} placeholder="JSON" />;
  if (field.kind === "string" && schema?.maxLength > 200) return <textarea {...shared} rows={3} />;
  return <input {...shared} type="text" inputMode={field.kind === "integer" ? "numeric" : field.kind === "number" ? "decimal" : undefined} autocomplete="off" spellcheck={false} />;
}

function hintOf(schema, field, required) {
  if (typeof schema !== "object" || schema === null) return "";
  const parts = [];
  if (typeof schema.description === "string") parts.push(shown(schema.description, 300));
  if (["integer", "number"].includes(field.kind)) parts.push([field.kind === "integer" ? "whole number" : "number", bounds(schema)].filter(Boolean).join(", "));
  if (typeof schema.format === "string") parts.push(shown(schema.format, 40));
  if (typeof schema.pattern === "string") parts.push(`matches ${shown(schema.pattern, 60)}`);
  if (!required && "default" in schema) parts.push(`if empty: ${shown(JSON.stringify(schema.default), 60)}`);
  return parts.filter(Boolean).join(" · ");
}

function bounds({minimum, maximum, exclusiveMinimum, exclusiveMaximum}) {
  const least = Number.isFinite(minimum) ? `at least ${minimum}` : Number.isFinite(exclusiveMinimum) ? `more than ${exclusiveMinimum}` : "";
  const most = Number.isFinite(maximum) ? `at most ${maximum}` : Number.isFinite(exclusiveMaximum) ? `less than ${exclusiveMaximum}` : "";
  return [least, most].filter(Boolean).join(", ");
}

function Group(props) {
  const {schema, field, draft, onDraft, name, path, required, problems, level} = props;
  const own = problems.filter((each) => each.path === path);
  if (draft === null || draft === undefined) return <div class="field"><span><bdi>{shown(name, 80)}</bdi><span class="optional"> optional</span></span><div><button type="button" onClick={() => onDraft(draftOf(schema, true))}>Add <bdi>{shown(name, 40)}</bdi></button></div></div>;
  return <fieldset class={level ? "" : "plain"}>
    <legend class={level ? "" : "hidden"}><bdi>{shown(name, 80)}</bdi></legend>
    {level > 0 && typeof schema.description === "string" && <small>{shown(schema.description, 300)}</small>}
    {field.kind === "object" && <Parts {...props} />}
    {field.kind === "map" && <Lines {...props} />}
    {field.kind === "array" && <Items {...props} />}
    {field.kind === "ways" && <Ways {...props} />}
    {own.map((each) => <small key={each.text} class="wrong" role="alert">This {each.text}</small>)}
    {!required && <button type="button" class="quiet" onClick={() => onDraft(null)}>Leave out <bdi>{shown(name, 40)}</bdi></button>}
  </fieldset>;
}

function Parts({field, draft, onDraft, path, problems, level}) {
  if (!field.parts.length) return <p class="note">This handler takes no parameters.</p>;
  return field.parts.map((part) => <Field key={part.name} schema={part.schema} name={part.name} required={part.required} draft={draft[part.name]} path={`${path}/${part.name}`} problems={problems} level={level + 1}
    onDraft={(next) => onDraft(Object.assign(Object.create(null), draft, {[part.name]: next}))} />);
}

const replaced = (list, at, value) => list.map((each, place) => (place === at ? value : each));
const without = (list, at) => list.filter((_, place) => place !== at);

function Items({field, draft, onDraft, name, path, problems, level}) {
  return <>
    {draft.map((each, at) => <div class="line" key={at}>
      <Field schema={field.items} name={`${shown(name, 40)} ${at + 1}`} required draft={each} path={`${path}/${at}`} problems={problems} level={level + 1} onDraft={(next) => onDraft(replaced(draft, at, next))} />
      <Remove what={`${shown(name, 40)} ${at + 1}`} onPress={() => onDraft(without(draft, at))} />
    </div>)}
    <button type="button" onClick={() => onDraft([...draft, draftOf(field.items)])}>Add an item</button>
  </>;
}

function Lines({field, draft, onDraft, path, problems, level}) {
  return <>
    {draft.map(([key, each], at) => <div class="line" key={at}>
      <div class="field"><label>Key<input type="text" name={`${path.slice(1)}/${at}/key`} value={key} autocomplete="off" spellcheck={false} onInput={(event) => onDraft(replaced(draft, at, [event.target.value, each]))} /></label></div>
      <Field schema={field.values} name="Value" required draft={each} path={`${path}/${at}`} problems={problems} level={level + 1} onDraft={(next) => onDraft(replaced(draft, at, [key, next]))} />
      <Remove what={`line ${at + 1}`} onPress={() => onDraft(without(draft, at))} />
    </div>)}
    <button type="button" onClick={() => onDraft([...draft, ["", draftOf(field.values)]])}>Add a line</button>
  </>;
}

const Remove = ({what, onPress}) => <button type="button" class="quiet" aria-label={`Remove ${what}`} title={`Remove ${what}`} onClick={onPress}>✕</button>;

function Ways({field, draft, onDraft, name, path, problems, level}) {
  const way = field.ways[draft.at];
  return <>
    <div class="field"><label>Kind of <bdi>{shown(name, 40)}</bdi>
      <select value={String(draft.at)} onInput={(event) => { const at = Number(event.target.value); onDraft({at, draft: draftOf(field.ways[at])}); }}>
        {field.ways.map((each, at) => <option key={at} value={String(at)}>{shown(String(wayName(each)), 60)}</option>)}
      </select></label></div>
    {!(way?.type === "null") && <Field schema={way} name={name} required draft={draft.draft} path={path} problems={problems} level={level + 1} onDraft={(next) => onDraft({at: draft.at, draft: next})} />}
  </>;
}
