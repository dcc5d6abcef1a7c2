#!/usr/bin/env python3
"""Measures traced builds and reuses against Nix's own builds. Needs root, /dev/fuse, and the seeded toolchain.

Contestants take turns: a round is one run of each, on each Nix, and the next round begins each case
with another one. What is reported is the median of the rounds, and its ratio to plain Nix.

  bench-trace.py [--quick] [--nix DIR]… [--case NAME]… [--rounds N] [--minutes N] [--write docs/benchmarks.md]

CPU seconds are those of the command and of everything it waited for (builders and observers too), and of
every Nix daemon meanwhile. Nothing is ever deleted from the store; each run gets a flake with another salt.
"""

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from contest import Contest, arguments, parse, progress, publish, turns
from projects import write_projects

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

# Each check reads one file of the source in place, and leaves an empty output.
REKEYED = """{
  outputs = { self }: {
    checks.x86_64-linux = builtins.listToAttrs (builtins.genList (i: { name = "c${toString i}"; value = derivation {
      name = "c${toString i}"; system = "x86_64-linux"; builder = "/bin/sh"; src = ./src; salt = "@salt@"; number = toString i;
      args = [ "-c" "read x < $src/common; : > $out" ];
    }; }) @jobs@);
  };
}
"""


@dataclass
class Run:
    wall: float
    cpu: float
    stdout: str


class Bench(Contest):
    settings = ["builders ="]

    def run(self, command):
        """Wall and CPU seconds of a command, all that it waited for, and the daemons that served it."""
        daemons, before, started = cpu_of_daemons(), cpu_of_children(), time.monotonic()
        done = subprocess.run(command, env=self.env, cwd=self.work, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        wall, cpu = time.monotonic() - started, cpu_of_children() - before
        if done.returncode != 0:
            sys.exit(f"`{' '.join(command[:4])} …` exited {done.returncode}: {done.stderr[-2000:]}")
        # A daemon's process for one connection counts once it has ended, which is a moment later.
        for _ in range(20):
            now = cpu_of_daemons()
            if now.keys() <= daemons.keys():
                break
            time.sleep(0.05)
        cpu += sum(seconds - daemons.get(process, 0) for process, seconds in now.items())
        return Run(wall, cpu, done.stdout)

    def esker(self, folder, *more):
        return super().esker(f"path:{folder}", "--json", *more)

    def nix_build(self, folder, names):
        return super().nix_build([f"path:{folder}#checks.x86_64-linux.{name}" for name in names])

    def nix_eval(self, folder):
        return [self.nix, "eval", "--no-eval-cache", "--json", f"path:{folder}#checks.x86_64-linux",
                "--apply", "set: map (name: set.${name}.drvPath) (builtins.attrNames set)"]


def cpu_of_children():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def cpu_of_daemons():
    """Seconds of each Nix daemon that runs, with its children that have ended."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, numbers = stat.read_text().partition("(")[2].rpartition(")")
        except OSError:
            continue
        if name == "nix-daemon":
            times = numbers.split()[11:15]
            found[stat.parent.name] = sum(map(int, times)) / os.sysconf("SC_CLK_TCK")
    return found


@dataclass
class Match:
    """Contestants that are compared, the first with all others."""

    title: str
    contestants: dict
    # Fewer where the gate is far away.
    most_rounds: int = 1_000
    # What is said below the table, of the finished runs.
    remarks: object = lambda results: ()
    results: dict = field(default_factory=dict)

    def table(self):
        yield "| | wall | ratio | CPU | ratio | rounds |"
        yield "|---|---|---|---|---|---|"
        reference, *_ = self.results.values()
        for name, runs in self.results.items():
            wall, cpu = middle(runs, "wall"), middle(runs, "cpu")
            ratios = wall / middle(reference, "wall"), cpu / middle(reference, "cpu")
            yield f"| {name} | {wall:.2f} s | {ratios[0]:.2f} | {cpu:.2f} s | {ratios[1]:.2f} | {len(runs)} |"


def middle(runs, what):
    return statistics.median(getattr(run, what) for run in runs)


def flake(folder, text):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "flake.nix").write_text(text.replace("@salt@", uuid.uuid4().hex))
    return folder


def commit(folder):
    """A change that nobody observes."""
    (folder / "src/README").write_text(uuid.uuid4().hex)


def case_first_build(bench):
    """A traced first build ÷ Nix's own. Gate: at most 1.05 CPU seconds each, aim 1.03."""
    def fresh():
        return write_projects(bench.work / "projects", uuid.uuid4().hex)

    for name in ("lua", "configure", "libtool"):
        contestants = {
            "nix build": lambda name=name: bench.run(bench.nix_build(fresh(), [name])),
            "esker check --trace record": lambda name=name: bench.run(bench.esker(fresh(), "--trace", "record", "--attr", name)),
        }
        if bench.options.control:
            contestants["esker check"] = lambda name=name: bench.run(bench.esker(fresh(), "--trace", "off", "--attr", name))
        yield Match(f"*{name}*", contestants)


def case_trivial(bench):
    """Trivial derivations, cold, traced ÷ `nix build` with as many jobs. Gate: 0.8, aim 0.5."""
    # `nix build` of Nix 2.34 needs more than ten minutes and 6 GB for a thousand.
    jobs = bench.options.jobs or (1_000 if bench.version.startswith("2.8.") else 300)
    names = [f"c{i}" for i in range(jobs)]

    def fresh():
        return flake(bench.work / "trivial", TRIVIAL.replace("@jobs@", str(jobs)))

    contestants = {
        "nix build": lambda: bench.run(bench.nix_build(fresh(), names)),
        "esker check --trace reuse": lambda: bench.run(bench.esker(fresh(), "--trace", "reuse")),
    }
    if bench.options.control:
        contestants["esker check"] = lambda: bench.run(bench.esker(fresh(), "--trace", "off"))
    yield Match(f"{jobs:,} derivations.", contestants, most_rounds=3)


def all_reused(run, jobs):
    if run.stdout.count('"event":"reused"') != jobs or '"event":"build_started"' in run.stdout:
        sys.exit("not everything was reused")
    return run


def case_readme(bench):
    """A README commit: 30 checks that read `$src` in place, reused ÷ Nix's rebuild. Gate: 0.05."""
    folder = flake(bench.work / "readme", README)
    (folder / "src").mkdir()
    (folder / "src/common").write_text("common\n")
    for number in range(30):
        (folder / f"src/f{number}").write_text(f"{number}\n")

    def reused(*more):
        commit(folder)
        return bench.run(bench.esker(folder, "--trace", "reuse", *more))

    def rebuilt():
        commit(folder)
        return bench.run(bench.nix_build(folder, [f"c{i}" for i in range(30)]))

    reused()
    yield Match("No builder was started without doubt.", {
        "nix build": rebuilt,
        "esker check --trace reuse --shadow 0%": lambda: all_reused(reused("--shadow", "0%"), 30),
        "esker check --trace reuse": reused,
    })


def case_rekeyed(bench):
    """10,000 derivations with new hashes of which nothing observed has changed. Gate: decided and registered in 2 s, aim 1 s."""
    jobs = bench.options.rekeyed
    folder = flake(bench.work / "rekeyed", REKEYED.replace("@jobs@", str(jobs)))
    (folder / "src").mkdir()
    (folder / "src/common").write_text("common\n")

    def evaluated():
        commit(folder)
        return bench.run(bench.nix_eval(folder))

    def esker(*more):
        commit(folder)
        return bench.run(bench.esker(folder, *more))

    def remarks(results):
        dry, reused = results["esker check --dry-run"], results["esker check --trace reuse --shadow 0%"]
        more = middle(reused, "wall") - middle(dry, "wall")
        yield f"Deciding and registering, which is what the last does more than the second: {more:.2f} s, " \
              f"{more / jobs * 1e3:.2f} ms each. After the last derivation was evaluated it went on for " \
              f"{statistics.median(map(after_evaluation, reused)):.2f} s."

    progress(f"  {jobs:,} builds")
    esker("--trace", "reuse")
    yield Match(f"{jobs:,} derivations.", {
        "nix eval": evaluated,
        "esker check --dry-run": lambda: esker("--dry-run"),
        "esker check --trace reuse --shadow 0%": lambda: all_reused(esker("--trace", "reuse", "--shadow", "0%"), jobs),
    }, remarks=remarks)


def after_evaluation(run):
    """Seconds from the end of the evaluation to the last result, by the times of the events."""
    last = {}
    for line in run.stdout.splitlines():
        event = json.loads(line)
        last[event["event"]] = event["time"]
    seconds = lambda time: sum(float(part) * unit for part, unit in zip(time.rstrip("Z").split("T")[1].split(":"), (3600, 60, 1)))
    return (seconds(last["reused"]) - seconds(last["evaluation_finished"])) % 86_400


CASES = {"first-build": case_first_build, "trivial": case_trivial, "readme": case_readme, "rekeyed": case_rekeyed}


def measure(options, work):
    started, deadline = time.monotonic(), time.monotonic() + options.minutes * 60
    load = os.getloadavg()[0]
    benches = [Bench(options, folder, work / str(number)) for number, folder in enumerate(options.nix)]
    matches = {}
    for bench in benches:
        bench.work.mkdir()
        for name in options.case:
            progress(f"Nix {bench.version}: {name}")
            matches[bench, name] = list(CASES[name](bench))
    longest = 0
    for number in range(options.rounds):
        began = time.monotonic()
        if number and began + longest > deadline:
            progress("no time for another round")
            break
        for (bench, name), several in matches.items():
            for match in several:
                if number < match.most_rounds:
                    progress(f"Nix {bench.version}: {name}")
                    for contestant in turns(match.contestants, number):
                        match.results.setdefault(contestant, []).append(match.contestants[contestant]())
        longest = max(longest, time.monotonic() - began)
    minutes = (time.monotonic() - started) / 60
    yield f"{os.cpu_count()} cores, {options.max_jobs} builds at once, load {load:.1f} at the start, {minutes:.0f} minutes in all."
    for (bench, name), several in matches.items():
        yield f"\n**Nix {bench.version}. {CASES[name].__doc__.strip()}**"
        for match in several:
            yield f"\n{match.title}\n"
            yield from match.table()
            for remark in match.remarks(match.results):
                yield f"\n{remark}"


def main():
    parser = arguments(__doc__.splitlines()[0], CASES)
    parser.add_argument("--jobs", type=int, help="trivial derivations; else 1,000, or 300 on a Nix that is too slow for them")
    parser.add_argument("--rekeyed", type=int, default=10_000, help="derivations that get new hashes")
    parser.add_argument("--minutes", type=float, default=25, help="no further round is begun that would take longer")
    parser.add_argument("--control", action="store_true", help="also builds without tracing")
    options = parse(parser)
    if options.quick:
        options.rounds, options.jobs, options.rekeyed = 2, 50, 200
    # The re-keyed ones are a report of their own.
    options.case = options.case or [name for name in CASES if name != "rekeyed"]
    mark = "rekeyed" if options.case == ["rekeyed"] else "traced"
    with tempfile.TemporaryDirectory(prefix="esker-bench-") as work:
        publish(measure(options, Path(work)), options.write, mark)


if __name__ == "__main__":
    main()
