"""The command line of the benchmark."""

import argparse
import subprocess
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from tests.benchmarks import report
from tests.benchmarks.gunicorn_values import VALUES
from tests.benchmarks.lab import Lab, Skipped, machine
from tests.benchmarks.measures import MEASURES, Measure

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
    outcome = measure.skipped or f"{report.shown(measure)} {measure.goal and f'(goal {measure.goal})'}"
    print(f" {outcome}{verdict}  [{time.monotonic() - started:.0f} s]", flush=True)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog=report.COMMAND, description="Measure a generated project.")
    parser.add_argument("what", nargs="?", choices=["projects", "gunicorn"], default="projects")
    parser.add_argument("--quick", action="store_true", help="two short rounds, to try it out")
    parser.add_argument("--only", default="", metavar="WORD", help="measures whose name has WORD")
    parser.add_argument("--rounds", type=int, default=0, help="of each measure (default: 5)")
    parser.add_argument("--output", type=Path, help="default: results/, or nowhere with the above")
    options = parser.parse_args()
    rounds = options.rounds or (2 if options.quick else 5)
    seconds = 1 if options.quick else 2
    output = options.output
    if output is None and not (options.quick or options.only or options.rounds):
        output = RESULTS
    started = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="benchmarks-") as directory,
        Lab(Path(directory), rounds, seconds) as lab,
    ):
        chosen = VALUES if options.what == "gunicorn" else MEASURES
        measures = [measure for measure in chosen if options.only in measure.name]
        for measure in measures:
            take(lab, measure)
        facts = {
            "date": datetime.now(UTC).date().isoformat(),
            "rounds": rounds,
            "seconds": round(time.monotonic() - started),
            **machine(),
            "versions": lab.versions,
        }
        if options.what == "gunicorn":
            print(f"\n{report.values_table(measures)}")
            if output:
                report.write_values(output, measures, facts)
        else:
            print(f"\n{report.table(measures)}")
            if output:
                report.write(output, measures, facts, lab.packages)
            if output == RESULTS:
                report.show(README, report.summary(measures, facts))
        print(f"{facts['seconds']} s")


if __name__ == "__main__":
    main()
