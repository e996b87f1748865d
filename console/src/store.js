// The state of the page, and how messages of the server change it.  Pure: each function returns a new state.

export const COLLECTIONS = ["components", "handlers", "exchanges", "queues", "edges", "jobs"];
export const POINTS = 120; // ten minutes at a point each five seconds
export const SECONDS_PER_POINT = 5;

// Ids come from peers, so an id may be `__proto__`: collections are Maps.
export const EMPTY = Object.freeze({
  known: false, // whether the server has ever told its state
  link: Object.freeze({state: "connecting", problem: ""}), // connecting, live, lost, full, locked
  about: Object.freeze({broker: "", postage: "", interval: 2, write: false, needs_token: false, problem: "", as_of: 0}),
  ...Object.fromEntries(COLLECTIONS.map((name) => [name, new Map()])),
  history: Object.freeze({components: new Map(), handlers: new Map(), queues: new Map()}),
});

export function withLink(state, link, problem = "") {
  return {...state, link: {state: link, problem}};
}

// The whole state, as told on connecting.
export function withState(state, told) {
  const next = {...state, known: true, about: {...EMPTY.about, ...told.about}};
  for (const name of COLLECTIONS) next[name] = asMap(told[name]);
  const history = told.history ?? {};
  next.history = {components: asMap(history.components), handlers: asMap(history.handlers), queues: asMap(history.queues)};
  return next;
}

// What differs since the last message: an entry replaces the one before, null removes it.
export function withChange(state, change) {
  const next = {...state};
  if (change.about) next.about = {...state.about, ...change.about};
  for (const name of COLLECTIONS) {
    if (!change[name]) continue;
    const collection = new Map(state[name]);
    for (const [id, entry] of Object.entries(change[name])) {
      if (entry === null) collection.delete(id);
      else collection.set(id, entry);
    }
    next[name] = collection;
  }
  return next;
}

// One more point of history for everything that is known now; what is gone keeps no history.
export function withPoint(state) {
  const stale = state.link.state !== "live" || state.about.problem !== "";
  const rates = (entry) => (stale || entry.gone ? null : [entry.rate ?? 0, entry.error_rate ?? 0]);
  const depth = (entry) => (stale ? null : entry.depth ?? null);
  return {
    ...state,
    history: {
      components: lengthened(state.history.components, state.components, rates),
      handlers: lengthened(state.history.handlers, state.handlers, rates),
      queues: lengthened(state.history.queues, state.queues, depth),
    },
  };
}

function lengthened(history, collection, point) {
  const next = new Map();
  for (const [id, entry] of collection) next.set(id, [...(history.get(id) ?? []).slice(1 - POINTS), point(entry)]);
  return next;
}

function asMap(told) {
  return new Map(Object.entries(told ?? {}));
}

// Holds the state; tells its listeners at most once for each frame.
export function createStore(schedule = (run) => requestAnimationFrame(run)) {
  const listeners = new Set();
  let state = EMPTY, due = false;
  return {
    get: () => state,
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    update(change) {
      state = change(state);
      if (due) return;
      due = true;
      schedule(() => {
        due = false;
        listeners.forEach((each) => each());
      });
    },
  };
}
