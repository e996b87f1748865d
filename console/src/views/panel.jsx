// The panel beside the map: a component, an exchange, a queue or an edge.
import {useEffect, useRef} from "preact/hooks";
import {askable} from "../api.js";
import {ago, count, duration, rate, seconds, sensible} from "../numbers.js";
import {href} from "../route.js";
import {block, plural, shown} from "../text.js";
import {useAnswer} from "../ui/hooks.js";
import {Busy, Code, Facts, Name, Problem, State} from "../ui/parts.jsx";
import {Spark} from "../ui/spark.jsx";

const MOST = 50;
const VIEWS = {component: OfComponent, exchange: OfExchange, queue: OfQueue, edge: OfEdge};
const close = () => (location.hash = href("map"));

export function Panel({state, type, id}) {
  const View = VIEWS[type], panel = useRef(null);
  useEffect(() => {
    const before = document.activeElement;
    panel.current?.focus({preventScroll: true});
    return () => before?.isConnected && before.focus?.({preventScroll: true});
  }, []);
  return <aside class="panel" ref={panel} tabIndex={-1} aria-label={`Details of ${shown(type, 20)} ${shown(id, 80)}`} onKeyDown={(event) => event.key === "Escape" && close()}>
    <button type="button" class="quiet close" aria-label="Close" title="Close (Esc)" onClick={close}>✕</button>
    {View ? <View state={state} id={id} /> : <Gone />}
  </aside>;
}

const Gone = () => <><h2>Not here</h2><p>It is not known, or has left the map.</p></>;

const Part = ({title, count: size, children}) => <section class="part"><h3>{title}{size !== undefined && <span class="note"> {count(size)}</span>}</h3>{children}</section>;

const Numbers = ({of}) => <dl class="numbers">{of.map(([name, value, tone]) => <div key={name}><dt>{name}</dt><dd class={tone}>{value}</dd></div>)}</dl>;

function EdgeLines({state, type, id}) {
  const ends = [...state.edges].filter(([, each]) => each.from && each.to);
  const out = ends.filter(([, each]) => each.from.type === type && each.from.id === id), into = ends.filter(([, each]) => each.to.type === type && each.to.id === id);
  const line = (other) => ([key, each]) => <li key={key}><a href={href("map", "edge", key)}><span class={`kind ${each.kind}`}>{each.kind === "call" ? "call" : "msg"}</span> <Name of={each[other].id} /></a><span class={sensible(each.error_rate) > 0 ? "bad" : ""}>{sensible(each.error_rate) > 0 && `✕ ${rate(each.error_rate)} of `}{rate(each.rate)}</span><span class="note">{seconds(each.p99)}</span></li>;
  return <>
    {into.length > 0 && <Part title="Comes from" count={into.length}><ul class="lines">{into.slice(0, MOST).map(line("from"))}</ul></Part>}
    {out.length > 0 && <Part title="Goes to" count={out.length}><ul class="lines">{out.slice(0, MOST).map(line("to"))}</ul></Part>}
  </>;
}

function OfComponent({state, id}) {
  const entry = state.components.get(id);
  if (!entry) return <Gone />;
  const handlers = [...state.handlers.values()].filter((each) => each.component === id), queues = (entry.queues ?? []).map((name) => state.queues.get(name) ?? {name});
  const errors = handlers.filter((each) => each.last_error).sort((a, b) => (b.last_error_at ?? 0) - (a.last_error_at ?? 0));
  return <>
    <h2><Name of={id} /></h2>
    {entry.kind === "program" ? <p class="note">A program that sends, and runs no processor. Nothing else is known of it.</p> : <p class="under"><State entry={entry} /> <span class="tag"><Name of={entry.kind} /></span>{entry.version && <span class="tag"><Name of={entry.version} /></span>}</p>}
    {entry.doc && <p class="doc"><bdi>{shown(entry.doc, 1000)}</bdi></p>}
    {entry.kind !== "program" && <>
      <Spark points={state.history.components.get(id)} label={`Rate of the last ten minutes, now ${rate(entry.rate)}`} />
      <Numbers of={[["Rate", rate(entry.rate)], ["Errors", rate(entry.error_rate), sensible(entry.error_rate) > 0 && "bad"], ["p50", seconds(entry.p50)], ["p99", seconds(entry.p99)], ["In flight", count(entry.in_flight)], ["Handled", count(entry.handled)], ["Failed", count(entry.failed)], ["Retried", count(entry.retried)], ["Parked", count(entry.parked), sensible(entry.parked) > 0 && "bad"]]} />
    </>}
    <EdgeLines state={state} type="component" id={id} />
    {handlers.length > 0 && <Part title="Handlers" count={handlers.length}><ul class="lines">{handlers.slice(0, MOST).map((each) => <li key={each.handler}>
      {each.type === "command" && askable(id) ? <a href={href("try", id, each.name)} title="Try it"><Name of={each.name || each.handler} /></a> : <Name of={each.name || each.handler} />}
      <span class={sensible(each.error_rate) > 0 ? "bad" : ""}>{sensible(each.error_rate) > 0 && `✕ ${rate(each.error_rate)} of `}{rate(each.rate)}</span><span class="note">{seconds(each.p99)}</span></li>)}</ul></Part>}
    {errors.length > 0 && <Part title="Last errors"><ul class="errors">{errors.slice(0, 10).map((each) => <li key={each.handler}><bdi>{shown(each.last_error, 300)}</bdi><small class="note">in <Name of={each.name || each.handler} />, {ago(each.last_error_at)}</small></li>)}</ul></Part>}
    {queues.length > 0 && <Part title="Queues" count={queues.length}><ul class="lines">{queues.slice(0, MOST).map((each) => <li key={each.name}><a href={href("map", "queue", each.name)}><Name of={each.name} /></a><span>{count(each.depth)} waiting</span>{each.parked > 0 ? <a class="bad" href={href("failed", each.name)}>{count(each.parked)} parked</a> : <span />}</li>)}</ul></Part>}
    {entry.instances?.length > 0 && <Part title="Processes" count={entry.instances.length + (entry.left_out ?? 0)}><ul class="lines">{entry.instances.slice(0, MOST).map((each, at) => <li key={`${each.key} ${at}`}><span><State entry={each} /> <Name of={`${each.pid ?? "?"}@${each.host ?? "?"}`} /></span><span>{rate(each.rate)}</span><span class="note">{each.gone || !sensible(each.started) ? "–" : duration(Date.now() / 1000 - each.started)}</span></li>)}</ul></Part>}
    {entry.kind !== "program" && askable(id) && <Asked id={id} />}
  </>;
}

// What the component itself tells when it is asked: what held its loop, and its contract.
function Asked({id}) {
  const {value, error, busy, again} = useAnswer(["components", id]);
  if (error) return <Part title="Flight recorder and contract"><Problem><bdi>{shown(error, 300)}</bdi></Problem><button type="button" onClick={again}>Ask again</button></Part>;
  if (!value) return busy ? <Busy>Asking it for more…</Busy> : null;
  const flight = Array.isArray(value.flight) ? value.flight.filter((each) => typeof each === "object" && each) : [];
  return <>
    <Part title="What held its loop">{flight.length ? <ul class="errors">{flight.slice(-20).reverse().map((each, at) => <li key={at}><bdi>{shown(flightText(each), 300)}</bdi><small class="note">{ago(each.at)}{each.process && <>, <Name of={each.process} /></>}</small></li>)}</ul> : <p class="note">Nothing has held its loop, and no connection was lost.</p>}</Part>
    <Part title="Contract">{value.contract ? <details><summary>AsyncAPI document</summary><pre tabIndex={0}><bdi>{block(JSON.stringify(value.contract, null, 2))}</bdi></pre></details> : <p class="note">It has no contract, or does not tell it. Type its handlers to get one.</p>}</Part>
  </>;
}

function flightText(entry) {
  if (typeof entry.text === "string") return entry.text;
  return Object.entries(entry).filter(([name]) => !["at", "process"].includes(name)).map(([name, value]) => (name === "what" || name === "kind" ? String(value) : `${name} ${typeof value === "object" ? JSON.stringify(value) : value}`)).join(", ");
}

function OfExchange({state, id}) {
  const entry = state.exchanges.get(id);
  if (!entry) return <Gone />;
  return <><h2><Name of={id} /></h2><p class="under"><span class="tag">exchange</span></p><Numbers of={[["Rate of deliveries", rate(entry.rate)]]} /><EdgeLines state={state} type="exchange" id={id} /></>;
}

function OfQueue({state, id}) {
  const entry = state.queues.get(id);
  if (!entry) return <Gone />;
  return <>
    <h2><Name of={id} /></h2><p class="under"><span class="tag">queue</span></p>
    {entry.problem && <Problem><bdi>{shown(entry.problem, 500)}</bdi></Problem>}
    {entry.consumers === 0 && <Problem>Nobody consumes it: start {plural((entry.components ?? []).length || 1, "component").replace(/^[\d,]+ /, "its ")} again.</Problem>}
    <Spark points={state.history.queues.get(id)} label={`Depth of the last ten minutes, now ${count(entry.depth)}`} />
    <Numbers of={[["Depth", count(entry.depth)], ["Consumers", count(entry.consumers), entry.consumers === 0 && "bad"], ["Parked", count(entry.parked), entry.parked > 0 && "bad"]]} />
    {entry.parked > 0 && <p><a class="button" href={href("failed", id)}>See what failed</a></p>}
    <Facts of={[["Exchange", <Name of={entry.exchange || "the default exchange"} />], ["Keys", (entry.keys ?? []).slice(0, 20).map((each) => <span class="tag"><Name of={each} /></span>)], ["Handled by", (entry.components ?? []).slice(0, 20).map((each) => <a class="tag" href={href("map", "component", each)}><Name of={each} /></a>)], ["Parking queue", entry.parking && <Code of={entry.parking} />]]} />
  </>;
}

function OfEdge({state, id}) {
  const entry = state.edges.get(id);
  if (!entry?.from || !entry.to) return <Gone />;
  const end = (of) => <a href={href("map", of.type, of.id)}><Name of={of.id} /></a>;
  return <>
    <h2><Name of={entry.from.id} /> <span aria-label="to">→</span> <Name of={entry.to.id} /></h2>
    <p class="under"><span class={`tag kind ${entry.kind}`}>{entry.kind === "call" ? "calls" : "messages"}</span></p>
    <Numbers of={[["Rate", rate(entry.rate)], ["Errors", rate(entry.error_rate), sensible(entry.error_rate) > 0 && "bad"], ["p99 of its handlers", seconds(entry.p99)], ["Total", count(entry.total)]]} />
    <Facts of={[["From", end(entry.from)], ["To", end(entry.to)], ["Handlers", (entry.handlers ?? []).slice(0, MOST).map((each) => <span class="tag" key={each}><Name of={each} /></span>)]]} />
  </>;
}
