#!/usr/bin/env python3
"""Measures `esker check` against plain Nix, on flakes that need no nixpkgs.

Within a round the contestants take turns, and each round begins with another one, so that a
busy moment of the machine hits all alike. What is reported is the median over the rounds and its
ratio to plain Nix. "Cold" means derivations that nobody has built: each run gets a flake with
another salt, nothing is ever deleted from the store.

  bench.py [--quick] [--nix DIR]… [--case NAME]… [--rounds N] [--full] [--write docs/benchmarks.md]

Start it by way of bench.sh, which builds Esker and finds the Nix versions.
"""

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from contest import Contest, arguments, parse, progress, publish, turns

FLAKE = """{
  outputs = { self }: let
    jobs = @jobs@; cost = @cost@; chain = @chain@;
    failingBuilds = @failing_builds@; failingEvaluations = @failing_evaluations@;
    # `count` of the jobs, evenly spread.
    spread = count: i: count > 0 && (let step = jobs / count; in i - i / step * step == 0);
    shell = name: script: derivation {
      inherit name; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" script ]; salt = "@salt@";
    };
    base = builtins.foldl' (below: i: shell "base${toString i}" "echo ${below} > $out") "" (builtins.genList (i: i) chain);
    work = i: builtins.foldl' (sum: x: sum + x) i (builtins.genList (x: x) cost);
    job = i:
      if spread failingEvaluations i then throw "job ${toString i} does not evaluate"
      else shell "c${toString i}" "echo ${toString (work i)} ${base} > $out; @script@${if spread failingBuilds i then "; exit 1" else ""}";
  in {
    checks.x86_64-linux = builtins.listToAttrs (builtins.genList (i: { name = "c${toString i}"; value = job i; }) jobs);
  };
}
"""

# c0 fails after a second, and says when; the others are busy for longer.
LATENCY_SCRIPT = """case $name in c0) sleep 1; echo ended at $EPOCHREALTIME; exit 1;; *) sleep 4;; esac"""


class Trouble(Exception):
    """A contestant did not do what the case is about: the case has no result."""


@dataclass
class Flake:
    """A folder with a generated flake."""

    folder: Path
    jobs: int = 10
    cost: int = 0
    chain: int = 0
    failing_builds: int = 0
    failing_evaluations: int = 0
    script: str = ":"

    def write(self, salt=None):
        text = FLAKE.replace("@salt@", salt or uuid.uuid4().hex)
        for name in ("jobs", "cost", "chain", "failing_builds", "failing_evaluations", "script"):
            text = text.replace(f"@{name}@", str(getattr(self, name)))
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "flake.nix").write_text(text)
        return self

    @property
    def reference(self):
        return f"path:{self.folder}"

    def installables(self):
        return [f"{self.reference}#checks.x86_64-linux.c{i}" for i in range(self.jobs)]


@dataclass
class Run:
    seconds: float
    peak_kib: int
    stderr: str
    # When each line of stderr came, in seconds since the epoch.
    lines: list = field(default_factory=list)


class Bench(Contest):
    settings = ["warn-dirty = false"]

    # Contestants, each as a command line.

    def esker(self, flake, *more):
        # Traced builds have a benchmark of their own.
        return super().esker(flake.reference, "--trace", "off", *more)

    def nix_build(self, flake):
        return super().nix_build(flake.installables())

    def nix_flake_check(self, flake):
        return [self.nix, "flake", "check", "--keep-going", "--max-jobs", str(self.options.max_jobs), flake.reference]

    def nix_eval(self, flake, first=0, last=None):
        last = flake.jobs if last is None else last
        names = f"builtins.genList (i: \"c${{toString (i + {first})}}\") {last - first}"
        return [self.nix, "eval", "--no-eval-cache", "--json", f"{flake.reference}#checks.x86_64-linux",
                "--apply", f"set: map (name: set.${{name}}.drvPath) ({names})"]

    def run(self, command, expect=(0,)):
        """Runs a command to its end. Its peak memory is that of this process alone."""
        if time.monotonic() > self.options.deadline:
            raise Trouble("no time left")
        started = time.monotonic()
        process = subprocess.Popen(command, env=self.env, cwd=self.work, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
        lines = []

        def read():
            for line in process.stderr:
                lines.append((time.time(), line.decode(errors="replace")))

        reader = threading.Thread(target=read)
        reader.start()
        status, peak = Path(f"/proc/{process.pid}/status"), 0
        limit = min(self.options.deadline, started + self.options.timeout)
        while process.poll() is None:
            try:
                peak = int(re.search(r"VmHWM:\s+(\d+)", status.read_text()).group(1))
            except (OSError, AttributeError):
                pass
            if time.monotonic() > limit:
                os.killpg(process.pid, 15)
                process.wait(30)
                raise Trouble(f"`{' '.join(command[:3])}` was stopped after {time.monotonic() - started:.0f} s")
            try:
                process.wait(0.01)
            except subprocess.TimeoutExpired:
                pass
        seconds = time.monotonic() - started
        reader.join()
        stderr = "".join(line for _, line in lines)
        if process.returncode not in expect:
            raise Trouble(f"`{' '.join(command[:3])} …` exited {process.returncode}: {stderr.strip()[-300:]}")
        return Run(seconds, peak, stderr, lines)

    def interleave(self, contestants, rounds=None):
        """Runs each contestant once a round, beginning with another one each time."""
        results = {name: [] for name in contestants}
        for number in range(rounds or self.options.rounds):
            for name in turns(contestants, number):
                try:
                    results[name].append(contestants[name]())
                except Trouble as trouble:
                    # What was measured so far is worth keeping, if it is complete rounds.
                    if "no time left" not in str(trouble) or number == 0:
                        raise
                    progress("  no time for more rounds")
                    return {name: runs[:number] for name, runs in results.items()}
        return results


def seconds(run):
    return run.seconds


def table(results, reference, value=seconds, unit="s"):
    """Rows of the report: one a contestant, with its ratio to `reference`."""
    base = statistics.median(map(value, results[reference]))
    for name, runs in results.items():
        values = sorted(map(value, runs))
        middle = statistics.median(values)
        ratio = f"{middle / base:.2f}" if base else "–"
        yield f"| {name} | {middle:.2f} {unit} | {values[0]:.2f}–{values[-1]:.2f} | {ratio} | {len(values)} |"


def peak(runs):
    return f"{max(run.peak_kib for run in runs) / 1024:.0f} MiB"


def case_cold(bench):
    """Cold: nothing is built. Gate: Esker at most 1.1 times `nix build`."""
    flake = Flake(bench.work / "cold", jobs=bench.options.jobs)
    results = bench.interleave({
        "nix build --keep-going": lambda: bench.run(bench.nix_build(flake.write())),
        "esker check": lambda: bench.run(bench.esker(flake.write())),
        "nix flake check": lambda: bench.run(bench.nix_flake_check(flake.write())),
    })
    yield f"{flake.jobs:,} trivial attributes. Peak memory of Esker itself: {peak(results['esker check'])}."
    yield from table(results, "nix build --keep-going")


def case_shared(bench):
    """Cold, all attributes upon one chain of derivations."""
    flake = Flake(bench.work / "shared", jobs=max(10, bench.options.jobs // 10), chain=20)
    results = bench.interleave({
        "nix build --keep-going": lambda: bench.run(bench.nix_build(flake.write())),
        "esker check": lambda: bench.run(bench.esker(flake.write())),
    })
    yield f"{flake.jobs:,} attributes, a chain of {flake.chain} below them."
    yield from table(results, "nix build --keep-going")


def case_failing_builds(bench):
    """Cold, a tenth of the builds fail."""
    flake = Flake(bench.work / "failing", jobs=max(10, bench.options.jobs // 10))
    flake.failing_builds = flake.jobs // 10
    results = bench.interleave({
        "nix build --keep-going": lambda: bench.run(bench.nix_build(flake.write()), expect=(1, 100)),
        "esker check": lambda: bench.run(bench.esker(flake.write()), expect=(1,)),
    })
    yield f"{flake.jobs:,} attributes, {flake.failing_builds} of which fail to build."
    yield from table(results, "nix build --keep-going")


def built(bench, **knobs):
    """A flake whose derivations are all in the store."""
    flake = Flake(bench.work / "built", **{"jobs": bench.options.jobs, **knobs}).write("built-" + bench.options.salt)
    bench.run(bench.esker(flake))
    return flake


def case_nothing_to_do(bench):
    """Nothing to do: all is built. Gate: Esker at most 1.2 times one bare evaluation."""
    flake = built(bench)
    results = bench.interleave({
        "nix eval": lambda: bench.run(bench.nix_eval(flake)),
        "esker check": lambda: bench.run(bench.esker(flake)),
        "nix build --keep-going": lambda: bench.run(bench.nix_build(flake)),
        "nix flake check": lambda: bench.run(bench.nix_flake_check(flake)),
    })
    yield f"{flake.jobs:,} attributes."
    yield from table(results, "nix eval")


def case_nothing_to_do_costly(bench):
    """Nothing to do, and an evaluation that takes seconds, as most do. Gate: as above."""
    flake = built(bench, jobs=20 if bench.options.quick else 200, cost=100_000)
    results = bench.interleave({
        "nix eval": lambda: bench.run(bench.nix_eval(flake)),
        "esker check": lambda: bench.run(bench.esker(flake)),
        "nix build --keep-going": lambda: bench.run(bench.nix_build(flake)),
    })
    yield f"{flake.jobs:,} attributes that each sum {flake.cost:,} numbers."
    yield from table(results, "nix eval")


def case_failing_evaluations(bench):
    """A fiftieth of the attributes fail to evaluate, all else is built. Gate: at most 1.5 times none failing."""
    good = built(bench)
    bad = Flake(bench.work / "bad", jobs=good.jobs, failing_evaluations=max(1, good.jobs // 50)).write("built-" + bench.options.salt)
    results = bench.interleave({
        "none failing": lambda: bench.run(bench.esker(good)),
        f"{bad.failing_evaluations} failing": lambda: bench.run(bench.esker(bad), expect=(1,)),
    })
    yield f"`esker check`, {good.jobs:,} attributes."
    yield from table(results, "none failing")


def case_two_workers(bench):
    """A costly evaluation with two workers. Gate: no slower than the best that plain Nix can do."""
    flake = Flake(bench.work / "costly", jobs=20 if bench.options.quick else 200, cost=100_000)

    def halves():
        flake.write()
        middle, runs = flake.jobs // 2, [None, None]

        def half(index, first, last):
            try:
                runs[index] = bench.run(bench.nix_eval(flake, first, last))
            except Trouble as trouble:
                runs[index] = trouble

        threads = [threading.Thread(target=half, args=(0, 0, middle)), threading.Thread(target=half, args=(1, middle, flake.jobs))]
        started = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for run in runs:
            if isinstance(run, Trouble):
                raise run
        return Run(time.monotonic() - started, 0, "")

    contestants = {
        "nix eval, two processes each a half": halves,
        "nix eval, one process": lambda: bench.run(bench.nix_eval(flake.write())),
        "esker check --dry-run --eval-workers 2": lambda: bench.run(bench.esker(flake.write(), "--dry-run", "--eval-workers", "2")),
    }
    if shutil.which("nix-eval-jobs", path=bench.env["PATH"]):
        contestants["nix-eval-jobs --workers 2"] = lambda: bench.run(
            ["nix-eval-jobs", "--workers", "2", "--flake", f"{flake.write().reference}#checks.x86_64-linux"])
    results = bench.interleave(contestants)
    yield f"{flake.jobs} attributes that each sum {flake.cost:,} numbers."
    yield from table(results, "nix eval, two processes each a half")


def case_scale(bench):
    """Ten times the attributes, evaluated and looked up. Gate: linear; Esker itself below 150 MiB."""
    sizes = (100, 1_000) if bench.options.quick else (1_000, 10_000)
    flakes = [Flake(bench.work / f"scale{size}", jobs=size) for size in sizes]
    contestants = {}
    for flake in flakes:
        contestants[f"esker check --dry-run, {flake.jobs:,}"] = lambda flake=flake: bench.run(bench.esker(flake.write(), "--dry-run"))
        contestants[f"nix eval, {flake.jobs:,}"] = lambda flake=flake: bench.run(bench.nix_eval(flake.write()))
    results = bench.interleave(contestants)
    peaks = ", ".join(f"{peak(results[f'esker check --dry-run, {size:,}'])} at {size:,}" for size in sizes)
    yield f"Peak memory of Esker itself: {peaks}."
    yield from table(results, f"esker check --dry-run, {sizes[0]:,}")


def case_ten_thousand(bench):
    """Cold, 10,000 attributes, once. Gate: Esker itself below 150 MiB. (Only with --full.)"""
    flake = Flake(bench.work / "ten-thousand", jobs=100 if bench.options.quick else 10_000)
    results = bench.interleave({
        "nix build --keep-going": lambda: bench.run(bench.nix_build(flake.write())),
        "esker check": lambda: bench.run(bench.esker(flake.write())),
    }, rounds=1)
    yield f"{flake.jobs:,} trivial attributes. Peak memory of Esker itself: {peak(results['esker check'])}."
    yield from table(results, "nix build --keep-going")


def case_first_failure(bench):
    """From the end of the first failing build to its verdict on the screen, while others still build. Gate: 1 s."""
    flake = Flake(bench.work / "latency", jobs=4, script=LATENCY_SCRIPT)

    def latency(command, verdict):
        run = bench.run(command, expect=(1, 100))
        ended = re.search(r"ended at ([\d.]+)", run.stderr)
        seen = next((at for at, line in run.lines if re.search(verdict, re.sub(r"\x1b\[[\d;]*m", "", line))), None)
        if not ended or not seen:
            raise Trouble(f"no verdict to be found on stderr: {run.stderr.strip()[-300:]}")
        return Run(seen - float(ended.group(1)), 0, "")

    results = bench.interleave({
        "nix build --keep-going": lambda: latency(bench.nix_build(flake.write()), r"error:.*-c0\.drv"),
        "esker check": lambda: latency(bench.esker(flake.write()), r"\bfailed\b.*\bc0\b"),
    })
    yield f"{flake.jobs} attributes; the first fails after 1 s, the others take 4 s."
    yield from table(results, "nix build --keep-going")


CASES = {
    "cold": case_cold,
    "nothing-to-do": case_nothing_to_do,
    "nothing-to-do-costly": case_nothing_to_do_costly,
    "failing-evaluations": case_failing_evaluations,
    "two-workers": case_two_workers,
    "scale": case_scale,
    "first-failure": case_first_failure,
    "shared": case_shared,
    "failing-builds": case_failing_builds,
    "ten-thousand": case_ten_thousand,
}


def measure(options):
    """The report, as Markdown."""
    with open("/proc/cpuinfo") as cpus:
        model = next((line.split(":")[1].strip() for line in cpus if line.startswith("model name")), "unknown CPU")
    version = subprocess.run([options.esker, "--version"], capture_output=True, text=True).stdout.strip() or "esker"
    yield f"{version}, {os.cpu_count()} cores ({model}), {options.max_jobs} builds at once, load {os.getloadavg()[0]:.1f} at the start."
    for folder in options.nix:
        with tempfile.TemporaryDirectory(prefix="esker-bench-") as work:
            bench = Bench(options, folder, Path(work))
            yield f"\n### Nix {bench.version}\n"
            for name in options.case or [name for name in CASES if options.full or name != "ten-thousand"]:
                progress(f"Nix {bench.version}: {name}")
                title = CASES[name].__doc__
                yield f"\n**{title.strip()}**\n"
                try:
                    lines = list(CASES[name](bench))
                    yield f"{lines[0]}\n\n| | median | from–to | ratio | rounds |\n|---|---|---|---|---|"
                    yield from lines[1:]
                except Trouble as trouble:
                    progress(f"  no result: {trouble}")
                    yield "No result: " + str(trouble).replace("\n", " ")
                    options.incomplete = True


def main():
    parser = arguments(__doc__.splitlines()[0], CASES)
    parser.add_argument("--jobs", type=int, default=1_000, help="attributes in most cases")
    parser.add_argument("--minutes", type=float, default=180, help="after these, no further run is started")
    parser.add_argument("--timeout", type=float, default=3_600, help="seconds for one run")
    parser.add_argument("--full", action="store_true", help="also build 10,000 derivations")
    options = parse(parser)
    if options.quick:
        options.rounds, options.jobs = 2, 50
    options.deadline = time.monotonic() + options.minutes * 60
    options.salt = uuid.uuid4().hex
    options.incomplete = False
    publish(measure(options), options.write, "measured")
    sys.exit(3 if options.incomplete else 0)


if __name__ == "__main__":
    main()
