// browser.mjs CHROMIUM SERVER PAGE SCREENSHOTS: watches the pages of a server from the push to the
// verdict, says each step on stdout, and fails if it sees anything else than it should.
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { chromium } from "playwright-core";

const [executablePath, server, page, screenshots] = process.argv.slice(2);
mkdirSync(screenshots, { recursive: true });
const say = (text) => console.log(text);

// The sandbox of Chromium does not work for root.
const args = process.getuid() === 0 ? ["--no-sandbox"] : [];
const browser = await chromium.launch({ executablePath, args });
const problems = [];

async function open(path, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1100, height: 800 }, ...options });
  const tab = await context.newPage();
  tab.setDefaultTimeout(40_000);
  // Scripts that a policy stops, requests elsewhere, errors of our own script: all are told here.
  tab.on("console", (message) => message.type() === "error" && problems.push(message.text()));
  tab.on("pageerror", (error) => problems.push(String(error)));
  tab.on("request", (request) => request.url().startsWith(server) || request.url().startsWith("data:")
    || problems.push(`a request to ${request.url()}`));
  await tab.goto(server + path);
  // It goes away when the page is loaded again.
  await tab.evaluate(() => { window.sameLoad = true; });
  return tab;
}

const picture = (tab, name) => tab.screenshot({ path: `${screenshots}/${name}.png`, fullPage: true });
const isSameLoad = async (tab) => assert.equal(await tab.evaluate(() => window.sameLoad), true, "it was loaded again");
const row = (tab, job, state) =>
  tab.locator("#jobs tbody tr", { has: tab.getByRole("link", { name: job, exact: true }) })
    .locator(`[data-state=${state}]`).waitFor();

try {
  const home = await open("/");
  await home.getByText("Never evaluated").waitFor();
  say("looks at the empty home page");

  await home.locator("#projects table").waitFor();
  await isSameLoad(home);
  say("sees the project appear");

  const evaluation = await open(page);
  await row(evaluation, "waits", "building");
  await row(evaluation, "bad", "failed");
  await row(evaluation, '"<b>"', "failed");
  await evaluation.getByText("bad goes wrong").waitFor();
  await evaluation.getByText("an <i>evil</i> message").first().waitFor();
  await evaluation.locator("#running [data-since]").getByText(/for \d+ s/).waitFor();
  await picture(evaluation, "running");
  say("sees one build and two failures");

  const job = await open(`${page}/jobs/waits`);
  await job.locator("#log").getByText("before the gate").waitFor();
  assert.equal(await job.locator("#log").getByText("after the gate").count(), 0);
  const plain = await open(page, { javaScriptEnabled: false }).catch(() => undefined);
  assert.ok(plain, "a page without JavaScript");
  await plain.getByRole("heading", { name: "building" }).first().waitFor();
  assert.equal(await plain.locator("noscript meta[http-equiv=refresh], meta[http-equiv=refresh]").count(), 1);
  say("sees the log before the gate");

  await job.locator("#log").getByText("after the gate").waitFor();
  await job.locator("#job .state[data-state=passed]").waitFor();
  assert.deepEqual(await job.locator("#log li").allTextContents(), ["before the gate", "after the gate"]);
  await isSameLoad(job);
  await picture(job, "job");
  say("sees the log grow");

  await evaluation.locator("#verdict .state[data-state=failed]").waitFor();
  await evaluation.getByText("2 of 3 jobs failed: \"<b>\", bad").waitFor();
  await row(evaluation, "waits", "passed");
  assert.equal(await evaluation.locator("#running li").count(), 0);
  await isSameLoad(evaluation);
  await picture(evaluation, "failed");
  await home.locator("[data-state=failed]").waitFor();
  await isSameLoad(home);
  await picture(home, "home");
  say("sees the verdict");

  // By itself, without a script.
  await plain.getByText("2 of 3 jobs failed: \"<b>\", bad").waitFor();
  const dark = await open(page, { colorScheme: "dark" });
  await picture(dark, "dark");
  const narrow = await open(page, { viewport: { width: 320, height: 640 } });
  assert.ok(await narrow.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), "it is too wide");
  await picture(narrow, "narrow");

  // From the verdict to a job of a hostile name, with the keyboard alone.
  await dark.keyboard.press("Tab");
  assert.equal(await dark.evaluate(() => document.activeElement.textContent), "Skip to the content");
  await dark.locator("#jobs a").first().focus();
  await dark.keyboard.press("Enter");
  await dark.getByRole("heading", { name: '"<b>"' }).waitFor();

  assert.deepEqual(problems, []);
  say("done");
} catch (error) {
  console.error(error, problems);
  const tabs = browser.contexts().flatMap((context) => context.pages());
  for (const tab of tabs) console.error(tab.url(), await tab.locator("main").innerText({ timeout: 1000 }).catch(String));
  process.exitCode = 1;
} finally {
  await browser.close();
}
