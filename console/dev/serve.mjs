// Serves the built page over a made-up state: `npm run dev -- large --port 8099 --read-only --token`.
import {createServer} from "node:http";
import {readFile} from "node:fs/promises";
import {dirname, join, normalize} from "node:path";
import {fileURLToPath, pathToFileURL} from "node:url";
import {diff, parked} from "./parked.mjs";
import {STATES} from "./states.mjs";

const ASSETS = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "postage", "cli", "console", "assets");
const TYPES = {html: "text/html; charset=utf-8", js: "text/javascript; charset=utf-8", css: "text/css; charset=utf-8", svg: "image/svg+xml", txt: "text/plain; charset=utf-8"};
const CSP = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const TOKEN = "dev";

const PLACE = {type: "object", additionalProperties: false, required: ["customer", "items"], properties: {
  customer: {type: "string", minLength: 1, description: "Who pays."}, items: {type: "object", additionalProperties: {type: "integer", minimum: 1}},
  priority: {enum: ["normal", "high"], default: "normal"}, gift: {type: "boolean", default: false}, limit: {type: "number", minimum: 0}, note: {type: "string", default: ""},
}};
const RESULT = {type: "object", properties: {number: {type: "string"}, total: {type: "string"}}};

function details(state, name) {
  const own = Object.values(state.handlers).filter((each) => each.component === name);
  return {
    name, described: [], contract: {title: name, version: state.components[name]?.version},
    flight: name === "payments" ? [{at: Date.now() / 1000 - 240, what: "blocked", text: "the loop stood still for 1.2 s in bank.py:17"}, {at: Date.now() / 1000 - 1900, what: "reconnected", text: "reconnected after 3.1 s"}] : [],
    forms: own.map((each) => ({handler: each.handler, name: each.name, category: each.category, type: each.type, doc: each.doc, schema: each.name === "place" ? PLACE : null, result: each.name === "place" ? RESULT : null, errors: each.name === "reserve" ? ["OutOfStock"] : [], exchange: "shop-exchange", key: name})),
  };
}

export function serve({state: name = "shop", port = 0, write = true, token = false, full = false} = {}) {
  const state = STATES[name](), streams = new Set(), waves = new Map();
  let signedIn = !token, jobs = 0;
  Object.assign(state.about, {write, needs_token: token});

  const tell = (event, data) => streams.forEach((stream) => stream.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`));
  const rates = (entries) => Object.fromEntries(Object.entries(entries).map(([id, each]) => [id, Array.from({length: 120}, (_, at) => [Math.max(0, each.rate * (0.8 + 0.2 * Math.sin(at / 7 + id.length) + 0.1 * Math.sin(at * 1.7))), each.error_rate * (at % 40 > 30)])]));
  const history = () => ({
    components: rates(state.components),
    handlers: rates(state.handlers),
    queues: Object.fromEntries(Object.entries(state.queues).map(([id, each]) => [id, Array.from({length: 120}, (_, at) => Math.round(each.depth * (0.5 + at / 240)))])),
  });

  // Each rate moves around what it was at the start.
  function beat(share = 1) {
    const change = {about: {as_of: Date.now() / 1000}};
    for (const collection of ["components", "edges", "handlers"]) {
      change[collection] = {};
      for (const [id, each] of Object.entries(state[collection])) {
        if (!(each.rate > 0) || Math.random() > share) continue;
        const wave = waves.get(each) ?? each.rate;
        const next = {...each, rate: Math.round(wave * (0.94 + 0.12 * Math.random()) * 10) / 10};
        waves.set(next, wave);
        state[collection][id] = change[collection][id] = next;
      }
    }
    tell("change", change);
  }
  const timer = setInterval(beat, 2000);

  function replay(queue, what) {
    const id = String(++jobs), total = what.ids?.length ?? (what.group ? 9 : 41);
    const job = {what: `replay of ${total} messages`, queue, done: 0, total, state: "running", text: ""};
    const step = setInterval(() => {
      job.done = Math.min(total, job.done + Math.ceil(total / 8));
      if (job.done === total) {
        clearInterval(step);
        Object.assign(job, {state: "done", text: `${total} replayed`});
        const entry = state.queues[queue.replace(/\.parked$/, "")];
        if (entry) tell("change", {queues: {[entry.name]: (state.queues[entry.name] = {...entry, parked: Math.max(0, entry.parked - total)})}});
      }
      tell("change", {jobs: {[id]: (state.jobs[id] = {...job})}});
    }, 250);
    return {job: id};
  }

  function answer(method, path, search, body) {
    const parts = path.split("/").slice(2).map((each) => decodeURIComponent(decodeURIComponent(each)));
    if (method === "POST" && parts[0] === "session") return body.token === TOKEN ? ((signedIn = true), {}) : [403, "that is not the token which `postage web` has printed"];
    if (parts[0] === "state") return {...state, history: history()};
    if (parts[0] === "components") return state.components[parts[1]] ? details(state, parts[1]) : [404, "no such component"];
    if (method === "GET" && parts[0] === "parked") {
      const entry = Object.values(state.queues).find((each) => each.parking === parts[1]);
      if (!entry) return [409, `the queue ${parts[1]} has consumers, so looking would disturb them`];
      const found = parked(entry.name, entry.parked);
      if (parts.length === 2) return {...found, messages: found.messages.map(({body: _, ...each}) => each)};
      if (parts[2] === "diff") return diff(parts[1], search.get("a"), search.get("b"));
      return found.messages.find((each) => each.id === parts[2]) ?? [404, `no message ${parts[2]} in ${parts[1]}: it may have been replayed`];
    }
    if (method !== "POST") return [404, "nothing here"];
    if (!write) return [403, "this console is read-only: start it with `postage web --write`"];
    if (!signedIn) return [401, "this needs the token"];
    if (parts[2] === "replay") return replay(parts[1], body);
    if (parts[0] === "send") return {};
    if (parts[0] === "call") return body.parameters?.customer === "nobody" ? {error: "OutOfStock: only 3 bolts are left", kind: "exception", name: "OutOfStock"} : {value: {number: "A-2001", total: "19.90", echo: body.parameters}};
    return [404, "nothing here"];
  }

  const server = createServer(async (request, response) => {
    const url = new URL(request.url, "http://localhost");
    response.setHeader("Content-Security-Policy", CSP);
    const file = url.pathname === "/" ? "index.html" : url.pathname.startsWith("/assets/") ? normalize(url.pathname.slice(8)) : null;
    if (file) {
      try {
        const bytes = await readFile(join(ASSETS, file));
        response.writeHead(200, {"Content-Type": TYPES[file.split(".").pop()]}).end(bytes);
      } catch {
        response.writeHead(404).end();
      }
    } else if (url.pathname === "/api/events") {
      if (full) return response.writeHead(503, {"Content-Type": "application/json"}).end(JSON.stringify({error: "64 browsers are connected already: close one of them"}));
      response.writeHead(200, {"Content-Type": "text/event-stream"});
      response.write(`event: state\ndata: ${JSON.stringify({...state, history: history()})}\n\n`);
      streams.add(response);
      request.on("close", () => streams.delete(response));
    } else {
      let text = "";
      for await (const piece of request) text += piece;
      const found = answer(request.method, url.pathname, url.searchParams, text ? JSON.parse(text) : {});
      const [status, value] = Array.isArray(found) ? [found[0], {error: found[1]}] : [200, found];
      response.writeHead(status, {"Content-Type": "application/json"}).end(JSON.stringify(value));
    }
  });
  return new Promise((done) => server.listen(port, "127.0.0.1", () => done({
    address: `http://127.0.0.1:${server.address().port}/`, state, tell, beat, details,
    close() {
      clearInterval(timer);
      streams.forEach((stream) => stream.destroy());
      server.closeAllConnections();
      server.close();
    },
  })));
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [, , ...words] = process.argv;
  const after = (option) => words[words.indexOf(option) + 1];
  const started = await serve({
    state: words[0] && !words[0].startsWith("-") ? words[0] : "shop", port: words.includes("--port") ? Number(after("--port")) : 8099,
    write: !words.includes("--read-only"), token: words.includes("--token"), full: words.includes("--full"),
  });
  console.log(`${started.address} (states: ${Object.keys(STATES).join(", ")}; token: ${TOKEN})`);
}
