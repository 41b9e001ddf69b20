// Swagger UI in a real browser: loads from this server alone, authorises with a token, and "Try it out" is answered
// with 200. Prints one JSON object. Run by tests/slow/browser.rs.
import { chromium } from "playwright-core";

const [, , base, token, screenshot] = process.argv;
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: [
    ...(process.getuid() === 0 ? ["--no-sandbox"] : []),
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    // Nothing but this machine has an address.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
  ],
});

try {
  const context = await browser.newContext({
    viewport: { width: 1280, height: 1600 },
    ignoreHTTPSErrors: true, // the proxy's certificate is made by the test
  });
  const page = await context.newPage();
  const elsewhere = [];
  const complaints = [];
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.protocol !== "data:" && url.origin !== new URL(base).origin) elsewhere.push(request.url());
  });
  page.on("console", (message) => {
    if (message.type() === "error") complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));

  await page.goto(`${base}/docs/`);
  await page.waitForSelector(".opblock");
  const title = (await page.textContent(".info .title")).trim();
  const operations = await page.locator(".opblock").count();

  await page.click(".auth-wrapper .authorize");
  await page.fill(".auth-container input", token);
  await page.click(".auth-btn-wrapper button.authorize");
  await page.click(".auth-btn-wrapper button.btn-done");

  // Reading, and writing with the body that the document suggests.
  const tried = {};
  for (const id of ["listJobs", "submitJob"]) {
    const block = page.locator(`.opblock[id$="-${id}"]`);
    await block.locator(".opblock-summary-control").click();
    // The page opens what is tried at once; where it does not, there is a button for it.
    const execute = block.locator("button.execute");
    await block.locator(".opblock-body").waitFor();
    if (!(await execute.isVisible())) await block.locator(".try-out__btn").click();
    await execute.click();
    const live = block.locator(".live-responses-table tbody .response-col_status").first();
    await live.waitFor();
    tried[id] = parseInt((await live.textContent()).trim(), 10);
  }
  await page.locator('.opblock[id$="-submitJob"] .live-responses-table').scrollIntoViewIfNeeded();
  await page.screenshot({ path: screenshot });
  console.log(JSON.stringify({ title, operations, tried, elsewhere, complaints }));
} catch (error) {
  const [page] = browser.contexts().flatMap((context) => context.pages());
  await page?.screenshot({ path: screenshot });
  throw error;
} finally {
  await browser.close();
}
