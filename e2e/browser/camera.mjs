// A camera's tile and device page in headless Chromium. Prints a line for each thing that it has
// seen, with the time, so that the test can pull plugs between them; goes on with each line on its
// input. Screenshots go to --out.
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { join } from "node:path";
import { chromium } from "playwright-core";

const { values: args } = parseArgs({
  options: {
    url: { type: "string" },
    token: { type: "string" },
    system: { type: "string" },
    device: { type: "string" },
    out: { type: "string" },
    browser: { type: "string", default: "/usr/bin/chromium" },
  },
});

const PATIENCE_MS = 40_000;
const LIVE = '.tile[data-state="live"] span[data-fps]:not([data-fps="0.0"])';
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const say = (seen) => console.log(JSON.stringify({ at: Date.now(), ...seen }));

const browser = await chromium.launch({ executablePath: args.browser, args: ["--no-sandbox"] });
const errors = [];
let page;
try {
  const context = await browser.newContext({ viewport: { width: 1440, height: 1100 }, colorScheme: "dark" });
  page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  page.on("pageerror", (error) => errors.push(String(error)));
  const shoot = (name) => page.screenshot({ path: join(args.out, `${name}.png`) });
  // Seen in the page itself: a look from here takes too long to measure by.
  const seen = (state, text) =>
    page.evaluate(
      ([state, text, patience]) =>
        new Promise((resolve, reject) => {
          const late = setTimeout(() => reject(new Error(`the tile is not ${state} ${text}: ${document.querySelector(".tile")?.textContent}`)), patience);
          const look = () => {
            const tile = document.querySelector(".tile");
            if (tile?.dataset.state === state && tile.textContent.includes(text)) {
              clearTimeout(late);
              resolve(Date.now());
            } else setTimeout(look, 10);
          };
          look();
        }),
      [state, text, PATIENCE_MS],
    );

  await page.goto(`${args.url}/#token=${args.token}`);
  await page.getByText(args.device).first().waitFor();
  await page.goto(`${args.url}/systems/${args.system}`);
  await page.locator(LIVE).first().waitFor();
  await shoot("camera-live");
  say({ saw: "live" });

  await lines.next();
  const gone = await seen("card", "unplugged");
  await shoot("camera-unplugged");
  const card = await page.locator(".card-over").first().innerText();
  say({ saw: "unplugged", at: gone, card });

  await lines.next();
  const back = await seen("live", "");
  await page.locator(LIVE).first().waitFor();
  await shoot("camera-back");
  say({ saw: "live again", at: back });

  await page.goto(`${args.url}/devices/${args.device}`);
  const row = page.locator('tr[data-camera="/dev/video1"]');
  await row.getByRole("button", { name: "Details" }).click();
  const controls = await page.locator('table[aria-label="Controls of /dev/video1"] tbody tr').count();
  await row.getByRole("button", { name: "Preview" }).click();
  await page.locator(LIVE).first().waitFor();
  await shoot("camera-device");
  say({ saw: "preview", controls, formats: await row.innerText() });
  const deleted = page.waitForResponse((response) => response.url().endsWith("/DeleteSystem"));
  await page.getByRole("button", { name: "Close preview" }).click();
  await page.locator(LIVE).first().waitFor({ state: "detached" });
  await deleted;
  say({ saw: "closed", errors });

  // Once more, and the page goes away without a word.
  await lines.next();
  await row.getByRole("button", { name: "Preview" }).click();
  await page.locator(LIVE).first().waitFor();
  await page.goto("about:blank");
  say({ saw: "left", errors });
  await lines.next();
} catch (error) {
  await page?.screenshot({ path: join(args.out, "camera-failed.png"), fullPage: true });
  throw error;
} finally {
  await browser.close();
}
