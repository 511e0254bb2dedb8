"""The command line of the benchmark."""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from tests.benchmarks import report
from tests.benchmarks.lab import HIGHEST_LOAD, Lab, Skipped, machine
from tests.benchmarks.measures import MEASURES, Measure
from tests.benchmarks.peers import known

RESULTS = Path(__file__).with_name("results")
README = Path(__file__).parents[2] / "README.md"


def take(lab: Lab, measure: Measure) -> None:
    """Take all rounds of a measure, and say what came out."""
    print(f"{measure.name} ", end="", flush=True)
    started = time.monotonic()
    try:
        # With the digits that are kept, so that what is shown can be worked out again.
        measure.rounds = [{key: float(f"{value:.5g}") for key, value in taken.items()} for taken in measure.take(lab)]
    except Skipped as reason:
        measure.skipped = str(reason)
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:  # the others go on
        measure.skipped = "failed"
        print(f"\n{error}", flush=True)
    verdict = {True: "", False: "  MISSED", None: ""}[measure.met]
    outcome = measure.skipped or f"{report.number(measure.result or 0)} {measure.goal and f'(goal {measure.goal})'}"
    print(f" {outcome}{verdict}  [{time.monotonic() - started:.0f} s]", flush=True)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog=report.COMMAND, description="Measure a generated project.")
    parser.add_argument("--quick", action="store_true", help="two short rounds, to try it out")
    parser.add_argument("--only", default="", metavar="WORD", help="measures whose name has WORD")
    parser.add_argument("--peers", nargs="+", default=[], type=known, metavar="DIR", help="sources of other projects")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    print(f"Load of this machine in the last minute: {load:.2f}", flush=True)
    if load > HIGHEST_LOAD:
        sys.exit(f"It must be {HIGHEST_LOAD} or less: end what else runs here, and wait for two minutes.")
    rounds, seconds = (2, 1) if options.quick else (5, 2)
    started = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="benchmarks-") as directory,
        Lab(Path(directory), rounds, seconds, options.peers) as lab,
    ):
        measures = [measure for measure in MEASURES if options.only in measure.name]
        for measure in measures:
            take(lab, measure)
        facts = {
            "date": datetime.now(UTC).date().isoformat(),
            "rounds": rounds,
            "seconds": round(time.monotonic() - started),
            "load": load,
            **machine(),
            "versions": lab.versions,
            "peers": lab.adaptations,
        }
        print(f"\n{report.table(measures)}\n{facts['seconds']} s")
        if not (options.quick or options.only):
            report.write(RESULTS, measures, facts, lab.packages)
            report.show(README, report.summary(measures, facts))


if __name__ == "__main__":
    main()
