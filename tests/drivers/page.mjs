// What a person does with the page at /, in a real browser: page.mjs URL KEY SCREENSHOT. The API has that key, and
// three tenants: quiet_one and quiet_two of PostgreSQL, and busy of MySQL; ann and bob wait at quiet_two. Makes its own
// assertions.
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const require = createRequire(process.env.DBBOUNCER_NODE + "/");
const { chromium } = require("playwright-core");
const [url, key, screenshot] = process.argv.slice(2);

const browser = await chromium.launch({ executablePath: process.env.DBBOUNCER_CHROMIUM, args: ["--no-sandbox"] });
try {
  const page = await browser.newPage({ viewport: { width: 1400, height: 700 } });
  page.setDefaultTimeout(60_000); // A machine may stall.
  const complaints = [];
  const elsewhere = [];
  page.on("console", (message) => { if (message.type() === "error" && !message.text().includes("401")) complaints.push(message.text()); });
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("request", (request) => { if (!request.url().startsWith(url) && !request.url().startsWith("data:")) elsewhere.push(request.url()); });
  await page.goto(url);

  // A key is asked for; a wrong one is refused and asked for again.
  await page.locator("#ask[open]").waitFor();
  assert.equal(await page.locator("tbody tr").count(), 0);
  for (const attempt of ["wrong", key]) {
    await page.locator("#key").fill(attempt);
    await page.getByRole("button", { name: "Show" }).click();
    if (attempt !== key) await page.getByText("The API refuses this key.").waitFor();
  }

  // All tenants are there, with their numbers.
  await page.locator("tbody tr").nth(2).waitFor();
  const names = async () => page.locator("#body tr td:first-child").allInnerTexts();
  assert.deepEqual((await names()).sort(), ["busy", "quiet_one", "quiet_two"]);
  assert.match(await page.locator("#version").innerText(), /^\d+\.\d+/);
  await page.locator(".tile", { hasText: "Unhealthy" }).locator("b", { hasText: "2" }).waitFor();

  // Sorting, one way and the other.
  await page.getByRole("button", { name: "Tenant" }).click();
  assert.deepEqual(await names(), ["busy", "quiet_one", "quiet_two"]);
  await page.getByRole("button", { name: "Tenant" }).click();
  assert.deepEqual(await names(), ["quiet_two", "quiet_one", "busy"]);
  assert.equal(await page.locator("th[aria-sort=descending]").innerText(), "Tenant ↓".slice(0, 6));

  // The filter takes several words, each of which must be found.
  await page.locator("#filter").fill("postgres two");
  assert.deepEqual(await names(), ["quiet_two"]);
  await page.locator("#filter").fill("mysql");
  assert.deepEqual(await names(), ["busy"]);
  await page.locator("#filter").fill("");
  assert.equal((await names()).length, 3);

  // Whatever the width, the last column is in sight, and the header stays when the tenants move.
  for (const width of [1280, 1400, 1920]) {
    await page.setViewportSize({ width, height: 300 });
    await page.mouse.wheel(0, 1000);
    const last = await page.locator("th", { hasText: "Shard" }).boundingBox();
    assert.ok(last.x + last.width <= width && last.y >= 0 && last.y < 300, `${width}: ${JSON.stringify(last)}`);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${width} is not enough`);
  }
  await page.setViewportSize({ width: 1400, height: 700 });

  // The sessions of a tenant: found by words, ended by one who is sure, and by nobody else.
  await page.getByRole("button", { name: "quiet_two" }).click();
  const users = page.locator("#watch-body td:first-child");
  await users.nth(1).waitFor();
  assert.deepEqual((await users.allInnerTexts()).sort(), ["ann", "bob"]);
  assert.equal(await page.locator("#watch-body .dot", { hasText: "waiting" }).count(), 2);
  await page.locator("#watch-filter").fill("worker BOB");
  assert.deepEqual(await users.allInnerTexts(), ["bob"]);
  if (screenshot) await page.screenshot({ path: screenshot.replace(/\.png$/, "-sessions.png") });
  // Who clicks twice is asked all the same.
  await page.getByRole("button", { name: "End", exact: true }).dblclick();
  await page.locator("#watch-body button.sure:not([aria-disabled])", { hasText: "Really end bob" }).waitFor();
  assert.deepEqual(await users.allInnerTexts(), ["bob"]);
  await page.getByRole("button", { name: "Really end bob" }).click();
  await page.getByText("No session has these words.").waitFor();
  await page.locator("#watch-filter").fill("");
  assert.deepEqual(await users.allInnerTexts(), ["ann"]);
  await page.keyboard.press("Escape");
  assert.ok(!await page.locator("#watch").isVisible());
  assert.equal((await names()).length, 3);

  // It goes on by itself.
  await page.waitForResponse((response) => response.url().endsWith("/tenants"));
  if (screenshot) await page.screenshot({ path: screenshot });
  assert.deepEqual(complaints, []);
  assert.deepEqual(elsewhere, []);
} finally {
  await browser.close();
}
