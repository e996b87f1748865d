// Texts of peers, made fit to be looked at.  Pure.

// Characters that show nothing, or turn round what is beside them.
const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;
const LONGEST = 300;

// A name on one line: what is hidden becomes visible, what is too long is cut.
export function shown(name, longest = LONGEST) {
  if (name === null || name === undefined || name === "") return "(no name)";
  const cut = cutTo(String(name).slice(0, 4 * longest), longest);
  const visible = cut.replace(HIDDEN, symbol);
  return visible.trim() === "" ? `"${visible}"` : visible;
}

function symbol(character) {
  const code = character.codePointAt(0);
  if (code < 0x20) return String.fromCodePoint(0x2400 + code);
  return code === 0x7f ? "\u2421" : "\u00b7";
}

// Cuts between code points, so that no half of a character is left.
function cutTo(text, longest) {
  if (text.length <= longest) return text;
  const points = Array.from(text);
  return points.length <= longest ? text : `${points.slice(0, longest - 1).join("")}\u2026`;
}

// A name within a drawing, where nothing cuts what is too wide: about as wide as *columns* letters.
export function fitted(name, columns) {
  const whole = shown(name);
  let used = 0, kept = "";
  for (const point of whole) {
    used += point.codePointAt(0) > 0x1100 ? 2 : 1;
    if (used > columns) return `${kept.trimEnd()}\u2026`;
    kept += point;
  }
  return whole;
}

// A text of many lines: line ends stay, other control characters become visible.
export function block(text, longest = 200_000) {
  return String(text ?? "").slice(0, longest).replace(HIDDEN, (each) => (each === "\n" || each === "\t" ? each : symbol(each)));
}

export const plural = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
