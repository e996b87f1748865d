import {render} from "preact";
import {post} from "./api.js";
import {App} from "./app.jsx";
import {listen} from "./live.js";
import {tokenOf} from "./route.js";
import {createStore, SECONDS_PER_POINT, withPoint} from "./store.js";
import "./console.css";

const page = document.getElementById("page"), store = createStore();
page.replaceChildren();

// The token must not stay in the address, where others could read it.
async function begin() {
  const token = tokenOf(location.hash);
  if (token !== null) {
    history.replaceState(null, "", `${location.pathname}#/map`);
    await post(["session"], {token: decodeURIComponent(token)}).catch(() => {});
  }
  const reconnect = listen(store);
  setInterval(() => store.get().known && store.update(withPoint), SECONDS_PER_POINT * 1000);
  render(<App store={store} reconnect={reconnect} />, page);
}

begin();
