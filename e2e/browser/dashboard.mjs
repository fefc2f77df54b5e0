// The dashboard in headless Chromium: logs in with the link that `edgeflow local` prints, looks at
// every page, and prints what it saw as one line of JSON. Screenshots go to --out.
import { parseArgs } from "node:util";
import { join } from "node:path";
import { chromium } from "playwright-core";

const { values: args } = parseArgs({
  options: {
    url: { type: "string" },
    token: { type: "string" },
    system: { type: "string" },
    device: { type: "string" },
    view: { type: "string" },
    out: { type: "string" },
    browser: { type: "string", default: "/usr/bin/chromium" },
  },
});

const PATIENCE_MS = 45_000;
/** A tile that has shown frames. */
const LIVE = 'span[data-fps]:not([data-fps="0.0"])';
const DESKTOP = { width: 1440, height: 900 };
const PHONE = { width: 390, height: 844 };

const browser = await chromium.launch({ executablePath: args.browser, args: ["--no-sandbox"] });
try {
  const seen = await look();
  console.log(JSON.stringify(seen));
} finally {
  await browser.close();
}

async function look() {
  const errors = [];
  const context = await browser.newContext({ viewport: DESKTOP, colorScheme: "dark" });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  page.on("console", (message) => {
    if (message.type() === "error") errors.push(message.text());
  });
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("requestfailed", (request) => {
    // A closed page aborts its streams; that is no failure.
    if (request.failure()?.errorText !== "net::ERR_ABORTED") {
      errors.push(`${request.url()}: ${request.failure()?.errorText}`);
    }
  });

  await page.goto(`${args.url}/#token=${args.token}`);
  await page.getByText(args.device).first().waitFor();
  if (page.url().includes(args.token)) errors.push("the token is left in the address");
  await shoot(page, "fleet", "/fleet", args.device);

  await page.goto(`${args.url}/systems/${args.system}`);
  const fps = await edgeFps(page);
  const canvas = page.locator("canvas[data-boxes]").first();
  await canvas.waitFor();
  const boxes = await page.waitForFunction(
    () => {
      const counts = [...document.querySelectorAll("canvas[data-boxes]")];
      return Math.max(0, ...counts.map((canvas) => Number(canvas.dataset.boxes)));
    },
    undefined,
    { timeout: PATIENCE_MS },
  );
  const colours = await page.evaluate(countColours);
  await shoot(page, "system", `/systems/${args.system}`, LIVE);
  await shoot(page, "device", `/devices/${args.device}`, args.system);
  await shoot(page, "logs", `/logs?system=${args.system}`, ".log-line");
  await shoot(page, "wall", "/wall", LIVE);
  await shoot(page, "events", "/events", "article.event");

  await page.setViewportSize(PHONE);
  await shoot(page, "phone-fleet", "/fleet", args.device);
  await shoot(page, "phone-system", `/systems/${args.system}`, LIVE);
  const wider = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  if (wider > 1) errors.push(`the phone page is ${wider} pixels too wide`);

  await page.emulateMedia({ colorScheme: "light" });
  await page.setViewportSize(DESKTOP);
  await shoot(page, "light-fleet", "/fleet", args.device);
  await shoot(page, "light-system", `/systems/${args.system}`, LIVE);

  return { fps, boxes: await boxes.jsonValue(), colours, errors };
}

/** Highest frame rate on the graph's edges, once one is shown. */
async function edgeFps(page) {
  const handle = await page.waitForFunction(
    () => {
      const labels = [...document.querySelectorAll("[class*='react-flow__edge']")];
      const rates = labels.flatMap((label) => {
        const match = /(\d+(?:\.\d+)?)\s*fps/.exec(label.textContent ?? "");
        return match ? [Number(match[1])] : [];
      });
      return Math.max(0, ...rates);
    },
    undefined,
    { timeout: PATIENCE_MS },
  );
  return handle.jsonValue();
}

/** Distinct colours on the canvas with the most of them: an empty one has one. */
function countColours() {
  const counts = [...document.querySelectorAll("canvas[data-boxes]")].map((canvas) => {
    const context = canvas.getContext("2d");
    if (!context || canvas.width === 0) return 0;
    const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
    const colours = new Set();
    for (let at = 0; at < data.length; at += 4 * 97) {
      colours.add((data[at] << 16) | (data[at + 1] << 8) | data[at + 2]);
    }
    return colours.size;
  });
  return Math.max(0, ...counts);
}

/** Opens a page, waits for what it is for (a selector, or a text) and takes a picture of it. */
async function shoot(page, name, path, content) {
  const at = new URL(page.url());
  if (at.pathname + at.search !== path) await page.goto(args.url + path);
  const wanted = /^[.a-z]*[.[]/.test(content) ? page.locator(content) : page.getByText(content);
  await wanted.filter({ visible: true }).first().waitFor();
  await page.screenshot({ path: join(args.out, `${name}.png`) });
}
