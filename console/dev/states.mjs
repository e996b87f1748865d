// The states that the page must bear: the usual, the large, the hostile, and nothing at all.
import {about, shop} from "./shop.mjs";

const empty = () => ({about: about(), components: {}, handlers: {}, exchanges: {}, queues: {}, edges: {}, jobs: {}});

// 500 components with 2,000 edges, always the same: chains of departments, and some that all others use.
function large() {
  const state = empty(), model = shop();
  let seed = 7;
  const random = (limit) => (seed = (seed * 16807) % 2147483647) % limit;
  const names = Array.from({length: 500}, (_, at) => `${["orders", "stock", "billing", "mail", "search", "carts", "users", "audit"][at % 8]}-${at}`);
  for (const [at, name] of names.entries()) {
    const host = `host-${at % 10}`, rate = random(4000) / 100;
    state.components[name] = {...model.components.stock, name, rate, hosts: [host], groups: [`team-${at % 6}`], queues: [name], exchanges: ["fleet"], kind: ["service", "application", "processor"][at % 3],
      instances: [{key: name, host, pid: 1000 + at, state: "consuming", started: Date.now() / 1000 - 900, rate, in_flight: 0, gone: false}], error_rate: at % 37 ? 0 : 0.4};
    state.queues[name] = {...model.queues["shop-stock"], name, components: [name], keys: [name], exchange: "fleet", depth: random(9), parking: at % 50 ? null : `${name}.parked`, parked: at % 50 ? null : random(40)};
    state.handlers[`${name}/work`] = {...model.handlers["stock/reserve"], component: name, handler: "work", name: "work", rate, error_rate: state.components[name].error_rate, last_error: null};
  }
  while (Object.keys(state.edges).length < 2000) {
    const from = random(499), to = Math.min(499, from + 1 + random(random(4) ? 40 : 400));
    if (from === to) continue;
    const [a, b] = [names[from], names[to]];
    state.edges[`call ${a}>${b}`] = {...model.edges["call web>stock"], from: {type: "component", id: a}, to: {type: "component", id: b}, rate: random(3000) / 100, error_rate: to % 37 ? 0 : 0.4, handlers: ["work"]};
  }
  return state;
}

// Names as an attacker would choose them.
export const NASTY = [
  "<img src=x onerror=alert(1)>", "\u202egnp.exe", "مخزن البضائع", "x".repeat(10240), "\u001b[31mred\u0007\n\ttabs\u0000", "__proto__", "constructor", "a/b?c#d%20&e", "", "👩‍👩‍👧‍👦 family", "  spaces  ", "‏‎‏", "javascript:alert(1)", "'\"><script>alert(1)</script>",
];

function hostile() {
  const state = empty(), model = shop();
  const put = (collection, id, entry) => Object.defineProperty(collection, id, {value: entry, enumerable: true, configurable: true, writable: true});
  for (const [at, name] of NASTY.entries()) {
    put(state.components, name, {...model.components.payments, name, doc: name, class: name, version: name, hosts: [name], groups: [name], queues: [name], rate: [-5, 1e300, null, 0.0001][at % 4], p99: [null, -1, 1e12, 0.1][at % 4],
      instances: [{key: name, host: name, pid: -1, state: name, started: -1, rate: null, in_flight: 1e20, gone: false}], state: name});
    put(state.queues, name, {...model.queues["shop-payments"], name, components: [name], keys: [name], exchange: name, problem: at % 2 ? name : "", depth: at % 3 ? null : 1e18, parking: name || null, parked: 1});
    put(state.exchanges, name, {name, rate: null});
    put(state.handlers, `${name}/${name}`, {...model.handlers["payments/order-placed"], component: name, name, handler: name, doc: name, signature: name, last_error: name});
    put(state.edges, `call ${name}>${NASTY[0]}`, {...model.edges["call web>stock"], from: {type: "component", id: name}, to: {type: "component", id: NASTY[0]}, handlers: [name]});
    put(state.edges, `message ${name}>${name}`, {...model.edges["call web>stock"], kind: "message", from: {type: "component", id: name}, to: {type: "exchange", id: name}, handlers: []});
  }
  state.about.problem = NASTY[13];
  return state;
}

export const STATES = {
  shop, large, hostile, empty,
  away: () => ({...shop(), about: about({problem: "the broker at vesta:5672 is away: connection refused"})}),
  "never-there": () => ({...empty(), about: about({problem: "the broker at vesta:5672 is away: connection refused"})}),
};
