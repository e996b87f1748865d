// Try it: a call or a message from a form that the contract has made.
import {useEffect, useMemo, useRef, useState} from "preact/hooks";
import {askable, post} from "../api.js";
import {draftOf, valueOf} from "../form.js";
import {href} from "../route.js";
import {seconds} from "../numbers.js";
import {Act, Busy, Code, Empty, Name, Problem, READ_ONLY, ReadOnly} from "../ui/parts.jsx";
import {useAnswer} from "../ui/hooks.js";
import {Field} from "./field.jsx";
import {block, shown} from "../text.js";

export function TryIt({state, parts: [component, handler]}) {
  const names = useMemo(() => [...state.components].filter(([name, each]) => each.kind !== "program" && askable(name)).map(([name]) => name).sort(), [state.components]);
  if (!names.length) return <section><h1>Try it</h1><Empty title="There is no component to try"><p>Start one, and its handlers appear here.</p></Empty></section>;
  const go = (name) => (location.hash = href("try", name));
  return <section class="narrow">
    <h1>Try it</h1>
    <p class="lead">Call a handler, or send it a message, and see what it answers.</p>
    <label class="field"><span>Component</span>
      <select name="component" value={component ?? ""} onChange={(event) => go(event.target.value)}>
        {!component && <option value="">Choose one…</option>}
        {component && !names.includes(component) && <option value={component}>{shown(component, 80)}</option>}
        {names.map((name) => <option key={name} value={name}>{shown(name, 80)}</option>)}
      </select>
    </label>
    {component && askable(component) && <OfComponent key={component} state={state} component={component} handler={handler} />}
  </section>;
}

function OfComponent({state, component, handler}) {
  const {value, error, busy, again} = useAnswer(["components", component]);
  if (error) return <><Problem>{error}</Problem><button type="button" onClick={again}>Ask again</button></>;
  if (!value) return busy ? <Busy>Asking {shown(component, 60)} what it offers…</Busy> : null;
  const forms = (value.forms ?? []).filter((each) => each && typeof each.name === "string");
  if (!forms.length) return <Empty title="Nothing to try here"><p><Name of={component} /> has no commands, or does not answer. Events go to all that subscribe, so they cannot be tried.</p><button type="button" onClick={again}>Ask again</button></Empty>;
  const form = forms.find((each) => each.name === handler) ?? (handler === undefined && forms.length === 1 ? forms[0] : null);
  return <>
    <label class="field"><span>Handler</span>
      <select name="handler" value={form?.name ?? ""} onChange={(event) => (location.hash = href("try", component, event.target.value))}>
        {!form && <option value="">Choose one…</option>}
        {forms.map((each) => <option key={each.name} value={each.name}>{shown(each.name, 80)} ({each.category === "rpc" ? "call" : "message"})</option>)}
      </select>
    </label>
    {form && <Form key={form.name} state={state} component={component} form={form} />}
  </>;
}

function Form({state, component, form}) {
  const hasSchema = form.schema !== null && typeof form.schema === "object";
  const [mode, setMode] = useState(hasSchema ? "form" : "json");
  const [draft, setDraft] = useState(() => draftOf(form.schema ?? {}));
  const [text, setText] = useState("{}");
  const [problems, setProblems] = useState([]);
  const [outcome, setOutcome] = useState(null);
  const isCall = form.category === "rpc", answer = useRef(null);
  useEffect(() => { if (outcome && !outcome.busy) answer.current.scrollIntoView({block: "nearest"}); }, [outcome]);

  const read = () => (mode === "form" ? valueOf(form.schema, draft) : valueOf({}, text));
  function change(next) {
    if (next === "json") setText(JSON.stringify(read().value ?? {}, null, 2));
    setProblems([]);
    setMode(next);
  }
  async function submit() {
    const {value: parameters, problems: found} = read();
    setProblems(found);
    if (found.length) return setOutcome(null);
    const began = performance.now();
    setOutcome({busy: true});
    try {
      const told = await post([isCall ? "call" : "send"], {component, handler: form.name, parameters});
      setOutcome({told, took: (performance.now() - began) / 1000});
    } catch (error) {
      setOutcome({failure: error.message});
    }
  }
  return <>
    {form.doc && <p class="doc"><bdi>{shown(form.doc, 2000)}</bdi></p>}
    {form.signature && <p class="signature"><code><bdi>{shown(`${form.name}${form.signature}`, 2000)}</bdi></code></p>}
    {!state.about.write && <ReadOnly />}
    <form class="card" onSubmit={(event) => { event.preventDefault(); if (state.about.write) submit(); }} noValidate>
      <div class="switch" role="group" aria-label="How to give the parameters">
        {hasSchema && <button type="button" aria-pressed={mode === "form"} onClick={() => mode !== "form" && change("form")}>Form</button>}
        <button type="button" aria-pressed={mode === "json"} onClick={() => mode !== "json" && change("json")}>JSON</button>
      </div>
      {mode === "form"
        ? <Field schema={form.schema} draft={draft} onDraft={setDraft} name="Parameters" path="" required problems={problems} level={0} />
        : <JsonText text={text} onText={setText} problems={problems} hasSchema={hasSchema} />}
      <div class="actions"><Act kind="primary" why={state.about.write ? "" : READ_ONLY} onPress={submit}>{isCall ? "Call" : "Send"}</Act></div>
    </form>
    <div ref={answer} class="outcome" aria-live="polite">{outcome && <Outcome outcome={outcome} isCall={isCall} />}</div>
    {form.errors?.length > 0 && <p class="note">It may answer with {form.errors.slice(0, 20).map((each, at) => <>{at > 0 && ", "}<Code of={each} /></>)}.</p>}
  </>;
}

function JsonText({text, onText, problems, hasSchema}) {
  return <label class="field"><span>Parameters as JSON</span>
    {!hasSchema && <small>This handler has no contract, so there is no form for it.</small>}
    <textarea name="parameters" class="code" rows={8} spellcheck={false} value={text} aria-invalid={problems.length ? "true" : undefined} onInput={(event) => onText(event.target.value)} />
    {problems.map((each) => <small key={each.text} class="wrong" role="alert">This {each.text}</small>)}
  </label>;
}

function Outcome({outcome, isCall}) {
  if (outcome.busy) return <Busy>{isCall ? "Waiting for the answer…" : "Sending…"}</Busy>;
  if (outcome.failure) return <Problem>{outcome.failure}</Problem>;
  const {told, took} = outcome;
  if (told.error !== undefined) return <section class="card answer bad"><h2>✖ Error: <Name of={told.kind ?? told.name ?? "error"} /></h2><pre tabIndex={0}><bdi>{block(told.error)}</bdi></pre><p class="note">after {seconds(took)}</p></section>;
  if (!isCall) return <section class="card answer good"><h2>✓ Sent</h2><p class="note">The broker has confirmed the message after {seconds(took)}.</p></section>;
  return <section class="card answer good"><h2>✓ Answer</h2><pre tabIndex={0}><bdi>{block(JSON.stringify(told.value, null, 2) ?? "null")}</bdi></pre><p class="note">after {seconds(took)}</p></section>;
}
