// The tables of components, handlers, queues and edges.
import {useMemo} from "preact/hooks";
import {matches, wordsOf} from "../map/graph.js";
import {ago, count, rate, seconds, sensible} from "../numbers.js";
import {href} from "../route.js";
import {shown} from "../text.js";
import {Empty, Name, State} from "../ui/parts.jsx";
import {Spark} from "../ui/spark.jsx";
import {Table} from "../ui/table.jsx";
import {NoComponents} from "./status.jsx";

const Errors = ({of}) => (sensible(of) > 0 ? <span class="bad">✕ {rate(of)}</span> : <span class="quietly">{rate(of)}</span>);
const Failures = ({of}) => (sensible(of) > 0 ? <span class="bad">{count(of)}</span> : <span class="quietly">{count(of)}</span>);
const number = (name, title, show) => ({name, title, number: true, of: (each) => sensible(each[name]), show: (each) => show(each[name])});
const Names = ({of, view}) => (of ?? []).slice(0, 3).map((each) => (view ? <a key={each} class="tag" href={href("map", view, each)}><Name of={each} /></a> : <span key={each} class="tag"><Name of={each} /></span>));

const COMPONENTS = [
  {name: "name", title: "Component", of: (each) => each.name, show: (each) => <a href={href("map", "component", each.name)}><Name of={each.name} /></a>},
  {name: "state", title: "State", of: (each) => (each.gone ? "gone" : each.state), show: (each) => <State entry={each} />},
  {name: "kind", title: "Kind", of: (each) => each.kind, show: (each) => <Name of={each.kind} />},
  {name: "line", title: "10 minutes", show: (each, id, points) => <Spark points={points} label={`Rate of the last ten minutes, now ${rate(each.rate)}`} />},
  number("rate", "Rate", rate),
  number("error_rate", "Errors", (value) => <Errors of={value} />),
  number("p50", "p50", seconds), number("p99", "p99", seconds), number("in_flight", "In flight", count), number("handled", "Handled", count),
  number("failed", "Failed", (value) => <Failures of={value} />), number("parked", "Parked", (value) => <Failures of={value} />),
  {name: "instances", title: "Processes", number: true, of: (each) => each.instances?.length, show: (each) => count((each.instances?.length ?? 0) + (each.left_out ?? 0))},
  {name: "hosts", title: "Hosts", of: (each) => each.hosts?.[0], show: (each) => <Names of={each.hosts} />},
  {name: "version", title: "Version", of: (each) => each.version, show: (each) => <Name of={each.version || "–"} />},
];

const HANDLERS = [
  {name: "name", title: "Handler", of: (each) => each.name, show: (each) => <Name of={each.name || each.handler} />},
  {name: "component", title: "Component", of: (each) => each.component, show: (each) => <a href={href("map", "component", each.component)}><Name of={each.component} /></a>},
  {name: "type", title: "Kind", of: (each) => `${each.category} ${each.type}`, show: (each) => (each.category === "rpc" ? "call" : <Name of={each.type || "message"} />)},
  {name: "line", title: "10 minutes", show: (each, id, points) => <Spark points={points} label={`Rate of the last ten minutes, now ${rate(each.rate)}`} />},
  number("rate", "Rate", rate), number("error_rate", "Errors", (value) => <Errors of={value} />), number("p50", "p50", seconds), number("p99", "p99", seconds),
  number("received", "Received", count), number("in_flight", "In flight", count),
  number("failed", "Failed", (value) => <Failures of={value} />), number("retried", "Retried", count), number("delayed", "Delayed", count), number("parked", "Parked", (value) => <Failures of={value} />),
  {name: "error", title: "Last error", of: (each) => sensible(each.last_error_at), show: (each) => (each.last_error ? <span class="two"><Name of={each.last_error} /><small>{ago(each.last_error_at)}</small></span> : <span class="quietly">–</span>)},
  {name: "try", title: "Try it", show: (each) => (each.type === "command" ? <a href={href("try", each.component, each.name)} aria-label={`Try ${shown(each.name, 60)} of ${shown(each.component, 60)}`}>Try</a> : null)},
];

const QUEUES = [
  {name: "name", title: "Queue", of: (each) => each.name, show: (each) => <a href={href("map", "queue", each.name)}><Name of={each.name} /></a>},
  {name: "line", title: "10 minutes", show: (each, id, points) => <Spark points={points} label={`Depth of the last ten minutes, now ${count(each.depth)}`} />},
  number("depth", "Depth", count), number("consumers", "Consumers", (value) => (value === 0 ? <span class="warn">▲ 0</span> : count(value))),
  {name: "parked", title: "Parked", number: true, of: (each) => sensible(each.parked), show: (each) => (each.parked > 0 ? <a class="bad" href={href("failed", each.name)}>{count(each.parked)}</a> : <span class="quietly">{count(each.parked)}</span>)},
  {name: "components", title: "Handled by", of: (each) => each.components?.[0], show: (each) => <Names of={each.components} view="component" />},
  {name: "exchange", title: "Exchange", of: (each) => each.exchange, show: (each) => <Name of={each.exchange || "default"} />},
  {name: "keys", title: "Keys", of: (each) => each.keys?.[0], show: (each) => <Names of={each.keys} />},
  {name: "problem", title: "Problem", of: (each) => each.problem, show: (each) => (each.problem ? <span class="warn">▲ <Name of={each.problem} /></span> : null)},
];

const EDGES = [
  {name: "from", title: "From", of: (each) => each.from.id, show: (each) => <a href={href("map", each.from.type, each.from.id)}><Name of={each.from.id} /></a>},
  {name: "kind", title: "Does", of: (each) => each.kind, show: (each) => (each.kind === "call" ? "calls" : each.to.type === "exchange" ? "sends to the exchange" : each.from.type === "exchange" ? "delivers to" : "sends to")},
  {name: "to", title: "To", of: (each) => each.to.id, show: (each) => <a href={href("map", each.to.type, each.to.id)}><Name of={each.to.id} /></a>},
  number("rate", "Rate", rate), number("error_rate", "Errors", (value) => <Errors of={value} />), number("p99", "p99", seconds), number("total", "Total", count),
  {name: "handlers", title: "Handlers", of: (each) => each.handlers?.[0], show: (each) => <Names of={each.handlers} />},
  {name: "more", title: "Details", show: (each, id) => <a href={href("map", "edge", id)} aria-label={`Details of ${shown(each.from.id, 60)} to ${shown(each.to.id, 60)}`}>Details</a>},
];

const COLLECTIONS = {
  components: {title: "Components", columns: COMPONENTS, texts: (each) => each},
  handlers: {title: "Handlers", columns: HANDLERS, texts: (each) => ({name: each.name, kind: each.component, class: each.type, state: each.last_error})},
  queues: {title: "Queues", columns: QUEUES, texts: (each) => ({name: each.name, hosts: each.components, groups: each.keys, kind: each.exchange})},
};

export function List({state, of, filter, onFilter}) {
  const {title, columns, texts} = COLLECTIONS[of], history = state.history[of];
  const rows = useMemo(() => {
    const words = wordsOf(filter);
    return [...state[of]].filter(([, each]) => matches(texts(each), words));
  }, [state[of], filter, of]);
  return <section>
    <header class="heading"><h1>{title}</h1><div class="actions"><input type="search" name="filter" placeholder={`Filter ${of}…`} aria-label={`Filter ${of}`} value={filter} onInput={(event) => onFilter(event.target.value)} /><span class="note count" role="status">{rows.length === state[of].size ? count(rows.length) : `${count(rows.length)} of ${count(state[of].size)}`}</span></div></header>
    {!state[of].size ? <NoComponents state={state} /> : rows.length ? <Table key={of} label={title} columns={columns} rows={rows} context={history && ((id) => history.get(id))} /> : <Empty title="Nothing matches"><button type="button" onClick={() => onFilter("")}>Clear the filter</button></Empty>}
  </section>;
}

export function Edges({state, filter}) {
  const rows = useMemo(() => {
    const words = wordsOf(filter);
    return [...state.edges].filter(([, each]) => each.from && each.to && matches({name: each.from.id, kind: each.to.id, groups: each.handlers}, words));
  }, [state.edges, filter]);
  return rows.length ? <Table label="Who calls whom, and who sends what to whom" columns={EDGES} rows={rows} /> : <Empty title={filter ? "Nothing matches" : "Nobody has called or sent anything yet"}><p>An edge appears as soon as a message has been handled.</p></Empty>;
}
