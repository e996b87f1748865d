// The frame around all views: navigation, connection, theme.
import {useEffect, useRef, useState} from "preact/hooks";
import {count} from "./numbers.js";
import {href} from "./route.js";
import {shown} from "./text.js";
import {useKept, useRoute, useStore} from "./ui/hooks.js";
import {Busy} from "./ui/parts.jsx";
import {Failed} from "./views/failed.jsx";
import {List} from "./views/lists.jsx";
import {MapView} from "./views/map.jsx";
import {Banner, Locked} from "./views/status.jsx";
import {TryIt} from "./views/try.jsx";

const VIEWS = {map: "Map", components: "Components", handlers: "Handlers", queues: "Queues", failed: "Failed", try: "Try it"};

export function App({store, reconnect}) {
  const state = useStore(store), {view, parts} = useRoute(), [filter, setFilter] = useState("");
  const parked = [...state.queues.values()].reduce((sum, each) => sum + (each.parked > 0 && each.parked < 1e12 ? each.parked : 0), 0);
  useTitle(view, parts);
  useEffect(() => document.querySelector(".top nav [aria-current]")?.scrollIntoView({block: "nearest", inline: "center"}), [view]);
  return <>
    <a class="skip" href="#main" onClick={(event) => { event.preventDefault(); document.getElementById("main").focus(); }}>Skip to the content</a>
    <header class="top">
      <a class="brand" href={href("map")} aria-label="Postage console, map"><Logo /><span>Postage</span></a>
      <nav aria-label="Views">{Object.entries(VIEWS).map(([name, title]) => <a key={name} href={href(name)} aria-current={name === view ? "page" : undefined}>{title}{name === "failed" && parked > 0 && <span class="badge" aria-label={`${count(parked)} parked`}>{count(parked)}</span>}</a>)}</nav>
      <Link state={state} />
      <Theme />
    </header>
    <Banner state={state} />
    <main id="main" tabIndex={-1} class={view === "map" ? "whole" : ""}>
      {state.link.state === "locked" ? <Locked problem={state.link.problem} onOpen={reconnect} />
        : !state.known ? <div class="empty"><Busy>Connecting to the console…</Busy></div>
          : view === "map" ? <MapView state={state} parts={parts} filter={filter} onFilter={setFilter} />
            : view === "failed" ? <Failed state={state} parts={parts} />
              : view === "try" ? <TryIt state={state} parts={parts} />
                : <List key={view} state={state} of={view} filter={filter} onFilter={setFilter} />}
    </main>
    <Announcer state={state} />
  </>;
}

const Logo = () => <svg viewBox="0 0 32 32" width="24" height="24" aria-hidden="true"><rect width="32" height="32" rx="8" fill="#5b5bd6" /><path d="M6.500 10.500h19v12h-19zM6.500 11l9.500 7 9.500-7" fill="none" stroke="#fff" stroke-width="2.200" stroke-linejoin="round" /></svg>;

function Link({state}) {
  const {link, about} = state;
  const [tone, text] = link.state !== "live" ? (link.state === "connecting" ? ["warn", "connecting"] : ["bad", "not connected"]) : about.problem ? ["warn", "broker away"] : ["good", "live"];
  return <span class={`link ${tone}`} title={shown(about.broker || "", 300)}><span aria-hidden="true">{tone === "good" ? "●" : tone === "warn" ? "▲" : "✖"}</span> {text}{link.state === "live" && !about.write && <span class="tag">read-only</span>}<bdi class="broker name">{shown(about.broker || " ", 200)}</bdi></span>;
}

const THEMES = {auto: ["◐", "as the system"], light: ["☀︎", "light"], dark: ["☾", "dark"]};

function Theme() {
  const [theme, setTheme] = useKept("theme", "auto"), names = Object.keys(THEMES), known = THEMES[theme] ? theme : "auto";
  useEffect(() => { document.documentElement.dataset.theme = known; }, [known]);
  const next = names[(names.indexOf(known) + 1) % names.length];
  return <button type="button" class="quiet theme" aria-label={`Theme: ${THEMES[known][1]}. Change to ${THEMES[next][1]}.`} title={`Theme: ${THEMES[known][1]}`} onClick={() => setTheme(next)}>{THEMES[known][0]}</button>;
}

function useTitle(view, parts) {
  const title = [parts.at(-1) && shown(parts.at(-1), 60), VIEWS[view], "Postage"].filter(Boolean).join(" · ");
  useEffect(() => { document.title = title; }, [title]);
}

// Says aloud what matters, at most once in ten seconds: components that have gone or begun to fail.
function Announcer({state}) {
  const [text, setText] = useState(""), seen = useRef({at: 0, gone: null});
  useEffect(() => {
    if (!state.known || Date.now() - seen.current.at < 10_000) return;
    const gone = [...state.components].filter(([, each]) => each.gone).map(([name]) => name);
    if (seen.current.gone !== null) {
      const news = gone.filter((name) => !seen.current.gone.has(name));
      if (news.length) setText(news.length > 3 ? `${news.length} components have gone` : `${news.map((each) => shown(each, 60)).join(", ")} has gone`);
    }
    seen.current = {at: Date.now(), gone: new Set(gone)};
  }, [state]);
  return <p class="hidden" aria-live="polite">{text}</p>;
}
