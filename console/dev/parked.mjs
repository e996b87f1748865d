// Messages that failed, as `postage dlq ls --json` and `postage dlq show --json` tell of them.
const TRACEBACK = `Traceback (most recent call last):
  File "/srv/shop/payments.py", line 41, in on_order_placed
    receipt = bank.collect(order.customer, order.amount)
  File "/srv/shop/bank.py", line 17, in collect
    raise NoSuchCustomer(customer)
bank.NoSuchCustomer: nobody
`;

export function parked(queue, count = 41) {
  const messages = Array.from({length: count}, (_, at) => message(queue, at));
  const groups = new Map();
  for (const each of messages) {
    const group = groups.get(each.group) ?? {id: each.group, exception: each.dossier.exception, place: each.dossier.place, handler: each.dossier.handler, count: 0, oldest: each.dossier.parked, newest: each.dossier.parked, first: each.id};
    group.count += 1;
    group.oldest = Math.min(group.oldest, each.dossier.parked);
    group.newest = Math.max(group.newest, each.dossier.parked);
    groups.set(each.group, group);
  }
  return {queue: `${queue}.parked`, count, more: 0, groups: [...groups.values()].sort((a, b) => b.count - a.count), messages};
}

function message(queue, at) {
  const away = at % 5 === 0, now = Date.now() / 1000;
  return {
    id: (0x81d000 + at * 7919).toString(16), number: at + 1, group: away ? "c0ffee" : "3f2a1c", queue: `${queue}.parked`, name: "order-placed", exchange: "shop-events", routing_key: "order-placed", redelivered: false,
    dossier: {
      why: away ? "gave-up" : "failed", exception: away ? "bank.BankAway" : "bank.NoSuchCustomer", text: away ? "no answer within 2 s" : "nobody", traceback: TRACEBACK,
      handler: "on_order_placed", processor: "Payments", component: "payments", host: "vesta", pid: "4008", queue, exchange: "shop-events", routing_key: "order-placed",
      attempts: 3, rounds: 0, first_failed: now - 60 * at - 90, parked: now - 60 * at - 30, place: "/srv/shop/bank.py:17",
    },
    properties: {content_type: "application/json", message_id: `m-${at}`, delivery_mode: 2, headers: {"x-postage-attempts": 3}}, damaged: false,
    body: {order: {number: `A-${1000 + at}`, customer: "nobody", amount: "19.90", items: {bolt: 3, nut: at}}},
  };
}

export const diff = (queue, a, b) => ({lines: [
  `--- ${a} order-placed, 96 bytes, in ${queue}`, `+++ ${b} order-placed, 97 bytes, in ${queue}`, "@@ body", "     \"items\": {", "       \"bolt\": 3,", "-      \"nut\": 0", "+      \"nut\": 12", "     },", "-    \"number\": \"A-1000\"", "+    \"number\": \"A-1012\"", "@@ the same in both: properties, headers, dossier",
]});
