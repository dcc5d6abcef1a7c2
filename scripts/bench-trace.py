#!/usr/bin/env python3
"""Measures traced builds against Nix's own, interleaved in one run.

  bench-trace.py [--quick] [--nix DIR] [--case NAME]… [--rounds N] [--write docs/benchmarks.md]

CPU seconds are those of the command and of everything it waited for: builders and observers too.
Nothing is ever deleted from the store; each run gets a flake with another salt.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- traced: begin -->", "<!-- traced: end -->"

# Each script ends with a builtin of the shell: Nix kills a builder the moment it closes its output,
# and `cp`, as the last command, does so before it exits.
PROJECTS = """{
  outputs = { self }: let
    tools = import %(toolchain)s { system = "x86_64-linux"; };
    salted = attrs: tools.build (attrs // { salt = "@salt@"; });
    xz = builtins.path { path = %(xz)s; name = "xz.orig.tar.xz"; };
  in { checks.x86_64-linux = {
    lua = salted { name = "lua"; src = tools.source "lua5.4"; script = "make -j$NIX_BUILD_CORES linux CC=gcc; make install INSTALL_TOP=$out"; };
    configure = salted { name = "configure"; src = xz; script = "bash ./configure --prefix=$out --disable-nls --disable-doc; cp config.h $out; true"; };
    libtool = salted { name = "libtool"; src = xz; script = "bash ./configure --prefix=$out --disable-nls --disable-doc > /dev/null; make -j$NIX_BUILD_CORES -C src/liblzma > /dev/null; cp src/liblzma/.libs/liblzma.a $out; true"; };
  }; };
}
"""

TRIVIAL = """{
  outputs = { self }: {
    checks.x86_64-linux = builtins.listToAttrs (builtins.genList (i: { name = "c${toString i}"; value = derivation {
      name = "c${toString i}"; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" "echo ${toString i} > $out" ]; salt = "@salt@";
    }; }) @jobs@);
  };
}
"""

# Each check reads one file of the source and a few that all read, in place, and works for a while.
README = """{
  outputs = { self }: {
    checks.x86_64-linux = builtins.listToAttrs (builtins.genList (i: { name = "c${toString i}"; value = derivation {
      name = "c${toString i}"; system = "x86_64-linux"; builder = "/bin/sh"; src = ./src; salt = "@salt@";
      args = [ "-c" ''read x < $src/f${toString i}; read y < $src/common; n=0; while [ $n -lt 200000 ]; do n=$((n + 1)); done; : > $out'' ];
    }; }) 30);
  };
}
"""


class Bench:
    def __init__(self, options, nix_folder, work):
        self.options, self.work = options, work
        self.nix = str(Path(nix_folder) / "nix")
        self.env = dict(os.environ)
        self.env.update(
            PATH=f"{nix_folder}:{os.environ['PATH']}",
            ESKER_STATE_DIR=str(work / "state"),
            XDG_CACHE_HOME=str(work / "cache"),
            NO_COLOR="1",
            NIX_CONFIG="\n".join([
                "experimental-features = nix-command flakes", "sandbox = true",
                f"sandbox-paths = /bin/sh={options.shell}", "substituters =", "builders =",
            ]),
        )
        out = subprocess.run([self.nix, "--version"], capture_output=True, text=True, check=True).stdout
        self.version = out.split()[-1]

    def run(self, command):
        """Wall and CPU seconds of a command and all that it waited for."""
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        done = subprocess.run(command, env=self.env, cwd=self.work, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        wall, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode != 0:
            sys.exit(f"`{' '.join(command[:4])} …` exited {done.returncode}: {done.stderr[-2000:]}")
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return wall, cpu, done

    def esker(self, folder, *more):
        jobs = str(self.options.max_jobs)
        return [str(self.options.esker), "check", f"path:{folder}", "--max-jobs", jobs, "--json", *more]

    def nix_build(self, folder, names):
        jobs = str(self.options.max_jobs)
        installables = [f"path:{folder}#checks.x86_64-linux.{name}" for name in names]
        return [self.nix, "build", "--no-link", "--keep-going", "--max-jobs", jobs, *installables]


def flake(folder, text):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "flake.nix").write_text(text.replace("@salt@", uuid.uuid4().hex))
    return folder


def interleave(contestants, rounds):
    results = {name: [] for name in contestants}
    names = list(contestants)
    for number in range(rounds):
        for name in names[number % len(names):] + names[:number % len(names)]:
            print(f"  round {number + 1}: {name}", file=sys.stderr, flush=True)
            results[name].append(contestants[name]())
    return results


def table(results, reference):
    yield "| | wall | ratio | CPU | ratio | rounds |"
    yield "|---|---|---|---|---|---|"
    middle = lambda runs, index: statistics.median(run[index] for run in runs)
    wall, cpu = middle(results[reference], 0), middle(results[reference], 1)
    for name, runs in results.items():
        w, c = middle(runs, 0), middle(runs, 1)
        yield f"| {name} | {w:.2f} s | {w / wall:.2f} | {c:.2f} s | {c / cpu:.2f} | {len(runs)} |"


def xz(work):
    """The source of xz, from the Debian archive that this machine's apt names."""
    kept = Path.home() / ".cache/esker-bench/xz.orig.tar.xz"
    if not kept.exists():
        mirror = subprocess.run([ROOT / "flakes/demo/toolchain/mirror.sh"], capture_output=True, text=True, check=True)
        kept.parent.mkdir(parents=True, exist_ok=True)
        url = f"{mirror.stdout.strip()}/pool/main/x/xz-utils/xz-utils_5.4.1.orig.tar.xz"
        subprocess.run(["curl", "-fsSL", "-o", f"{kept}.part", url], check=True)
        os.rename(f"{kept}.part", kept)
    return kept


def case_first_build(bench):
    """A traced first build ÷ Nix's own. Gate: at most 1.05 CPU seconds each, aim 1.03."""
    text = PROJECTS % {"toolchain": ROOT / "flakes/demo/toolchain", "xz": xz(bench.work)}
    text = text.replace(str(ROOT / "flakes/demo/toolchain"), "./toolchain").replace(str(xz(bench.work)), "./xz.orig.tar.xz")

    def fresh():
        folder = flake(bench.work / "projects", text)
        shutil.copytree(ROOT / "flakes/demo/toolchain", folder / "toolchain")
        shutil.copy(xz(bench.work), folder / "xz.orig.tar.xz")
        return folder

    for name in ("lua", "configure", "libtool"):
        results = interleave({
            "nix build": lambda: bench.run(bench.nix_build(fresh(), [name])),
            "esker check --trace record": lambda: bench.run(bench.esker(fresh(), "--trace", "record", "--attr", name)),
            "esker check": lambda: bench.run(bench.esker(fresh(), "--attr", name)),
        }, bench.options.rounds)
        yield f"*{name}*"
        yield ""
        yield from table(results, "nix build")
        yield ""


def case_trivial(bench):
    """Trivial derivations, cold, traced ÷ `nix build` with as many jobs. Gate: 0.8, aim 0.5."""
    jobs = bench.options.jobs
    text = TRIVIAL.replace("@jobs@", str(jobs))
    names = [f"c{i}" for i in range(jobs)]
    results = interleave({
        "nix build": lambda: bench.run(bench.nix_build(flake(bench.work / "trivial", text), names)),
        "esker check --trace reuse": lambda: bench.run(bench.esker(flake(bench.work / "trivial", text), "--trace", "reuse")),
        "esker check": lambda: bench.run(bench.esker(flake(bench.work / "trivial", text))),
    }, bench.options.rounds)
    yield f"{jobs:,} derivations."
    yield ""
    yield from table(results, "nix build")


def case_readme(bench):
    """A README commit: 30 checks that read `$src` in place, reused ÷ Nix's rebuild. Gate: 0.05."""
    folder = flake(bench.work / "readme", README)
    (folder / "src").mkdir()
    (folder / "src/common").write_text("common\n")
    for number in range(30):
        (folder / f"src/f{number}").write_text(f"{number}\n")

    def commit():
        (folder / "src/README").write_text(uuid.uuid4().hex)

    def reused(*more):
        commit()
        run = bench.run(bench.esker(folder, "--trace", "reuse", *more))
        return run

    def without_doubt():
        run = reused("--shadow", "0%")
        if run[2].stdout.count('"event":"reused"') != 30 or '"event":"build_started"' in run[2].stdout:
            sys.exit("not everything was reused")
        return run

    def rebuilt():
        commit()
        return bench.run(bench.nix_build(folder, [f"c{i}" for i in range(30)]))

    commit()
    bench.run(bench.esker(folder, "--trace", "reuse"))
    results = interleave({
        "nix build": rebuilt,
        "esker check --trace reuse --shadow 0%": without_doubt,
        "esker check --trace reuse": reused,
    }, bench.options.rounds)
    yield "No builder was started without doubt."
    yield ""
    yield from table(results, "nix build")


CASES = {"first-build": case_first_build, "trivial": case_trivial, "readme": case_readme}


def measure(options):
    yield f"{os.cpu_count()} cores, {options.max_jobs} builds at once, load {os.getloadavg()[0]:.1f} at the start."
    for folder in options.nix:
        with tempfile.TemporaryDirectory(prefix="esker-bench-") as work:
            bench = Bench(options, folder, Path(work))
            for name in options.case or CASES:
                print(f"Nix {bench.version}: {name}", file=sys.stderr, flush=True)
                yield ""
                yield f"**Nix {bench.version}. {CASES[name].__doc__.strip()}**"
                yield ""
                yield from CASES[name](bench)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--esker", type=Path, default=ROOT / "target/release/esker")
    parser.add_argument("--nix", action="append", help="folder with a Nix; several times for several versions")
    parser.add_argument("--case", action="append", choices=CASES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1_000)
    parser.add_argument("--max-jobs", type=int, default=os.cpu_count())
    parser.add_argument("--shell", default="/bin/busybox")
    parser.add_argument("--quick", action="store_true", help="two rounds, few jobs: does it work at all?")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.jobs = 2, 50
    options.nix = options.nix or [str(Path(shutil.which("nix") or "/usr/bin/nix").parent)]
    report = "\n".join(measure(options))
    print(report)
    if options.write:
        page = options.write.read_text()
        head, rest = page.split(BEGIN, 1)
        options.write.write_text(f"{head}{BEGIN}\n{report}\n{END}{rest.split(END, 1)[1]}")


if __name__ == "__main__":
    main()
