// The pictures of the documentation: `node dev/pictures.mjs [folder]`, by default docs/images.
import {mkdir} from "node:fs/promises";
import {dirname, join} from "node:path";
import {fileURLToPath} from "node:url";
import {launch, open} from "./browser.mjs";
import {serve} from "./serve.mjs";

const PICTURES = {map: "#/map", component: "#/map/component/payments", failed: "#/failed/shop-payments", form: "#/try/orders/place"};
const SIZES = {1440: 900, 360: 740};

const folder = process.argv[2] ?? join(dirname(fileURLToPath(import.meta.url)), "..", "..", "docs", "images");
await mkdir(folder, {recursive: true});
const server = await serve({state: "shop"}), browser = await launch();
for (const [name, fragment] of Object.entries(PICTURES)) for (const theme of ["light", "dark"]) for (const [width, height] of Object.entries(SIZES)) {
  const {page, close} = await open(browser, server.address + fragment, {theme, width: Number(width), height});
  await page.waitForSelector("h1");
  await page.waitForTimeout(1000);
  await page.screenshot({path: join(folder, `console-${name}-${width}-${theme}.png`)});
  await close();
}
await browser.close();
server.close();
