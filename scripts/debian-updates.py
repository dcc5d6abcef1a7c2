#!/usr/bin/env python3
"""Which updates of single Debian packages leave what C builds observe as it is?

The toolchain of the demo is one tree made of some eighty Debian packages. It is built once as it is
locked, and lua and xz are built with it and observed. Then, for one package after the other, the toolchain
is made with another version of this package alone, and Esker is asked whether the observations still hold.

Versions: what else of this release apt knows (security, updates, point release); else, if told so, that of
the next release, whose package has the same name, and so the same soname.

  debian-updates.py [--next SUITE] [--package NAME]… [--write docs/benchmarks.md]

Start it by way of `bench.sh updates`, which builds Esker and puts the toolchain's packages into the store.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from contest import Contest, arguments, parse, progress, publish
from projects import TOOLCHAIN, archive, write_projects

JOBS = {"lua": "lua", "xz": "libtool"}
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# What Esker says when no observation has another answer.
HOLDS = {"holds": "holds", "unproven": "holds", "depends": "holds¹", "unstable": "holds²"}


class Apt:
    """The machine's own sources of Debian packages, and those of another suite, in a state of its own."""

    def __init__(self, work, suite):
        for folder in ("lists/partial", "cache/archives/partial", "debs"):
            (work / folder).mkdir(parents=True)
        self.folder, self.suite = work / "debs", suite
        if suite:
            (work / "parts").mkdir()
            for part in Path("/etc/apt/sources.list.d").glob("*"):
                if part.suffix in (".list", ".sources"):
                    shutil.copy(part, work / "parts")
            machine = Path("/etc/apt/sources.list")
            lines = machine.read_text() if machine.exists() else ""
            (work / "parts/machine.list").write_text(lines)
            (work / "sources.list").write_text(f"deb [signed-by={KEYRING}] {archive()} {suite} main\n")
        (work / "apt.conf").write_text("\n".join([
            f'Dir::State::Lists "{work}/lists"; Dir::State::status "/dev/null"; Dir::Cache "{work}/cache";',
            f'Dir::Etc::SourceList "{work}/sources.list"; Dir::Etc::SourceParts "{work}/parts";' if suite else "",
            'Acquire::Languages "none"; APT::Sandbox::User ""; Debug::NoLocking "true";',
            'Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";',
        ]))
        self.env = os.environ | {"APT_CONFIG": str(work / "apt.conf")}
        self.run("apt-get", "-q", "update")

    def run(self, *command):
        done = subprocess.run(command, env=self.env, cwd=self.folder, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"error: `{' '.join(command[:4])}` failed: {done.stderr.strip()[-2000:]}")
        return done.stdout

    def versions(self, packages):
        """Pairs of a version and whether it is of the next release, by package, the newest first."""
        known = {}
        for line in self.run("apt-cache", "madison", *packages).splitlines():
            package, version, source = (part.strip() for part in line.split("|"))
            pair = version, f" {self.suite}/" in source if self.suite else False
            known.setdefault(package, [])
            if pair not in known[package]:
                known[package].append(pair)
        return known

    def download(self, package, version):
        self.run("apt-get", "-q", "download", f"{package}={version}")
        found, = self.folder.glob(f"{package}_*.deb")
        return found


class Bench(Contest):
    def run(self, *command):
        done = subprocess.run(command, env=self.env, cwd=self.work, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"`{' '.join(map(str, command[:4]))} …` exited {done.returncode}: {done.stderr[-2000:]}")

    def has_toolchain(self, folder):
        """Builds it. It cannot be had with a package that needs others of the next release beside it."""
        command = [self.nix, "build", "--no-link", f"path:{folder}#toolchain"]
        return subprocess.run(command, env=self.env, cwd=self.work, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0

    def check(self, folder, *more):
        return self.esker(f"path:{folder}", "--json", "--exclude", "configure", *more)

    def explained(self, folder):
        """Why each job would be built. It goes on only while a build is to prove that a result may be reused."""
        process = subprocess.Popen(self.check(folder, "--trace", "reuse", "--shadow", "0%"), env=self.env, cwd=self.work,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        known, proving = {}, set()
        for line in process.stdout:
            event = json.loads(line)
            name = event.get("name")
            if event["event"] == "explained" and name in JOBS.values():
                known[name] = event["explanation"]
                if event["explanation"]["reason"] == "unproven":
                    proving.add(name)
            elif event["event"] == "build_finished":
                proving.discard(name)
            if len(known) == len(JOBS) and not proving:
                process.terminate()
        process.wait()
        return known


def swap(folder, package, deb, bench):
    """Puts another file of a package into the toolchain's lock and into the store."""
    lock = folder / "toolchain/debs.json"
    entries = json.loads(lock.read_text())
    for entry in entries["debs"]:
        if entry["name"] == package:
            entry["sha256"] = hashlib.sha256(deb.read_bytes()).hexdigest()
    lock.write_text(json.dumps(entries))
    named = deb.with_name(package.replace("~", "-") + ".deb")
    deb.rename(named)
    bench.run(str(Path(bench.nix).with_name("nix-store")), "--add-fixed", "sha256", str(named))
    named.unlink()


def in_words(explanation):
    if explanation is None:
        return "not decided"
    if explanation["reason"] in HOLDS:
        return HOLDS[explanation["reason"]]
    if explanation["reason"] != "differs":
        return explanation["reason"]
    difference = explanation.get("difference")
    where = f"`{difference['path']}`" if difference else f"`{', '.join(explanation['inputs'])}`"
    return f"differs: {where} ({explanation['differing']} of {explanation['observations']:,})"


def report(options, work):
    bench, apt = Bench(options, options.nix[0], work), Apt(work / "apt", options.next)
    locked = {entry["name"]: entry["version"] for entry in json.loads((TOOLCHAIN / "debs.json").read_text())["debs"]
              if entry["group"] in ("runtime", "tools")}
    known = apt.versions(locked)
    updates = []
    for package, version in locked.items():
        others = [pair for pair in known.get(package, []) if pair[0] != version]
        this, following = [pair for pair in others if not pair[1]], [pair for pair in others if pair[1]]
        updates += [(package, version, other, later) for other, later in this or following]
    updates.sort(key=lambda update: update[3])
    if options.package:
        updates = [update for update in updates if update[0] in options.package]
    # What was built before would not be observed.
    salt = uuid.uuid4().hex
    folder = write_projects(work / "projects", salt)
    progress("the toolchain as it is locked")
    if not bench.has_toolchain(folder):
        sys.exit("error: the toolchain cannot be built as it is locked\nhint: flakes/demo/toolchain/relock.sh writes a new lock")
    bench.run(*bench.check(folder, "--trace", "record"))
    yield f"Nix {bench.version}, {len(locked)} packages, {len(updates)} other versions, of {time.strftime('%Y-%m-%d')}."
    rows, alone, held = [], [], {(job, later): 0 for job in JOBS for later in (False, True)}
    for number, (package, old, new, later) in enumerate(updates, 1):
        progress(f"{number} of {len(updates)}: {package} {old} → {new}")
        write_projects(folder, salt)
        swap(folder, package, apt.download(package, new), bench)
        if not bench.has_toolchain(folder):
            progress("  not without others of its release")
            alone.append(package)
            continue
        explained = bench.explained(folder)
        cells = [in_words(explained.get(job)) for job in JOBS.values()]
        for job, cell in zip(JOBS, cells):
            held[job, later] += cell in HOLDS.values()
        rows.append((later, f"| {package} | {old} | {new} | {' | '.join(cells)} |"))
        progress(rows[-1][1])
    for later in (False, True):
        some = [row for when, row in rows if when == later]
        if some:
            of = f"the next release ({options.next})" if later else "this release"
            counts = ", ".join(f"{job} {held[job, later]} of {len(some)}" for job in JOBS)
            yield f"\nVersions of {of}; it holds for {counts}:\n"
            yield f"| package | locked | other | {' | '.join(JOBS)} |"
            yield "|---|---|---|" + "---|" * len(JOBS)
            yield from some
    if alone:
        yield f"\nNot without other packages of the same release: {', '.join(alone)}."
    yield "\n¹ But the result names the toolchain's store path, so it is built all the same. ² But its builder is not deterministic."


def main():
    parser = arguments(__doc__.splitlines()[0], None)
    parser.add_argument("--next", metavar="SUITE", help="also versions of this release, of packages that have no other")
    parser.add_argument("--package", action="append", help="only this package")
    options = parse(parser)
    with tempfile.TemporaryDirectory(prefix="esker-debian-") as work:
        publish(report(options, Path(work)), options.write, "debian")


if __name__ == "__main__":
    main()
