// What the page says while there is nothing to show, and the form for the token.
import {useState} from "preact/hooks";
import {post} from "../api.js";
import {ago} from "../numbers.js";
import {shown} from "../text.js";
import {Command, Empty, Problem} from "../ui/parts.jsx";

export function NoComponents({state}) {
  if (state.about.problem) return <Empty title="The broker is away"><p>The console keeps trying. Check that the broker runs, and that the address is right:</p><p><code><bdi>{shown(state.about.broker || "unknown", 300)}</bdi></code></p><p class="note"><bdi>{shown(state.about.problem, 500)}</bdi></p><Command>postage doctor</Command></Empty>;
  return <Empty title="No component is running">
    <p>The map draws itself as soon as a component answers on this broker. Start one:</p>
    <Command>postage run orders.py</Command>
    <p class="note">No broker at hand? <code>postage run orders.py --embedded</code> brings its own.</p>
  </Empty>;
}

export function Banner({state}) {
  const {link, about} = state;
  if (link.state === "lost") return <p class="banner bad" role="alert"><span aria-hidden="true">✖</span> <span><strong>Connection lost.</strong> The console tries again on its own. Is <code>postage web</code> still running? What you see is from {ago(about.as_of)}.</span></p>;
  if (link.state === "full") return <p class="banner warn" role="alert"><span aria-hidden="true">▲</span> <span><strong>Too many browsers.</strong> <bdi>{shown(link.problem, 300)}</bdi></span></p>;
  if (about.problem && state.known) return <p class="banner warn" role="alert"><span aria-hidden="true">▲</span> <span><strong>The broker does not answer.</strong> <bdi>{shown(about.problem, 300)}</bdi>. What you see is from {ago(about.as_of)}.</span></p>;
  return null;
}

export function Locked({problem, onOpen}) {
  const [token, setToken] = useState(""), [error, setError] = useState("");
  const submit = async (event) => {
    event.preventDefault();
    try {
      await post(["session"], {token: token.trim().replace(/^.*#token=/, "")});
      onOpen();
    } catch (refused) {
      setError(refused.message);
    }
  };
  return <div class="empty"><h1>This console needs its token</h1>
    <p><code>postage web</code> has printed it when it started, at the end of its address. Paste the token or the whole address here.</p>
    <form class="row" onSubmit={submit}><input type="password" name="token" aria-label="Token" autocomplete="current-password" required value={token} onInput={(event) => setToken(event.target.value)} /><button type="submit" class="primary">Open</button></form>
    {(error || problem) && <Problem><bdi>{shown(error || problem, 300)}</bdi></Problem>}
  </div>;
}
