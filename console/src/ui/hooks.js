import {useCallback, useEffect, useReducer, useState} from "preact/hooks";
import {get} from "../api.js";
import {parse} from "../route.js";

// The state of *store*; draws again whenever it changes.
export function useStore(store) {
  const [, again] = useReducer((count) => count + 1, 0);
  useEffect(() => store.subscribe(again), [store]);
  return store.get();
}

export function useRoute() {
  const [fragment, setFragment] = useState(location.hash);
  useEffect(() => {
    const changed = () => setFragment(location.hash);
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return parse(fragment);
}

// What the server answers to GET *parts*: {value, error, busy, again}.  A late answer to an older question is dropped.
export function useAnswer(parts, reason = "") {
  const [answer, setAnswer] = useState({value: null, error: "", of: ""});
  const [round, again] = useReducer((count) => count + 1, 0);
  const key = JSON.stringify(parts);
  useEffect(() => {
    let isCurrent = true;
    get(...parts).then(
      (value) => isCurrent && setAnswer({value, error: "", of: key, round, reason}),
      (error) => isCurrent && setAnswer({value: null, error: error.message, of: key, round, reason}),
    );
    return () => void (isCurrent = false);
  }, [key, round, reason]);
  const busy = answer.of !== key || answer.round !== round;
  return {...(answer.of === key ? answer : {value: null, error: ""}), busy, again: useCallback(() => again(), [])};
}

// A value that outlives the page; browsers may refuse to keep it.
export function useKept(name, initial) {
  const [value, setValue] = useState(() => {
    try {
      return localStorage.getItem(`postage.${name}`) ?? initial;
    } catch {
      return initial;
    }
  });
  const set = useCallback((next) => {
    setValue(next);
    try {
      localStorage.setItem(`postage.${name}`, next);
    } catch {
      // kept for this page only
    }
  }, [name]);
  return [value, set];
}
