// Screenshots of all views into a folder: `node dev/look.mjs FOLDER [word in the name]`.
import {mkdir} from "node:fs/promises";
import {join} from "node:path";
import {launch, open} from "./browser.mjs";
import {serve} from "./serve.mjs";
import {VIEWS} from "./views.mjs";

const [, , folder = "/tmp/shots", only = ""] = process.argv;
await mkdir(folder, {recursive: true});
const browser = await launch();
for (const [state, views] of Object.entries(VIEWS)) {
  const server = await serve({state, write: true});
  for (const [name, {fragment, act}] of Object.entries(views)) {
    for (const [theme, width, height] of [["light", 1440, 900], ["dark", 1440, 900], ["light", 360, 740], ["dark", 360, 740]]) {
      const file = `${state}-${name}-${width}-${theme}.png`;
      if (!file.includes(only)) continue;
      const {page, problems, close} = await open(browser, server.address + fragment, {theme, width, height});
      await page.waitForTimeout(700);
      await act?.(page);
      await page.waitForTimeout(200);
      await page.screenshot({path: join(folder, file)});
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (wide > 0) problems.push(`the page is ${wide} px wider than the window`);
      if (problems.length) console.log(file, problems);
      await close();
    }
  }
  server.close();
}
await browser.close();
