#!/usr/bin/env python3
"""Sends what the descriptions at /docs say, and what they forbid, to a running Guildhall, and holds each answer against
them: schemathesis with all its checks, against each of the five APIs, as nobody, a member, an admin and an owner.

    proof/fuzz/fuzz.py                     10,000 requests
    proof/fuzz/fuzz.py --requests 500000   as many as a release is judged by
    proof/fuzz/fuzz.py --seed 7 --dialect stormz --role owner

Needs Python 3.11 and a build of the server; installs schemathesis into target/tools. Ends with one line: what was
found, the count, the seed, the versions. What it cannot accept is told in full above that line, and the exit code is 1.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TOOLS = ROOT / "target" / "tools"
SCHEMATHESIS = "4.32.5"
DIALECTS = ["buildog", "stormz", "cadasta", "pm415", "bit"]
ROLES = ["nobody", "member", "admin", "owner"]
ORGANIZATIONS = 24
PASSWORD = "correct horse battery"


def main():
    asked = arguments()
    asked.program = str(pathlib.Path(asked.program).resolve())
    schemathesis = installed()
    with tempfile.TemporaryDirectory(prefix="guildhall-fuzz-") as folder:
        place = Place(pathlib.Path(folder), asked.program)
        try:
            place.fill()
            tally = run(asked, schemathesis, place)
            alive = place.server.poll() is None
            panics = place.log().count("panicked at")
        finally:
            place.stop()
    return told(asked, tally, alive, panics, place.version)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--requests", type=int, default=10_000, help="at least so many")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    parser.add_argument("--program", default=str(ROOT / "target" / "release" / "guildhall"))
    parser.add_argument("--dialect", action="append", choices=DIALECTS)
    parser.add_argument("--control", action="store_true", help="leave 404 out of the descriptions: has to find something")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write what was found there as well")
    parser.add_argument("--role", action="append", choices=ROLES)
    return parser.parse_args()


def installed():
    """Schemathesis, in a folder of this checkout."""
    program = TOOLS / "bin" / "schemathesis"
    known = TOOLS / "bin" / "python3"
    if not known.exists():
        subprocess.run([sys.executable, "-m", "venv", str(TOOLS)], check=True)
    probe = subprocess.run([program, "--version"], capture_output=True, text=True) if program.exists() else None
    if probe is None or SCHEMATHESIS not in probe.stdout:
        pip = [str(TOOLS / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, f"schemathesis=={SCHEMATHESIS}"], check=True)
    return program


class Place:
    """A server with people and organizations in it."""

    def __init__(self, folder, program):
        self.folder, self.program = folder, program
        self.version = self.command("--version", data=False).split()[-1]
        self.log_file = open(folder / "log", "w+")
        serve = [program, "serve", "--data", str(folder / "data"), "--listen", "127.0.0.1:0", "--limits", "off"]
        self.server = subprocess.Popen(serve, stdout=subprocess.PIPE, stderr=self.log_file, text=True)
        self.url = self.server.stdout.readline().split()[-1]

    def command(self, *words, data=True):
        where = ["--data", str(self.folder / "data")] if data else []
        done = subprocess.run([self.program, *words, *where], input=PASSWORD, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"{words}: {done.stderr}")
        return done.stdout

    def told(self, *words):
        return json.loads(self.command(*words, "--json"))

    def fill(self):
        self.people = {}
        for name in ["owner", "admin", "member", "other", "spare"]:
            create = ["user", "create", "--email", f"{name}@example.org", "--username", name, "--name", name.title()]
            self.people[name] = self.told(*create, "--verified", "--password-stdin")
        self.organizations = []
        for number in range(ORGANIZATIONS):
            kind = ["public", "internal", "private"][number % 3]
            joining = ["open", "invite"][number % 2]
            create = ["org", "create", "--name", f"Guild {number}", "--owner", "owner@example.org"]
            made = self.told(*create, "--visibility", kind, "--joining", joining)
            self.organizations.append(made)
            for name in ["admin", "member", "other"]:
                self.command("member", "add", made["slug"], f"{name}@example.org", "--role", name.replace("other", "member"))

    def log(self):
        self.log_file.seek(0)
        return self.log_file.read()

    def stop(self):
        self.server.terminate()
        self.server.wait(30)

    def known(self, dialect):
        """What the parameters and keys of that API can name that is there."""
        organizations = {
            "bit": ("path.organization_id", [str(made["number"]) for made in self.organizations]),
            "pm415": ("path.orgid", [str(made["number"]) for made in self.organizations]),
            "cadasta": ("path.slug", [made["slug"] for made in self.organizations]),
            "stormz": ("path.id", [made["stormz_id"] for made in self.organizations]),
        }.get(dialect)
        people = list(self.people)
        named = {
            "bit": [("path.event_id", [str(number) for number in range(1, 60)])],
            "pm415": [("body.usersId[*]", [self.people[name]["number"] for name in people])],
            "cadasta": [("path.username", people), ("body.username", people)],
            "stormz": [
                ("path.user", [self.people[name]["id"].replace("-", "")[:24] for name in people]),
                ("body.email", [f"{name}@example.org" for name in people]),
            ],
        }.get(dialect, [])
        return ([organizations] if organizations else []) + named


def configuration(place, dialect):
    """Schemathesis' configuration: what is there is named four times of five, and credentials are ours to send."""
    lines = [f"hooks = {json.dumps(str(HERE / 'hooks.py'))}", "continue-on-failure = true"]
    lines += ["[generation]", "with-security-parameters = false", 'database = "none"']
    known = place.known(dialect)
    for number, (_, values) in enumerate(known):
        lines += [f"[dictionaries.known{number}]", f"values = {json.dumps(values)}"]
    if known:
        lines.append("[parameters]")
    for number, (name, _) in enumerate(known):
        lines.append(f'"{name}" = {{ dictionary = "known{number}", probability = 0.8 }}')
    return "\n".join(lines) + "\n"


def run(asked, schemathesis, place):
    """Round after round until enough was sent, as many pairs of an API and a role at a time as there are processors."""
    tally = {"requests": 0, "statuses": {}, "refused": [], "failures": []}
    pairs = [(dialect, role) for dialect in asked.dialect or DIALECTS for role in asked.role or ROLES]
    descriptions = {dialect: described(place, dialect, asked.control) for dialect, _ in pairs}
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for round_number in range(1_000):
            share = max(1, (asked.requests - tally["requests"]) // len(pairs))

            def one(pair):
                return once(asked.seed + round_number, schemathesis, place, (*pair, share, descriptions[pair[0]]))

            for (dialect, role), told in zip(pairs, pool.map(one, pairs)):
                tally["requests"] += told["requests"]
                for status, count in told["statuses"].items():
                    tally["statuses"][status] = tally["statuses"].get(status, 0) + count
                tally["failures"] += told["failures"]
                tally["refused"] += told["excused"]
                print(f"{dialect:8} {role:7} {told['requests']:6} requests, {len(told['failures'])} failures", flush=True)
            if tally["requests"] >= asked.requests or tally["failures"]:
                return tally
    return tally


def described(place, dialect, without_404):
    """Where the description is; of the control one that leaves out what the server answers."""
    address = f"{place.url}/docs/{dialect}/openapi.json"
    if not without_404:
        return address
    with urllib.request.urlopen(address) as answer:
        document = json.load(answer)
    for methods in document["paths"].values():
        for operation in methods.values():
            operation["responses"].pop("404", None)
    file = place.folder / "control.json"
    file.write_text(json.dumps(document))
    return str(file)


def once(seed, schemathesis, place, what):
    dialect, role, share, description = what
    folder = place.folder / f"{dialect}-{role}"
    folder.mkdir(exist_ok=True)
    settings = folder / "schemathesis.toml"
    settings.write_text(configuration(place, dialect))
    result = folder / "result.json"
    result.unlink(missing_ok=True)
    examples = max(2, min(200, share // 60))
    command = [str(schemathesis), "--config-file", str(settings), "run", description]
    command += ["--url", place.url, "--checks", "all", "--phases", "examples,coverage,fuzzing,stateful"]
    command += ["--max-examples", str(examples), "--seed", str(seed), "--no-color", "--suppress-health-check", "all"]
    command += ["--warnings", "off", "--request-timeout", "120"]
    environment = {
        **os.environ,
        "GUILDHALL_FUZZ_RESULT": str(result),
        "GUILDHALL_FUZZ_DIALECT": dialect,
        "GUILDHALL_FUZZ_ROLE": role,
        "GUILDHALL_FUZZ_TOKEN": f"{place.program} token create --data {place.folder}/data --user {role}@example.org",
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=folder)
    if not result.exists():
        raise SystemExit(f"schemathesis did not run against {dialect}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    told = json.loads(result.read_text())
    if done.returncode != 0 and not told["failures"]:
        told["failures"].append({"what": f"schemathesis ended with {done.returncode}", "told": done.stdout[-3000:]})
    return told


def told(asked, tally, alive, panics, version):
    for failure in tally["failures"]:
        print(json.dumps(failure, indent=2, ensure_ascii=False))
    by_hundred = {}
    for status, count in tally["statuses"].items():
        by_hundred[status[0]] = by_hundred.get(status[0], 0) + count
    broken = sum(count for status, count in tally["statuses"].items() if status.startswith("5"))
    kinds = ", ".join(f"{count} {hundred}xx" for hundred, count in sorted(by_hundred.items()))
    print(
        f"fuzz: {len(tally['failures'])} findings, {broken} server errors, {panics} panics in {tally['requests']} requests "
        f"({kinds}; {len(tally['refused'])} refusals of meaning, not of form); "
        f"seed {asked.seed}; guildhall {version}, schemathesis {SCHEMATHESIS}"
    )
    if asked.json:
        findings = tally["failures"] + ([] if alive else [{"what": "the server ended"}])
        known = {"requests": tally["requests"], "server_errors": broken, "panics": panics, "findings": findings}
        asked.json.write_text(json.dumps({**known, "seed": asked.seed, "schemathesis": SCHEMATHESIS}))
    good = alive and not tally["failures"] and broken == 0 and panics == 0 and tally["requests"] >= asked.requests
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
