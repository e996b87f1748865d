// What failed: queues with parked messages, their groups, one message, the difference of two.
import {useEffect, useMemo, useState} from "preact/hooks";
import {askable, getDifference, post} from "../api.js";
import {ago, count, when} from "../numbers.js";
import {href} from "../route.js";
import {block, plural, shown} from "../text.js";
import {Act, Busy, Code, Confirm, Empty, Facts, Name, Problem, READ_ONLY, ReadOnly} from "../ui/parts.jsx";
import {useAnswer} from "../ui/hooks.js";
import {Table} from "../ui/table.jsx";

// The queue in which what has failed in *queue* waits: the server looks there.
const parkingOf = (state, queue) => state.queues.get(queue)?.parking ?? queue;
const exceptionOf = (told) => (told?.exception ?? "").replace(/^builtins\./, "") || told?.why || "unknown";

export function Failed({state, parts: [queue, id]}) {
  if (queue === undefined) return <Queues state={state} />;
  return <section>
    <nav class="crumbs" aria-label="Where this is"><a href={href("failed")}>Failed</a> <span aria-hidden="true">/</span> {id === undefined ? <Name of={queue} /> : <><a href={href("failed", queue)}><Name of={queue} /></a> <span aria-hidden="true">/</span> <Name of={id} /></>}</nav>
    {!askable(queue) ? <Problem>A queue without a name cannot be looked into.</Problem> : id === undefined ? <Parked key={queue} state={state} queue={queue} parking={parkingOf(state, queue)} /> : <Message key={id} state={state} queue={queue} parking={parkingOf(state, queue)} id={id} />}
  </section>;
}

const COLUMNS = [
  {name: "name", title: "Queue", of: (each) => each.name, show: (each) => <a href={href("failed", each.name)}><Name of={each.name} /></a>},
  {name: "parked", title: "Parked", number: true, of: (each) => each.parked, show: (each) => <strong class="bad">{count(each.parked)}</strong>},
  {name: "components", title: "Handled by", of: (each) => each.components?.[0], show: (each) => (each.components ?? []).slice(0, 5).map((name) => <a class="tag" href={href("map", "component", name)}><Name of={name} /></a>)},
  {name: "parking", title: "Kept in", of: (each) => each.parking, show: (each) => <Code of={each.parking} />},
];

function Queues({state}) {
  const rows = useMemo(() => [...state.queues].filter(([, each]) => each.parked > 0), [state.queues]);
  return <section>
    <h1>Failed</h1>
    <p class="lead">Messages that could not be handled wait in a parking queue until somebody replays them.</p>
    <Jobs state={state} />
    {rows.length ? <Table label="Queues with messages that failed" columns={COLUMNS} rows={rows} first="parked" />
      : <Empty title="Nothing has failed"><p>A message is parked when its handler has failed as often as its retries allow. There are none.</p><p>To see on the command line what is parked, run:</p><pre class="command" tabIndex={0}><code>postage dlq ls</code></pre></Empty>}
  </section>;
}

export function Jobs({state, queue}) {
  const jobs = [...state.jobs].filter(([, each]) => queue === undefined || each.queue === queue).slice(-5).reverse();
  if (!jobs.length) return null;
  return <ul class="jobs" aria-label="Replays">{jobs.map(([id, job]) => <li key={id} class={job.state === "failed" ? "bad" : ""}>
    <span>{job.state === "done" ? "✓" : job.state === "failed" ? "✖" : "…"} Replay of <bdi>{shown(job.what, 80)}</bdi> in <Name of={job.queue} /></span>
    {job.state === "running" ? <progress max={job.total || undefined} value={job.total ? job.done : undefined} aria-label={`${job.done} of ${job.total ?? "?"}`} /> : null}
    <span class="note" role="status">{job.state === "running" ? `${count(job.done)} of ${count(job.total)}` : <bdi>{shown(job.text || job.state, 300)}</bdi>}</span>
  </li>)}</ul>;
}

// Asks before it replays: {ask(chosen, question), shown}.
function useReplay(queue, parking) {
  const [asked, setAsked] = useState(null), [error, setError] = useState("");
  const start = async () => {
    setAsked(null);
    setError("");
    await post(["parked", parking, "replay"], asked.chosen).catch((problem) => setError(problem.message));
  };
  return {
    ask: (chosen, what) => setAsked({chosen, what}),
    shown: <>
      {error && <Problem>{error}</Problem>}
      {asked && <Confirm question={`Replay ${asked.what}?`} detail={<>They go back to the queue <Name of={queue} />, to be handled again from the start. What has been repaired succeeds; what has not is parked once more.</>} yes="Replay" onYes={start} onNo={() => setAsked(null)} />}
    </>,
  };
}

// Changes whenever a replay of the queue ends: then the list is out of date.
const endedIn = (state, queue) => [...state.jobs].filter(([, each]) => each.queue === queue && each.state !== "running").map(([id]) => id).join(" ");

function Parked({state, queue, parking}) {
  const {value, error, busy, again} = useAnswer(["parked", parking], endedIn(state, parking));
  const replay = useReplay(queue, parking), why = state.about.write ? "" : READ_ONLY;
  const [chosen, setChosen] = useState(() => new Set()), [group, setGroup] = useState(null), [differing, setDiffering] = useState(null);
  const messages = value?.messages ?? [], groups = value?.groups ?? [];
  useEffect(() => setDiffering(null), [value]); // the messages of a difference may be gone
  const picked = messages.filter((each) => chosen.has(each.id)).map((each) => each.id);
  const toggle = (id) => setChosen((old) => { const next = new Set(old); next.has(id) ? next.delete(id) : next.add(id); return next; });
  const columns = useMemo(() => messageColumns(queue, chosen, toggle), [queue, chosen]);
  const rows = useMemo(() => messages.filter((each) => group === null || each.group === group).map((each) => [each.id, each]), [value, group]);
  const compare = () => getDifference(parking, picked[0], picked[1]);

  return <>
    <header class="heading"><h1><Name of={queue} /></h1><div class="actions"><button type="button" onClick={again} aria-disabled={busy ? "true" : undefined}>Refresh</button>{value && messages.length > 0 && <Act kind="primary" why={why} onPress={() => replay.ask({all: true}, `all ${plural(value.count, "message")}`)}>Replay all</Act>}</div></header>
    {!state.about.write && <ReadOnly />}
    <Jobs state={state} queue={parking} />
    {replay.shown}
    {error && <Problem><bdi>{shown(error, 1000)}</bdi></Problem>}
    {!value && busy && <Busy>Looking into the parking queue…</Busy>}
    {value && !messages.length && <Empty title="Nothing is parked here"><p>All messages of <Name of={queue} /> have been handled or replayed.</p></Empty>}
    {value && messages.length > 0 && <>
      <h2>{plural(groups.length, "group")}</h2>
      <ul class="groups">{groups.map((each) => <li key={each.id} class="card">
        <h3><Name of={exceptionOf(each)} /></h3>
        <p class="note"><Code of={each.place || "unknown place"} />{each.handler && <> in <Code of={each.handler} /></>}</p>
        <p><strong>{plural(each.count, "message")}</strong> <span class="note">{ago(each.newest)}{each.oldest !== each.newest && `, oldest ${ago(each.oldest)}`}</span></p>
        <div class="actions"><button type="button" aria-pressed={group === each.id} onClick={() => setGroup(group === each.id ? null : each.id)}>Show only these</button><Act why={why} onPress={() => replay.ask({group: each.id}, `the group of ${plural(each.count, "message")}`)}>Replay group</Act></div>
      </li>)}</ul>
      <header class="heading"><h2>{plural(rows.length, "message")}{value.more > 0 && ` of ${count(value.count)}`}</h2><div class="actions">
        <Act why={picked.length === 2 ? "" : "Choose two messages to compare them."} onPress={() => compare().then((told) => setDiffering(told.lines), (problem) => setDiffering([problem.message]))}>Compare two</Act>
        <Act why={why || (picked.length ? "" : "Choose the messages to replay.")} onPress={() => replay.ask({ids: picked}, plural(picked.length, "message"))}>Replay chosen{picked.length ? ` (${picked.length})` : ""}</Act>
      </div></header>
      {differing && <Difference lines={differing} onClose={() => setDiffering(null)} />}
      <Table label={`Messages that failed in ${shown(queue, 80)}`} columns={columns} rows={rows} first="number" />
    </>}
  </>;
}

const messageColumns = (queue, chosen, toggle) => [
  {name: "id", title: "Message", of: (each) => each.id, show: (each) => <span class="pick"><input type="checkbox" aria-label={`Choose ${shown(each.id, 60)}`} checked={chosen.has(each.id)} onChange={() => toggle(each.id)} /><a href={href("failed", queue, each.id)}><Name of={each.id} /></a></span>},
  {name: "number", title: "Place", number: true, of: (each) => -each.number, show: (each) => count(each.number)},
  {name: "name", title: "Name", of: (each) => each.name, show: (each) => <Name of={each.name} />},
  {name: "why", title: "What failed", of: (each) => each.dossier?.exception, show: (each) => <span class="two"><Name of={exceptionOf(each.dossier)} /><small><Name of={each.dossier?.text || each.damaged || "–"} /></small></span>},
  {name: "attempts", title: "Attempts", number: true, of: (each) => each.dossier?.attempts, show: (each) => count(each.dossier?.attempts)},
  {name: "parked", title: "Parked", number: true, of: (each) => each.dossier?.parked, show: (each) => ago(each.dossier?.parked)},
];

function Difference({lines, onClose}) {
  const kind = (line) => (/^(---|\+\+\+|@@)/.test(line) ? "head" : line.startsWith("+") ? "added" : line.startsWith("-") ? "removed" : "");
  return <section class="card" aria-label="Difference"><header class="heading"><h3>Difference</h3><button type="button" onClick={onClose}>Close</button></header>
    <pre class="diff" tabIndex={0}>{(lines ?? []).map((line, at) => <span key={at} class={kind(String(line))}>{block(line, 2000)}{"\n"}</span>)}</pre></section>;
}

function Message({state, queue, parking, id}) {
  const {value, error, busy, again} = useAnswer(["parked", parking, id]), replay = useReplay(queue, parking);
  const told = value?.dossier ?? {};
  return <>
    <header class="heading"><h1><Name of={value?.name || id} /></h1><div class="actions"><button type="button" onClick={again}>Refresh</button>{value && <Act kind="primary" why={state.about.write ? "" : READ_ONLY} onPress={() => replay.ask({ids: [id]}, "this message")}>Replay</Act>}</div></header>
    {!state.about.write && <ReadOnly />}
    <Jobs state={state} queue={parking} />
    {replay.shown}
    {error && <Problem><bdi>{shown(error, 1000)}</bdi></Problem>}
    {!value && busy && <Busy>Looking for the message…</Busy>}
    {value && <>
      <div class="card"><h2 class="bad"><Name of={exceptionOf(told)} /></h2>{told.text && <p><bdi>{shown(told.text, 2000)}</bdi></p>}
        <Facts of={[["Why", told.why && <Name of={told.why} />], ["Place", told.place && <Code of={told.place} />], ["Handler", told.handler && <Code of={told.handler} />], ["Component", told.component && <a href={href("map", "component", told.component)}><Name of={told.component} /></a>], ["Host", told.host && <Name of={told.host} />], ["Process", told.pid && <Name of={told.pid} />], ["Exchange", <Name of={told.exchange || value.exchange || "the default exchange"} />], ["Routing key", <Code of={told.routing_key ?? value.routing_key} />], ["Attempts", count(told.attempts)], ["First failed", when(told.first_failed)], ["Parked", when(told.parked)], ["Damaged", value.damaged && <Name of={value.damaged} />]]} /></div>
      {told.traceback && <><h2>Traceback</h2><pre tabIndex={0}><bdi>{block(told.traceback)}</bdi></pre></>}
      <h2>Body</h2><pre tabIndex={0}><bdi>{block(value.body !== undefined ? JSON.stringify(value.body, null, 2) : value.text ?? value.base64 ?? "")}</bdi></pre>
      <h2>Properties and headers</h2><pre tabIndex={0}><bdi>{block(JSON.stringify(value.properties ?? {}, null, 2))}</bdi></pre>
    </>}
  </>;
}
