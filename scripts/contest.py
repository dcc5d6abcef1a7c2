"""What the bench scripts share: one Nix with a state of its own, turns, and the page for the report."""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class Contest:
    """One Nix, and how the contestants are started upon it."""

    # What each case needs of Nix beside these.
    settings = []

    def __init__(self, options, nix_folder, work):
        self.options, self.work = options, work
        self.env = dict(os.environ)
        self.env.update(
            PATH=f"{nix_folder}:{os.environ['PATH']}",
            ESKER_STATE_DIR=str(work / "state"),
            XDG_CACHE_HOME=str(work / "cache"),
            NO_COLOR="1",
            NIX_CONFIG="\n".join([
                "experimental-features = nix-command flakes",
                "sandbox = true",
                f"sandbox-paths = /bin/sh={options.shell}",
                "substituters =",
                *self.settings,
            ]),
        )
        self.nix = str(Path(nix_folder) / "nix")
        out = subprocess.run([self.nix, "--version"], capture_output=True, text=True, check=True).stdout
        self.version = out.split()[-1]

    def esker(self, reference, *more):
        return [str(self.options.esker), "check", reference, "--max-jobs", str(self.options.max_jobs), *more]

    def nix_build(self, installables):
        jobs = str(self.options.max_jobs)
        return [self.nix, "build", "--no-link", "--keep-going", "--max-jobs", jobs, *installables]


def progress(text):
    print(text, file=sys.stderr, flush=True)


def turns(names, number):
    """The contestants' names in the order of this round: each round begins with another one."""
    names = list(names)
    for name in names[number % len(names):] + names[:number % len(names)]:
        progress(f"  round {number + 1}: {name}")
        yield name


def arguments(description, cases):
    """The options that all benchmarks have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--esker", type=Path, default=ROOT / "target/release/esker")
    parser.add_argument("--nix", action="append", help="folder with a Nix; several times for several versions")
    parser.add_argument("--case", action="append", choices=cases)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--max-jobs", type=int, default=os.cpu_count())
    parser.add_argument("--shell", default="/bin/busybox", help="what plain Nix gets as the sandbox's /bin/sh")
    parser.add_argument("--quick", action="store_true", help="two rounds of small flakes: does it work at all?")
    parser.add_argument("--write", type=Path, help="put the report into this page, between its two marks")
    return parser


def parse(parser):
    options = parser.parse_args()
    options.nix = options.nix or [str(Path(shutil.which("nix") or "/usr/bin/nix").parent)]
    if not options.esker.exists():
        sys.exit(f"error: there is no `{options.esker}`\nhint: start bench.sh, which builds it")
    return options


def publish(lines, page, mark):
    """Prints the report as it grows, and puts it into the page between `<!-- mark: begin -->` and its end."""
    report = []
    for line in lines:
        print(line, flush=True)
        report.append(line)
    if page:
        begin, end = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
        before, rest = page.read_text().split(begin)
        after = rest.split(end)[1]
        page.write_text(f"{before}{begin}\n{chr(10).join(report)}\n{end}{after}")
        progress(f"written to {page}")
