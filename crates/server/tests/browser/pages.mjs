// Opens every page that `cargo test --test it browser::` wrote to target/tmp/pages in Chromium, on a phone and a desktop,
// light and dark, under the policy the server sends, and fails on: anything axe-core finds against WCAG 2.2 AA, anything
// the browser reports on its console, a page wider than the screen, a target lower than 24 pixels, or one that the
// keyboard does not reach. With a folder as argument, leaves a picture of each there.
//
//   npm ci && cargo test --test it browser::            CHROMIUM=/path/to/chromium where it is not /usr/bin/chromium

import { mkdirSync, readFileSync, readdirSync } from 'node:fs';
import { chromium } from 'playwright-core';
import { AxeBuilder } from '@axe-core/playwright';

const pages = new URL('../../../../target/tmp/pages/', import.meta.url);
const pictures = process.argv[2];
const policy = readFileSync(new URL('policy.txt', pages), 'utf8');
const names = readdirSync(pages).filter((name) => name.endsWith('.html'));
const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
const findings = [];

if (pictures) mkdirSync(pictures, { recursive: true });
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-sync'],
});
for (const [screen, width, height] of [['phone', 390, 844], ['desktop', 1280, 800]]) {
  for (const colorScheme of ['light', 'dark']) {
    const context = await browser.newContext({ viewport: { width, height }, colorScheme });
    for (const name of names) await look(context, name, `${screen} ${colorScheme}`);
    await context.close();
  }
}
await browser.close();

for (const finding of findings) console.error(finding);
console.log(`${names.length} pages, ${findings.length} findings`);
process.exit(findings.length === 0 && names.length > 0 ? 0 : 1);

async function look(context, name, where) {
  const page = await context.newPage();
  const tell = (text) => findings.push(`${name} (${where}): ${text}`);
  page.on('console', (message) => tell(`console: ${message.text()}`));
  await page.route('**/*', (route) =>
    route.request().isNavigationRequest()
      ? route.fulfill({
          body: readFileSync(new URL(name, pages)),
          headers: { 'content-type': 'text/html; charset=utf-8', 'content-security-policy': policy },
        })
      : route.fulfill({ status: 404 }),
  );
  await page.goto('http://guildhall.test/account/invite/?token=0');
  if (pictures) {
    const file = `${pictures}/${name.replace('.html', '')}-${where.replace(' ', '-')}.png`;
    await page.screenshot({ path: file, fullPage: true });
  }
  const { overflow, low, styled } = await page.evaluate(() => ({
    overflow: document.documentElement.scrollWidth - innerWidth,
    low: [...document.querySelectorAll('button, a, input:not([type=hidden])')]
      .filter((target) => target.getBoundingClientRect().height < 24)
      .map((target) => target.outerHTML),
    styled: getComputedStyle(document.body).margin === '0px',
  }));
  if (overflow > 0) tell(`${overflow} pixels too wide`);
  if (low.length > 0) tell(`too low: ${low.join(' ')}`);
  if (!styled) tell('the style was not taken');
  const targets = await page.locator('button, a, input:not([type=hidden])').count();
  for (let target = 0; target < targets; target += 1) {
    await page.keyboard.press('Tab');
    const seen = await page.evaluate(() => {
      const all = [...document.querySelectorAll('button, a, input:not([type=hidden])')];
      const style = getComputedStyle(document.activeElement);
      return { at: all.indexOf(document.activeElement), ring: parseFloat(style.outlineWidth) };
    });
    if (seen.at !== target || seen.ring < 2) tell(`Tab ${target + 1}: at ${seen.at}, ring ${seen.ring}`);
  }
  const { violations } = await new AxeBuilder({ page }).withTags(tags).analyze();
  for (const { id, nodes } of violations) tell(`${id}: ${nodes.map((node) => node.html).join(' ')}`);
  await page.close();
}
