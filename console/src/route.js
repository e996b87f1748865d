// Which view the fragment of the address names: `#/map/component/orders` and so on.  Pure.

const VIEWS = ["map", "components", "handlers", "queues", "failed", "try"];

export function parse(fragment) {
  const parts = fragment.replace(/^#\/?/, "").split("/").map(decoded);
  const view = VIEWS.includes(parts[0]) ? parts[0] : "map";
  return {view, parts: view === parts[0] ? parts.slice(1) : []};
}

export const href = (view, ...parts) => `#/${[view, ...parts].map(encodeURIComponent).join("/")}`;

// The token in `#token=...`, or null: it must not stay in the address.
export const tokenOf = (fragment) => /^#token=([^&]+)/.exec(fragment)?.[1] ?? null;

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
