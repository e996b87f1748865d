// A shop of five services behind a web front, as `demos/shop` would look to the console.
export function shop() {
  const components = {}, handlers = {}, edges = {}, queues = {}, exchanges = {};
  const component = (name, kind, rate, more = {}) => {
    components[name] = {
      name, kind, class: name[0].toUpperCase() + name.slice(1), doc: "", version: "2.4.0", groups: [`shop-${name}`],
      hosts: ["vesta"], exchanges: kind === "program" ? [] : ["shop-exchange"], queues: kind === "program" ? [] : [`shop-${name}`],
      instances: [{key: `${name}-1`, host: "vesta", pid: 4000 + name.length, state: "consuming", started: Date.now() / 1000 - 8412, rate, in_flight: 1, gone: false}],
      state: "consuming", gone: false, rate, error_rate: 0, in_flight: 1, handled: Math.round(rate * 8412), failed: 0,
      retried: 0, delayed: 0, parked: 0, mean: 0.004, p50: 0.003, p99: 0.021, ...more,
    };
  };
  const handler = (of, name, category, rate, more = {}) => {
    handlers[`${of}/${name}`] = {
      component: of, handler: name, name, category, type: category === "event" ? "event" : "command", doc: "", signature: "()",
      rate, error_rate: 0, received: Math.round(rate * 8412), in_flight: 0, failed: 0, retried: 0, delayed: 0, parked: 0,
      mean: 0.003, p50: 0.002, p99: 0.018, last_error: null, last_error_at: null, ...more,
    };
  };
  const queue = (name, of, exchange, more = {}) => {
    queues[name] = {name, components: [of], keys: [name], exchange, depth: 0, consumers: 1, parking: null, parked: null, problem: "", ...more};
  };
  const edge = (kind, from, to, rate, of, more = {}) => {
    const exchangeFrom = from.startsWith("x:"), exchangeTo = to.startsWith("x:");
    const [a, b] = [from, to].map((each) => each.replace("x:", ""));
    edges[`${kind} ${from}>${to}`] = {
      kind, from: {type: exchangeFrom ? "exchange" : "component", id: a}, to: {type: exchangeTo ? "exchange" : "component", id: b},
      rate, error_rate: 0, p99: exchangeTo ? null : 0.019, total: Math.round(rate * 8412), handlers: of, ...more,
    };
  };

  component("web", "program", 0, {class: "", doc: "", version: "", p50: null, p99: null, mean: null, instances: [{key: "web-1", host: "vesta", pid: 4810, state: "sending", started: Date.now() / 1000 - 8412, rate: 0, in_flight: 0, gone: false}], state: "sending"});
  component("orders", "service", 48.2, {doc: "Take orders, reserve what they need, and tell others.", p50: 0.012, p99: 0.062});
  component("stock", "service", 131.4, {doc: "What lies on the shelves.", p50: 0.001, p99: 0.008, instances: [
    {key: "stock-1", host: "vesta", pid: 4102, state: "consuming", started: Date.now() / 1000 - 8412, rate: 66.1, in_flight: 1, gone: false},
    {key: "stock-2", host: "ceres", pid: 911, state: "consuming", started: Date.now() / 1000 - 640, rate: 65.3, in_flight: 0, gone: false}], hosts: ["vesta", "ceres"]});
  component("payments", "service", 46.9, {doc: "Collect the money for each order.", error_rate: 1.3, failed: 913, retried: 2604, parked: 41, p50: 0.088, p99: 0.412});
  component("audit", "application", 96.3, {doc: "Keep a trail of everything that happens.", p50: 0.001, p99: 0.004, hosts: ["ceres"]});
  component("mailer", "processor", 0, {doc: "Write to customers.", state: "gone", gone: true, hosts: ["juno"], p50: null, p99: null, mean: null, instances: [{key: "mailer-1", host: "juno", pid: 77, state: "consuming", started: Date.now() / 1000 - 4021, rate: 0, in_flight: 0, gone: true}]});

  handler("orders", "place", "rpc", 48.2, {handler: "place_order", doc: "Place an order; it is paid later.", signature: "(customer: str, items: dict[str, Count], *, note: str = '') -> Order", p50: 0.012, p99: 0.062});
  handler("orders", "trail", "rpc", 0.4, {signature: "(number: str) -> list[Step]"});
  handler("stock", "reserve", "rpc", 96.1, {doc: "Take pieces off the shelf.", signature: "(item: str, count: Count) -> int", error_rate: 0.6, failed: 512, last_error: "OutOfStock: only 3 bolts are left", last_error_at: Date.now() / 1000 - 12, p99: 0.008});
  handler("stock", "levels", "rpc", 35.3, {signature: "() -> dict[str, int]"});
  handler("stock", "restock", "message", 0, {signature: "(item: str, count: Count) -> None"});
  handler("payments", "order-placed", "event", 46.9, {handler: "on_order_placed", doc: "Ask the bank, and try again while it does not answer.", signature: "(order: Order) -> None", error_rate: 1.3, failed: 913, retried: 2604, delayed: 12, parked: 41, last_error: "BankAway: no answer within 2 s", last_error_at: Date.now() / 1000 - 3, p50: 0.088, p99: 0.412});
  handler("audit", "order-placed", "event", 48.2, {signature: "(order: Order) -> None"});
  handler("audit", "order-paid", "event", 45.6, {signature: "(number: str, amount: Decimal) -> None"});

  exchanges["shop-events"] = {name: "shop-events", rate: 140.7};
  queue("shop-orders", "orders", "shop-exchange");
  queue("shop-stock", "stock", "shop-exchange", {depth: 3, consumers: 2});
  queue("shop-payments", "payments", "shop-events", {depth: 12, parking: "shop-payments.parked", parked: 41});
  queue("shop-audit", "audit", "shop-events");
  queue("shop-mails", "mailer", "shop-events", {depth: 20417, consumers: 0, components: ["mailer"]});

  edge("call", "web", "orders", 48.6, ["place", "trail"], {p99: 0.062});
  edge("call", "web", "stock", 35.3, ["levels"], {p99: 0.006});
  edge("call", "orders", "stock", 96.1, ["reserve"], {error_rate: 0.6, p99: 0.008});
  edge("message", "orders", "x:shop-events", 95.1, ["order-placed"]);
  edge("message", "payments", "x:shop-events", 45.6, ["order-paid"]);
  edge("message", "x:shop-events", "payments", 46.9, ["order-placed"], {error_rate: 1.3, p99: 0.412});
  edge("message", "x:shop-events", "audit", 93.8, ["order-placed", "order-paid"], {p99: 0.004});
  return {about: about(), components, handlers, exchanges, queues, edges, jobs: {}};
}

export const about = (more = {}) => ({
  broker: "amqp://vesta:5672/", postage: "2.4.0", interval: 2, write: true, needs_token: true, problem: "", as_of: Date.now() / 1000, ...more,
});
