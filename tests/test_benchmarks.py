"""The numbers that are published are those that were measured; the benchmark itself is no test."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from tests import generation
from tests.benchmarks import __main__ as benchmarks
from tests.benchmarks import report
from tests.benchmarks.lab import GENERATED
from tests.benchmarks.measures import MEASURES, Measure

Taken = tuple[list[Measure], dict[str, Any]]


@pytest.fixture(scope="module")
def taken() -> Taken:
    """Return the measures with the rounds that are kept, and the facts of that run."""
    facts = json.loads((benchmarks.RESULTS / "benchmarks.json").read_text(encoding="utf-8"))
    rounds = {measure["name"]: measure["rounds"] for measure in facts.pop("measures")}
    return [replace(measure, rounds=rounds.get(measure.name, [])) for measure in MEASURES], facts


def test_every_measure_was_taken(taken: Taken) -> None:
    assert [measure.name for measure in taken[0] if not measure.rounds] == []


def test_the_readme_shows_what_was_measured(taken: Taken) -> None:
    shown = f"{report.MARKS[0]}{report.summary(*taken)}{report.MARKS[1]}"
    assert shown in benchmarks.README.read_text(encoding="utf-8")
    assert report.table(taken[0]) in (benchmarks.RESULTS / "README.md").read_text(encoding="utf-8")


def test_the_memory_that_a_project_is_told_to_plan_is_what_was_measured(taken: Taken) -> None:
    text = (generation.TEMPLATE / generation.PROJECT_DIRECTORY / "docs/scale.md").read_text(encoding="utf-8")
    found = re.search(r"\*\*Memory\*\* = (\d+) MiB \+ (\d+) MiB . `WEB_CONCURRENCY`", text)
    assert found
    for measure in taken[0]:
        if workers := re.fullmatch(r"memory under load, (\d) workers?", measure.name):
            planned = int(found[1]) + int(found[2]) * int(workers[1])
            assert planned == pytest.approx(measure.medians[GENERATED], rel=0.1), measure.name


def test_a_goal_that_is_missed_has_its_price_told(taken: Taken) -> None:
    assert [measure.name for measure in taken[0] if measure.met is False and not measure.price] == []


def test_a_busy_machine_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["benchmarks"])
    monkeypatch.setattr("os.getloadavg", lambda: (0.51, 0, 0))
    with pytest.raises(SystemExit, match=r"0\.5 or less"):
        benchmarks.main()
