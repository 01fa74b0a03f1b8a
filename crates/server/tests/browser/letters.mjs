// Makes the pictures in docs/mail.md from the letters that `cargo test --test it mail::every_letter` wrote to
// target/tmp/letters.
//
//   npm ci && node letters.mjs         CHROMIUM=/path/to/chromium where it is not /usr/bin/chromium

import { mkdirSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const letters = new URL('../../../../target/tmp/letters/', import.meta.url);
const pictures = fileURLToPath(new URL('../../../../docs/mail/', import.meta.url));
mkdirSync(pictures, { recursive: true });
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-sync'],
});
const page = await browser.newPage({ viewport: { width: 640, height: 320 } });
for (const name of readdirSync(letters).filter((name) => name.endsWith('.html'))) {
  await page.goto(new URL(name, letters).href);
  await page.screenshot({ path: `${pictures}${name.replace('.html', '.png')}`, fullPage: true });
}
await browser.close();
