//! The README's blocks, run as they stand: what each prints is what stands behind `#=>`, where `…` stands for anything.

use std::process::Command;

use crate::harness::Folder;
use crate::process::{Server, skip};

/// A block's commands and what is expected of each run of them up to a `#=>`.
struct Step {
    script: String,
    expected: Option<String>,
}

/// The steps of every `sh` block behind the heading that begins the tour.
fn steps(readme: &str) -> Vec<Step> {
    let (_, tour) = readme.split_once("## From nothing to a first organization").expect("the tour's heading");
    let mut steps = Vec::new();
    for block in tour.split("```sh\n").skip(1) {
        let block = block.split("```").next().unwrap_or_default();
        let mut script = String::new();
        for line in block.lines() {
            match line.strip_prefix("#=> ") {
                Some(expected) => {
                    steps.push(Step { script: std::mem::take(&mut script), expected: Some(expected.into()) });
                }
                None => script = script + line + "\n",
            }
        }
        steps.push(Step { script, expected: None });
    }
    steps
}

/// Whether `text` is `pattern` with something for each `…`.
fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    for (place, part) in parts.iter().enumerate() {
        let is_last = place + 1 == parts.len();
        let found =
            if is_last && rest.ends_with(part) { Some(rest.len() - part.len()) } else { rest.find(part) };
        let Some(at) = found else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty()
}

#[test]
fn a_pattern_fits_what_it_should_and_nothing_else() {
    assert!(fits("a…c", "abc") && fits("a…c…e", "abcde") && fits("abc", "abc") && fits("…", ""));
    assert!(!fits("a…c", "abd") && !fits("abc", "abcd") && !fits("a…b…c", "acb"));
}

#[test]
fn every_block_of_the_readme_works_as_it_stands() {
    if Command::new("curl").arg("--version").output().is_err() {
        return skip("the README's blocks need curl");
    }
    let folder = Folder::new();
    let server = Server::start(&folder.0, &[]);
    let url = format!("http://{}", server.address);
    let readme = include_str!("../../../../README.md");
    let mut script = String::from("set -eu\n");
    let mut wanted = Vec::new();
    for (number, step) in steps(readme).into_iter().enumerate() {
        script += &step.script;
        script += &format!("printf '\\n@@{number}\\n'\n");
        wanted.push(step.expected);
    }
    let script = script
        .replace("http://127.0.0.1:3010", &url)
        .replace("guildhall-data", &folder.0.display().to_string());
    let done = Command::new("bash").arg("-c").arg(&script).current_dir(&folder.0).output().unwrap();
    let printed = String::from_utf8(done.stdout).unwrap();
    let mut rest = printed.as_str();
    for (number, expected) in wanted.iter().enumerate() {
        let (answer, behind) = rest.split_once(&format!("\n@@{number}\n")).unwrap_or_else(|| {
            panic!("the script ended in step {number}: {printed}\n{}", String::from_utf8_lossy(&done.stderr))
        });
        rest = behind;
        let expected = expected.as_deref().unwrap_or_default().replace("http://127.0.0.1:3010", &url);
        let answer = answer.trim_end().lines().last().unwrap_or_default();
        assert!(fits(&expected, answer), "step {number}\n expected {expected}\n answered {answer}");
    }
}
