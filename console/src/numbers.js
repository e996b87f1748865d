// Numbers as people read them.  Statistics come from peers: what is no sensible number is shown as a dash.

const DASH = "–";
const SUFFIXES = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e4, "k"]];

export const sensible = (value) => (Number.isFinite(value) && value >= 0 && value < 1e15 ? value : null);

export function count(value) {
  const number = sensible(value);
  if (number === null) return DASH;
  const [size, suffix] = SUFFIXES.find(([least]) => number >= least) ?? [1, ""];
  const scaled = suffix === "k" ? number / 1e3 : number / size;
  return suffix ? `${trimmed(scaled)}${suffix}` : Math.round(number).toLocaleString("en");
}

// "48.2/s"; a rate below what two digits can show is "<0.01/s".
export function rate(value) {
  const number = sensible(value);
  if (number === null) return DASH;
  if (number === 0) return "0/s";
  if (number < 0.01) return "<0.01/s";
  return `${number >= 1e4 ? count(number) : trimmed(number)}/s`;
}

export function seconds(value) {
  const number = sensible(value);
  if (number === null) return DASH;
  if (number === 0) return "0 ms";
  if (number < 0.000_001) return "<1 µs";
  if (number < 0.001) return `${trimmed(number * 1e6)} µs`;
  if (number < 1) return `${trimmed(number * 1e3)} ms`;
  return number < 100 ? `${trimmed(number)} s` : duration(number);
}

export function duration(value) {
  const number = sensible(value);
  if (number === null) return DASH;
  const units = [[86_400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const at = Math.max(0, units.findIndex(([size]) => number >= size));
  if (number < 1) return "0 s";
  const [size, unit] = units[at], whole = Math.floor(number / size);
  if (at === 3 || whole >= 10 || at === 2) return `${whole.toLocaleString("en")} ${unit}`;
  const [smaller, smallUnit] = units[at + 1], rest = Math.floor((number % size) / smaller);
  return rest ? `${whole} ${unit} ${rest} ${smallUnit}` : `${whole} ${unit}`;
}

export function ago(at, now = Date.now() / 1000) {
  const number = sensible(at);
  return number === null || number === 0 ? DASH : now - number < 1 ? "just now" : `${duration(now - number)} ago`;
}

export function when(at) {
  const number = sensible(at);
  return number === null || number === 0 || number > 8e12 ? DASH : new Date(number * 1000).toLocaleString("en-GB", {dateStyle: "medium", timeStyle: "medium"});
}

const trimmed = (number) => (number >= 100 ? Math.round(number).toLocaleString("en") : String(Number(number.toPrecision(number >= 10 ? 3 : 2))));
