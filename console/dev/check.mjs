// Checks the built page in Chromium: axe-core on every view in both themes, nothing injected, and how long a click takes.
//
// `node dev/check.mjs` ends with 1 if anything serious is found.
import {readFile} from "node:fs/promises";
import {createRequire} from "node:module";
import {launch, open} from "./browser.mjs";
import {serve} from "./serve.mjs";
import {VIEWS} from "./views.mjs";

const AXE = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const found = [], only = process.argv.find((each) => each.startsWith("only="))?.slice(5) ?? "";

async function accessible(browser) {
  for (const [state, views] of Object.entries(VIEWS)) {
    const server = await serve({state});
    for (const [name, {fragment, act}] of Object.entries(views).filter(([name]) => `${state}-${name}`.includes(only))) for (const theme of ["light", "dark"]) for (const width of [1440, 360]) {
      if (state === "large" && width === 360) continue;
      const {page, problems, close} = await open(browser, server.address + fragment, {theme, width});
      await page.waitForTimeout(400);
      await act?.(page);
      await page.waitForTimeout(200);
      await page.evaluate(AXE);
      const told = await page.evaluate(() => axe.run(document, {resultTypes: ["violations"]}));
      for (const each of told.violations) {
        const text = `${state} ${name} ${theme} ${width}: ${each.impact} ${each.id}: ${each.nodes[0].target} (${each.nodes.length}) ${each.nodes[0].any[0]?.message ?? ""}`;
        if (["serious", "critical"].includes(each.impact)) found.push(text);
        else console.log(text);
      }
      problems.forEach((each) => found.push(`${state} ${name}: ${each}`));
      await close();
    }
    server.close();
  }
}

// From the press of the button to the frame that shows the panel.
async function fast(browser) {
  const server = await serve({state: "large"}), {page, close} = await open(browser, `${server.address}#/map`);
  await page.getByLabel("Groups").selectOption("none");
  await page.waitForSelector("[data-node='component:orders-8']");
  await page.waitForTimeout(500);
  const times = await page.evaluate(async () => {
    const times = [], frame = () => new Promise((done) => requestAnimationFrame(() => { const channel = new MessageChannel(); channel.port1.onmessage = done; channel.port2.postMessage(0); }));
    for (const name of ["orders-8", "stock-9", "mail-51", "audit-399", "users-6", "orders-248"]) {
      const began = performance.now();
      document.querySelector(`[data-node="component:${name}"]`).dispatchEvent(new MouseEvent("click", {bubbles: true}));
      do await frame(); while (!document.querySelector(".panel h2")?.textContent.includes(name));
      times.push(Math.round(performance.now() - began));
      await new Promise((done) => setTimeout(done, 700));
    }
    return times;
  });
  const stutter = await page.evaluate(async () => {
    let longest = 0, last = performance.now(), until = last + 6500;
    while (last < until) {
      await new Promise(requestAnimationFrame);
      const now = performance.now();
      longest = Math.max(longest, now - last);
      last = now;
    }
    return Math.round(longest);
  });
  console.log(`a click on one of 500 components takes ${times.join(", ")} ms; the longest frame while all rates change: ${stutter} ms`);
  await close();
  server.close();
}

const browser = await launch();
if (!process.argv.includes("--axe")) await fast(browser);
if (!process.argv.includes("--speed")) await accessible(browser);
await browser.close();
const told = [...new Set(found)];
console.log(told.length ? told.join("\n") : "nothing serious found");
process.exit(told.length ? 1 : 0);
