//! Every page in a real browser: `tests/browser/pages.mjs` looks at each on a phone and a desktop, light and dark.

use std::path::Path;
use std::process::Command;

use crate::process::skip;

#[tokio::test]
async fn every_page_is_found_good_by_a_browser_and_by_axe() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
    if !folder.join("node_modules/playwright-core").exists() {
        return skip("the pages in a browser need `npm ci` in crates/server/tests/browser");
    }
    for tool in ["node", "chromium"] {
        if Command::new(tool).arg("--version").output().is_err() {
            return skip(&format!("the pages in a browser need {tool}"));
        }
    }
    crate::pages::write_every_page().await;
    let done = Command::new("node").arg("pages.mjs").current_dir(&folder).output().unwrap();
    let told = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{told}");
    let counted = told.lines().find(|line| line.ends_with(" pages, 0 findings"));
    let pages: usize =
        counted.and_then(|line| line.split(' ').next()).and_then(|n| n.parse().ok()).unwrap_or(0);
    assert!(pages >= 25, "{told}");
}
