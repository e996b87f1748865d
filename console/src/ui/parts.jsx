// Small parts that all views share.
import {useEffect, useId, useRef} from "preact/hooks";
import {shown} from "../text.js";

// A name that a peer has chosen: isolated from the text around it, and cut by the style where it is too wide.
export const Name = ({of, class: more = ""}) => <bdi class={`name ${more}`} title={shown(of, 1000)}>{shown(of)}</bdi>;

export const Code = ({of}) => <code><Name of={of} /></code>;

const STATES = {consuming: "good", sending: "good", gone: "bad", paused: "warn", stalled: "bad", closing: "warn", stopped: "warn"};
const SIGNS = {good: "\u25cf", warn: "\u25b2", bad: "\u2716", none: "\u25cb"};

export const toneOf = (entry) => (entry.gone ? "bad" : STATES[entry.state] ?? (entry.state ? "warn" : "none"));

// A state by colour, sign and word.
export function State({entry}) {
  const tone = toneOf(entry);
  return <span class={`state ${tone}`}><span aria-hidden="true">{SIGNS[tone]}</span> <Name of={entry.gone ? "gone" : entry.state || "unknown"} /></span>;
}

export function Empty({title, children}) {
  return <div class="empty"><h2>{title}</h2>{children}</div>;
}

export const Command = ({children}) => <pre class="command" tabIndex={0}><code>{children}</code></pre>;

export const Problem = ({children}) => <p class="problem" role="alert"><span aria-hidden="true">▲</span> {children}</p>;

export const Busy = ({children = "Asking the console…"}) => <p class="busy" role="status">{children}</p>;

// A button that may not be pressed while *why* says so; the reason is its description.
export function Act({why = "", onPress, children, kind = ""}) {
  const id = useId();
  return <>
    <button type="button" class={kind} aria-disabled={why ? "true" : undefined} aria-describedby={why ? id : undefined} title={why || undefined} onClick={() => !why && onPress()}>{children}</button>
    {why && <span id={id} class="hidden">{why}</span>}
  </>;
}

export const READ_ONLY = "This console is read-only. Start it with postage web --write to change anything.";

export const ReadOnly = () => <p class="note"><span aria-hidden="true">🔒︎</span> This console is read-only. Start it with <code>postage web --write</code> to replay, call or send.</p>;

// A question that must be answered before anything is done.
export function Confirm({question, detail, yes, onYes, onNo}) {
  const dialog = useRef(null), title = useId();
  useEffect(() => {
    dialog.current.showModal();
    return () => dialog.current?.close();
  }, []);
  return <dialog ref={dialog} aria-labelledby={title} onCancel={onNo} onClick={(event) => event.target === dialog.current && onNo()}>
    <div class="dialog">
      <h2 id={title}>{question}</h2>
      <p>{detail}</p>
      <div class="actions end"><button type="button" onClick={onNo}>Cancel</button><button type="button" class="primary" onClick={onYes}>{yes}</button></div>
    </div>
  </dialog>;
}

export const Facts = ({of}) => <dl class="facts">{of.filter(([, value]) => value !== null && value !== undefined && value !== "").map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{value}</dd></div>)}</dl>;
