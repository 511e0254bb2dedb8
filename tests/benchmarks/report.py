"""The results as JSON (every raw round) and Markdown."""

import json
from pathlib import Path
from typing import Any

from tests.benchmarks.measures import Measure
from tests.benchmarks.peers import PEERS

COMMAND = "uv run python -m tests.benchmarks"


def number(value: float) -> str:
    """Return a number with three digits that mean something."""
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def as_json(measures: list[Measure], facts: dict[str, Any]) -> str:
    """Return the facts, and each measure with its goal, its result and its raw rounds."""
    taken = [
        {
            "name": measure.name,
            "unit": measure.unit,
            "of": measure.of,
            "goal": measure.goal,
            "result": measure.result and round(measure.result, 4),
            "met": measure.met,
            "skipped": measure.skipped,
            "rounds": measure.rounds,
        }
        for measure in measures
    ]
    return json.dumps(facts | {"measures": taken}, indent=1, ensure_ascii=False) + "\n"


def table(measures: list[Measure]) -> str:
    """Return a Markdown table: a row a measure, and a column a peer."""
    took_part = [key for measure in measures for taken in measure.rounds[:1] for key in taken]
    peers = [peer for peer in PEERS if peer in took_part]
    lines = [
        "| measure | unit | measured | compared with | ratio, median of the rounds | lowest, highest round | goal | |"
        f"{''.join(f' {peer} |' for peer in peers)}",
        f"|---|---|--:|--:|--:|--:|--:|---|{'--:|' * len(peers)}",
    ]
    for measure in measures:
        values = [number(measure.medians[key]) for key in measure.of if measure.rounds]
        ratio = measure.result if measure.is_ratio else None
        cells = [
            measure.name,
            measure.unit,
            *(values or [f"skipped: {measure.skipped}"] if measure.skipped else values),
            *([""] * (2 - max(len(values), 1))),
            number(ratio) if ratio is not None else "",
            " to ".join(map(number, measure.swing or ())),
            measure.goal,
            {True: "✓", False: "✗ missed", None: ""}[measure.met],
            *(number(found) if (found := measure.ratio_of(peer)) is not None else "" for peer in peers),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def described(facts: dict[str, Any]) -> str:
    """Return when, where and with what, in a sentence."""
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return (
        f"{facts['date']}, {facts['rounds']} rounds, load {facts['load']:.2f} before, {facts['cpus']} CPUs "
        f"({facts['cpu']}), {facts['memory_gib']} GiB, {versions}"
    )


def markdown(measures: list[Measure], facts: dict[str, Any], packages: dict[str, int]) -> str:
    """Return the page that shows everything."""
    prices = [f"- {m.name}: {m.price}" for m in measures if m.price]
    sizes = sorted(packages.items(), key=lambda item: -item[1])
    parts = [
        "# How fast it is",
        f"Written by `{COMMAND}`: {described(facts)}.",
        "What is compared has the same Django, gunicorn, threads, database client and server, DEBUG off, and takes "
        "turns on one machine; a result is the median of the rounds' ratios. startproject logs no requests, the "
        "generated project all, as JSON. Raw rounds: [benchmarks.json](benchmarks.json).",
        *(f"- {adaptation}" for adaptation in facts["peers"]),
        table(measures),
        "What costs something, and what for:\n\n" + "\n".join(prices) + "\n",
        "## What production installs, with PostgreSQL",
        "| package | MB |\n|---|--:|\n" + "\n".join(f"| {name} | {size / 1e6:.2f} |" for name, size in sizes) + "\n",
    ]
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


MARKS = ("<!-- benchmarks -->\n", "<!-- end of benchmarks -->\n")


# The measures that the README at the top shows.
SHOWN = ("exec to first 200", "memory under load, 4 workers", "login page", "page of one word", "page not found")


def summary(measures: list[Measure], facts: dict[str, Any]) -> str:
    """Return what the README at the top says: five measures, and where they were taken."""
    return f"{table([measure for measure in measures if measure.name in SHOWN])}\n{described(facts)}.\n"


def show(readme: Path, text: str) -> None:
    """Put `text` between the marks of a README."""
    before, _, rest = readme.read_text(encoding="utf-8").partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    readme.write_text(f"{before}{MARKS[0]}{text}{MARKS[1]}{after}", encoding="utf-8")


def write(directory: Path, measures: list[Measure], facts: dict[str, Any], packages: dict[str, int]) -> None:
    """Write benchmarks.json and README.md."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "benchmarks.json").write_text(as_json(measures, facts), encoding="utf-8")
    (directory / "README.md").write_text(markdown(measures, facts, packages), encoding="utf-8")
