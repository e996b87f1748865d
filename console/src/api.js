// Questions to the server that served the page.

export class Refused extends Error {
  constructor(status, text, told = {}) {
    super(text);
    this.status = status;
    this.told = told;
  }
}

export const get = (...parts) => asked(path(parts), {headers: {Accept: "application/json"}});

export const getDifference = (queue, a, b) => asked(`${path(["parked", queue, "diff"])}?${new URLSearchParams({a, b})}`, {});

export const post = (parts, body) =>
  asked(path(parts), {method: "POST", headers: {"Content-Type": "application/json", "X-Postage": "1"}, body: JSON.stringify(body)});

// Escaped twice: a server that takes an address apart undoes the first escape, and a name may hold a slash.
export const path = (parts) => `/api/${parts.map((each) => encodeURIComponent(encodeURIComponent(each))).join("/")}`;

async function asked(address, options) {
  let response;
  try {
    response = await fetch(address, {credentials: "same-origin", cache: "no-store", ...options});
  } catch {
    throw new Refused(0, "The console does not answer. Is `postage web` still running?");
  }
  const told = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(response.status, told.error ?? `The console answered ${response.status}.`, told);
  return told;
}

// Names may be empty or dots, which a path cannot hold: such a question cannot be asked.
export const askable = (name) => name !== "" && name !== "." && name !== "..";
