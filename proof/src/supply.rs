//! What the program is made of: who may be part of it, how many are, and a bill of materials (CycloneDX).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::item::{Control, Outcome};
use crate::place::Place;
use crate::suite::grouped;
use crate::{Result, process};

/// The packages that the program is built of.
const OURS: [&str; 2] = ["guildhall", "guildhall-domain"];

pub(crate) fn run(place: &Place) -> Result<Outcome> {
    if !Command::new("cargo").args(["deny", "--version"]).output()?.status.success() {
        return Ok(Outcome::Skipped(
            "cargo-deny is missing: cargo install --locked cargo-deny@0.20.2".into(),
        ));
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut violations = Vec::new();
    let checked = deny(&root, &root.join("Cargo.toml"))?;
    if !checked.status.success() {
        violations.extend(String::from_utf8_lossy(&checked.stderr).lines().map(str::to_owned));
    }
    let graph = Graph::of(&root)?;
    violations.extend(unsafe_allowed(&root, &graph)?);
    let file = place.program.ancestors().nth(2).ok_or("a program outside of any folder")?.join("sbom.json");
    std::fs::write(&file, serde_json::to_string_pretty(&graph.bill(&root)?)?)?;
    let refused = refused(place, &root)?;
    Ok(Outcome::Tried {
        how: "cargo deny (bans, licences, sources); `unsafe_code = \"forbid\"` in every package of ours; a bill of materials of \
              what is built into the program, CycloneDX, as target/sbom.json; the release build without its line tables"
            .into(),
        count: format!(
            "{} direct dependencies and {} in all, {} packages of ours without `unsafe`, a program of {} bytes",
            graph.direct().len(),
            graph.all().len(),
            graph.ours.len(),
            grouped(stripped(place)?)
        ),
        violations,
        control: Control {
            failed: refused,
            told: "with a package under the GPL, cargo deny refuses the licence".into(),
        },
    })
}

fn deny(root: &Path, manifest: &Path) -> Result<Output> {
    let mut command = Command::new("cargo");
    command.args(["deny", "--log-level", "error", "--config"]).arg(root.join("deny.toml"));
    command.arg("--manifest-path").arg(manifest).args(["check", "bans", "licenses", "sources"]);
    Ok(command.output()?)
}

/// Whether cargo deny refuses a package whose licence nobody allowed.
fn refused(place: &Place, root: &Path) -> Result<bool> {
    let folder = place.path("forbidden");
    std::fs::create_dir_all(folder.join("src"))?;
    let manifest = |licence: &str| {
        format!(
            "[package]\nname = \"forbidden\"\nversion = \"0.1.0\"\nedition = \"2024\"\nlicense = \"{licence}\"\n\n[workspace]\n"
        )
    };
    std::fs::write(folder.join("src/lib.rs"), "")?;
    let file = folder.join("Cargo.toml");
    let judge = |licence: &str| -> Result<bool> {
        std::fs::write(&file, manifest(licence))?;
        Ok(deny(root, &file)?.status.success())
    };
    // It is the licence that is refused and not the package.
    Ok(judge("MIT")? && !judge("GPL-3.0-only")?)
}

/// The packages of ours in which `unsafe` is not forbidden.
fn unsafe_allowed(root: &Path, graph: &Graph) -> Result<Vec<String>> {
    let mut allowed = Vec::new();
    if !std::fs::read_to_string(root.join("Cargo.toml"))?.contains("unsafe_code = \"forbid\"") {
        allowed.push("Cargo.toml does not forbid unsafe".to_owned());
    }
    for manifest in &graph.ours {
        if !std::fs::read_to_string(manifest)?.contains("[lints]\nworkspace = true") {
            allowed.push(format!("{} has lints of its own", manifest.display()));
        }
    }
    Ok(allowed)
}

/// The size of the program without what only a debugger reads.
fn stripped(place: &Place) -> Result<u64> {
    let copy = place.path("stripped");
    let done = process::finish(
        Command::new("strip").arg("-o").arg(&copy).arg("--strip-debug").arg(&place.program),
        "",
    )?;
    if done.status.success() { Ok(std::fs::metadata(copy)?.len()) } else { Err(done.err.into()) }
}

/// What the program depends on, on this machine.
struct Graph {
    /// By id, as `cargo metadata` tells it.
    packages: BTreeMap<String, Value>,
    /// On what each depends, to be built or to run.
    needs: BTreeMap<String, BTreeSet<String>>,
    /// The ids of the packages that the program is built of.
    roots: Vec<String>,
    /// The manifests of all packages of this workspace.
    ours: Vec<PathBuf>,
}

impl Graph {
    fn of(root: &Path) -> Result<Self> {
        let about = Command::new("rustc").arg("-vV").output()?.stdout;
        let about = String::from_utf8_lossy(&about).into_owned();
        let host = about.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("rustc has no host")?;
        let mut command = Command::new("cargo");
        command.args(["metadata", "--format-version", "1", "--locked", "--filter-platform", host]);
        let output = command.arg("--manifest-path").arg(root.join("Cargo.toml")).output()?;
        let told: Value = serde_json::from_slice(&output.stdout)?;
        let packages: BTreeMap<String, Value> =
            list(&told["packages"]).iter().map(|package| (text(&package["id"]), package.clone())).collect();
        let is_built =
            |dependency: &&Value| list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"] != "dev");
        let needs = list(&told["resolve"]["nodes"]).iter().map(|node| {
            let built =
                list(&node["deps"]).iter().filter(is_built).map(|dependency| text(&dependency["pkg"]));
            (text(&node["id"]), built.collect())
        });
        let members: Vec<&Value> = packages.values().filter(|package| package["source"].is_null()).collect();
        Ok(Self {
            roots: members
                .iter()
                .filter(|package| OURS.iter().any(|name| package["name"] == *name))
                .map(|package| text(&package["id"]))
                .collect(),
            ours: members.iter().map(|package| text(&package["manifest_path"]).into()).collect(),
            needs: needs.collect(),
            packages,
        })
    }

    /// What ours depend on themselves.
    fn direct(&self) -> BTreeSet<&String> {
        let needed = self.roots.iter().filter_map(|id| self.needs.get(id)).flatten();
        needed.filter(|id| !self.roots.contains(id)).collect()
    }

    /// What these depend on too.
    fn all(&self) -> BTreeSet<&String> {
        let mut found = BTreeSet::new();
        let mut ahead: Vec<&String> = self.direct().into_iter().collect();
        while let Some(id) = ahead.pop() {
            if found.insert(id) {
                ahead.extend(self.needs.get(id).into_iter().flatten());
            }
        }
        found
    }

    /// The bill of materials.
    fn bill(&self, root: &Path) -> Result<Value> {
        let lock = std::fs::read_to_string(root.join("Cargo.lock"))?;
        let sums: BTreeMap<(&str, &str), &str> = lock.split("[[package]]").filter_map(checksum).collect();
        let all = self.all();
        let reference = |id: &String| {
            let package = &self.packages[id];
            format!("pkg:cargo/{}@{}", text(&package["name"]), text(&package["version"]))
        };
        let component = |kind: &str, id: &String| {
            let package = &self.packages[id];
            let (name, version) = (text(&package["name"]), text(&package["version"]));
            let mut told = json!({
                "type": kind, "bom-ref": reference(id), "name": name, "version": version, "purl": reference(id),
                // Some write the old form of "or".
                "licenses": [{"expression": text(&package["license"]).replace('/', " OR ")}],
            });
            if let Some(sum) = sums.get(&(name.as_str(), version.as_str())) {
                told["hashes"] = json!([{"alg": "SHA-256", "content": sum}]);
            }
            told
        };
        let is_ours = |id: &&String| self.packages[*id]["name"] == OURS[0];
        let program = self.roots.iter().find(is_ours).ok_or("the program is no package")?;
        let inner = self.roots.iter().filter(|id| *id != program);
        let components: Vec<Value> =
            inner.chain(all.iter().copied()).map(|id| component("library", id)).collect();
        let needs = self.roots.iter().chain(all.iter().copied()).map(|id| {
            let needed: Vec<String> = self.needs.get(id).into_iter().flatten().map(reference).collect();
            json!({"ref": reference(id), "dependsOn": needed})
        });
        Ok(json!({
            "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
            "metadata": {"component": component("application", program)},
            "components": components,
            "dependencies": needs.collect::<Vec<_>>(),
        }))
    }
}

/// A package of Cargo.lock: name and version, and the checksum, where it has one.
fn checksum(package: &str) -> Option<((&str, &str), &str)> {
    let value = |key: &str| {
        package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"'))
    };
    Some(((value("name")?, value("version")?), value("checksum")?))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
