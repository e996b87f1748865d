// The stream of changes.  By fetch rather than EventSource, which hides why a server refuses.

import {withChange, withLink, withState} from "./store.js";

const SILENCE = 25_000; // the server says something each 10 s
const LONGEST_WAIT = 10_000;

// Splits a stream of text into events: `push` returns those that are complete.  Pure but for its buffer.
export function createParser() {
  let rest = "";
  return function push(text) {
    const blocks = (rest + text).split("\n\n");
    rest = blocks.pop();
    return blocks.map(parsed).filter((each) => each.data !== "");
  };
}

function parsed(block) {
  const event = {name: "message", data: ""};
  for (const line of block.split("\n")) {
    if (line.startsWith("event:")) event.name = line.slice(6).trim();
    else if (line.startsWith("data:")) event.data += line.slice(5).trimStart();
  }
  return event;
}

// Keeps *store* up to date until the page is closed; returns a function that connects now.
export function listen(store) {
  let failures = 0, timer = 0, current = null;

  async function connect() {
    clearTimeout(timer);
    current?.abort();
    const control = (current = new AbortController());
    const outcome = await stream(store, control, () => (failures = 0));
    if (control !== current) return;
    store.update((state) => withLink(state, outcome.state, outcome.problem));
    failures += 1;
    timer = setTimeout(connect, Math.min(LONGEST_WAIT, 500 * 2 ** failures));
  }

  window.addEventListener("online", connect);
  connect();
  return connect;
}

async function stream(store, control, heard) {
  let watch = 0;
  const rewind = () => {
    clearTimeout(watch);
    watch = setTimeout(() => control.abort(), SILENCE);
  };
  try {
    rewind();
    const response = await fetch("/api/events", {signal: control.signal, credentials: "same-origin", cache: "no-store"});
    if (!response.ok) return await refusal(response);
    await read(response.body.pipeThrough(new TextDecoderStream()).getReader(), store, () => {
      rewind();
      heard();
    });
  } catch {
    // the network, or our own abort: both are a lost connection
  } finally {
    clearTimeout(watch);
  }
  return {state: "lost", problem: ""};
}

async function read(reader, store, heard) {
  const push = createParser();
  for (;;) {
    const {done, value} = await reader.read();
    if (done) return;
    heard();
    for (const {name, data} of push(value)) {
      const told = JSON.parse(data);
      if (name === "state") store.update((state) => withLink(withState(state, told), "live"));
      else if (name === "change") store.update((state) => withChange(state, told));
    }
  }
}

async function refusal(response) {
  const told = await response.json().catch(() => ({}));
  const states = {401: "locked", 403: "locked", 503: "full"};
  return {state: states[response.status] ?? "lost", problem: told.error ?? ""};
}
