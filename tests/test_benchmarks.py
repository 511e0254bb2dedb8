"""The numbers that are published are those that were measured; the benchmark itself is no test."""

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.benchmarks import report
from tests.benchmarks.__main__ import README, RESULTS
from tests.benchmarks.gunicorn_values import VALUES
from tests.benchmarks.measures import MEASURES, Measure

Taken = tuple[list[Measure], dict[str, Any]]


def read(name: str, measures: list[Measure]) -> Taken:
    """Return the measures with the rounds that are kept in a file, and the facts in it."""
    facts = json.loads((RESULTS / name).read_text(encoding="utf-8"))
    rounds = {measure["name"]: measure["rounds"] for measure in facts.pop("measures")}
    return [replace(measure, rounds=rounds.get(measure.name, [])) for measure in measures], facts


@pytest.fixture(scope="module")
def projects() -> Taken:
    """Return what compares projects."""
    return read("benchmarks.json", MEASURES)


@pytest.fixture(scope="module")
def values() -> Taken:
    """Return what compares values of gunicorn.conf.py."""
    return read("gunicorn.json", VALUES)


# What is counted, and the project's tests, need no more than once.
ONCE = ("packages", "size of", "tests of")


@pytest.mark.parametrize("kind", ["projects", "values"])
def test_every_measure_was_taken_five_times(kind: str, request: pytest.FixtureRequest) -> None:
    for measure in request.getfixturevalue(kind)[0]:
        assert len(measure.rounds) >= (1 if measure.name.startswith(ONCE) else 5), measure.name


def test_the_readme_shows_what_was_measured(projects: Taken) -> None:
    assert f"{report.MARKS[0]}{report.summary(*projects)}{report.MARKS[1]}" in README.read_text(encoding="utf-8")
    title = f"A generated project against its goals, {projects[1]['date']}"
    assert report.plot(projects[0], title) == (RESULTS / "benchmarks.svg").read_text(encoding="utf-8")
    assert report.table(projects[0]) in (RESULTS / "README.md").read_text(encoding="utf-8")


def test_the_values_of_gunicorn_are_those_that_were_measured(values: Taken) -> None:
    assert report.values_table(values[0]) in (RESULTS / "gunicorn.md").read_text(encoding="utf-8")


def test_a_goal_that_is_missed_has_its_price_told(projects: Taken) -> None:
    assert [measure.name for measure in projects[0] if measure.met is False and not measure.price] == []
