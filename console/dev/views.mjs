// The views that the checks look at, by the state that they are shown with.
const answer = async (page) => {
  await page.getByLabel("customer").fill("ada");
  await page.getByRole("button", {name: "Call", exact: true}).click();
};
const compare = async (page) => {
  const boxes = page.locator("tbody input[type=checkbox]");
  await boxes.nth(0).check();
  await boxes.nth(1).check();
  await page.getByRole("button", {name: "Compare two"}).click();
};

const choose = async (page) => {
  await page.getByLabel("Groups").selectOption("none");
  await page.evaluate(() => (location.hash = "#/map/component/orders-8"));
};

export const VIEWS = {
  shop: {
    map: {fragment: "#/map"}, component: {fragment: "#/map/component/payments"}, edge: {fragment: "#/map/edge/call%20orders%3Estock"}, queue: {fragment: "#/map/queue/shop-mails"},
    table: {fragment: "#/map", act: (page) => page.getByRole("button", {name: "Table"}).click()},
    grouped: {fragment: "#/map", act: (page) => page.getByLabel("Groups").selectOption("host")},
    components: {fragment: "#/components"}, handlers: {fragment: "#/handlers"}, queues: {fragment: "#/queues"},
    failed: {fragment: "#/failed"}, parked: {fragment: "#/failed/shop-payments"}, diff: {fragment: "#/failed/shop-payments", act: compare},
    confirm: {fragment: "#/failed/shop-payments", act: (page) => page.getByRole("button", {name: "Replay all"}).click()},
    message: {fragment: "#/failed/shop-payments/81d000"}, try: {fragment: "#/try/orders/place"}, answer: {fragment: "#/try/orders/place", act: answer},
  },
  large: {map: {fragment: "#/map"}, all: {fragment: "#/map", act: (page) => page.getByLabel("Groups").selectOption("none")}, chosen: {fragment: "#/map", act: choose}, components: {fragment: "#/components"}},
  hostile: {map: {fragment: "#/map"}, component: {fragment: "#/map/component/%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E"}, components: {fragment: "#/components"}, handlers: {fragment: "#/handlers"}, queues: {fragment: "#/queues"}, failed: {fragment: "#/failed"}},
  empty: {map: {fragment: "#/map"}, components: {fragment: "#/components"}, failed: {fragment: "#/failed"}, try: {fragment: "#/try"}},
  away: {map: {fragment: "#/map"}},
  "never-there": {map: {fragment: "#/map"}},
};
