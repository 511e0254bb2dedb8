"""The results as JSON (every raw round), a plot (SVG) and Markdown that shows both."""

import json
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from tests.benchmarks.measures import Measure

COMMAND = "uv run python -m tests.benchmarks"


def number(value: float) -> str:
    """Return a number with three digits that mean something."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def shown(measure: Measure) -> str:
    """Return the result with its unit, if it is more than a ratio."""
    if measure.result is None:
        return "-"
    value = number(measure.result)
    if measure.is_ratio or not measure.unit:
        return value.removesuffix(".00") if not measure.is_ratio else value
    return f"{value} {measure.unit}"


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
    """Return a Markdown table: a row a measure."""
    lines = [
        "| measure | unit | generated | compared with | judged: median of the rounds' ratios | goal | |",
        "|---|---|--:|--:|--:|--:|---|",
    ]
    for measure in measures:
        if measure.skipped:
            lines.append(f"| {measure.name} | | | | skipped: {measure.skipped} | {measure.goal} | |")
            continue
        medians = [number(measure.medians[key]) for key in measure.of]
        values = medians if measure.is_ratio else ["", ""]
        sign = {True: "✓", False: "✗ missed", None: ""}[measure.met]
        cells = [measure.name, measure.unit, *values, shown(measure), measure.goal, sign]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def values_table(measures: list[Measure]) -> str:
    """Return a Markdown table: what each value of gunicorn.conf.py gives, ours in bold."""
    lines = ["| value: what it decides | unit | |", "|---|---|---|"]
    for measure in measures:
        values = [f"{key}: {number(value)}" for key, value in measure.medians.items()]
        shown = [f"**{value}**" if value.startswith(f"{measure.of[0]}:") else value for value in values]
        lines.append(f"| {measure.name} | {measure.unit} | {measure.skipped or ', '.join(shown)} |")
    return "\n".join(lines) + "\n"


ROW, LEFT, LINE, RIGHT = 24, 430, 660, 960


def plot(measures: list[Measure], title: str) -> str:
    """Return an SVG: a bar a measure that has a goal, drawn so that all goals are on one line."""
    body, top = [], 40
    with_goal = [m for m in measures if m.goal and m.result is not None]
    groups = {
        "less is better: left of the line": [m for m in with_goal if m.at_most is not None],
        "more is better: right of the line": [m for m in with_goal if m.at_least is not None],
    }
    for heading, group in groups.items():
        body.append(f'<text class="head" x="{LEFT}" y="{top + 14}">{heading}</text>')
        for measure in group:
            top += ROW
            goal, result = measure.at_most or measure.at_least or 1, measure.result or 0
            width = min(result / goal * (LINE - LEFT), RIGHT - LEFT - 150)
            colour = "#2e7d4f" if measure.met else "#c0392b"
            name = escape(measure.name.replace("`", "").partition(", against")[0])
            value = escape(f"{shown(measure)} (goal {measure.goal})")
            body += [
                f'<text x="{LEFT - 8}" y="{top + 14}" text-anchor="end">{name}</text>',
                f'<rect x="{LEFT}" y="{top + 3}" width="{width:.0f}" height="16" fill="{colour}"/>',
                f'<text x="{LEFT + max(width, LINE - LEFT) + 8:.0f}" y="{top + 14}">{value}</text>',
            ]
        top += ROW + 12
    body.append(f'<line x1="{LINE}" y1="34" x2="{LINE}" y2="{top}" stroke="#222" stroke-width="2"/>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {RIGHT} {top + 12}" role="img">\n'
        f"<title>{escape(title)}</title>\n"
        "<style>text { font: 13px system-ui, sans-serif; fill: #222 } "
        ".head { font-weight: 600 }</style>\n"
        f'<rect width="{RIGHT}" height="{top + 12}" fill="#fff"/>\n'
        f'<text class="head" x="8" y="20">{escape(title)}</text>\n' + "\n".join(body) + "\n</svg>\n"
    )


def described(facts: dict[str, Any]) -> str:
    """Return when, where and with what, in a sentence."""
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return (
        f"{facts['date']}, {facts['rounds']} rounds, {facts['cpus']} CPUs ({facts['cpu']}), "
        f"{facts['memory_gib']} GiB, {versions}"
    )


def markdown(measures: list[Measure], facts: dict[str, Any], packages: dict[str, int]) -> str:
    """Return the page that shows everything."""
    prices = [f"- {m.name}: {m.price}" for m in measures if m.price]
    sizes = sorted(packages.items(), key=lambda item: -item[1])
    listed = [f"| {name} | {size / 1e6:.2f} |" for name, size in sizes]
    return "\n".join(
        [
            "# How fast it is",
            "",
            f"Written by `{COMMAND}`: {described(facts)}.",
            "",
            "![Results by their goals](benchmarks.svg)",
            "",
            "What is compared has the same Django, gunicorn, threads, database client and server, "
            "DEBUG off, and takes turns on one machine; a result is the median of the rounds' "
            "ratios. startproject logs no requests, the generated project all, as JSON. "
            "Raw rounds: [benchmarks.json](benchmarks.json).",
            "",
            table(measures),
            *(["What costs something, and what for:", "", *prices, ""] if prices else []),
            "Looked at and left as it is: templates (Django's cached loader is on while DEBUG is off), garbage "
            "collection and preloading ([gunicorn.md](gunicorn.md)), bytecode (builds compile it; the second line is "
            "the price of not doing so). Middleware stand in the order of what they spare the others: probes first, "
            "then static files, then sessions.",
            "",
            "## What production installs, with PostgreSQL",
            "",
            "| package | MB |",
            "|---|--:|",
            *listed,
            "",
        ]
    )


def write_values(directory: Path, measures: list[Measure], facts: dict[str, Any]) -> None:
    """Write gunicorn.json and gunicorn.md."""
    directory.mkdir(parents=True, exist_ok=True)
    text = (
        "# Why gunicorn.conf.py says what it says\n\n"
        f"Written by `{COMMAND} gunicorn`: {described(facts)}. "
        f"Medians; what the project has is in bold.\n\n{values_table(measures)}"
    )
    (directory / "gunicorn.json").write_text(as_json(measures, facts), encoding="utf-8")
    (directory / "gunicorn.md").write_text(text, encoding="utf-8")


MARKS = ("<!-- benchmarks -->\n", "<!-- end of benchmarks -->\n")


# The measures that the README at the top shows.
SHOWN = (
    "exec to first 200",
    "memory, 4 workers",
    "login page",
    "tasks, PostgreSQL, against the library's own worker and settings",
    "keystroke to first page: generate, install, migrate, serve",
)


def summary(measures: list[Measure], facts: dict[str, Any]) -> str:
    """Return what the README at the top says: five measures, and where they were taken."""
    return f"{table([measure for measure in measures if measure.name in SHOWN])}\n{described(facts)}.\n"


def show(readme: Path, text: str) -> None:
    """Put `text` between the marks of a README."""
    before, _, rest = readme.read_text(encoding="utf-8").partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    readme.write_text(f"{before}{MARKS[0]}{text}{MARKS[1]}{after}", encoding="utf-8")


def write(directory: Path, measures: list[Measure], facts: dict[str, Any], packages: dict[str, int]) -> None:
    """Write benchmarks.json, benchmarks.svg and README.md."""
    directory.mkdir(parents=True, exist_ok=True)
    title = f"A generated project against its goals, {facts['date']}"
    (directory / "benchmarks.json").write_text(as_json(measures, facts), encoding="utf-8")
    (directory / "benchmarks.svg").write_text(plot(measures, title), encoding="utf-8")
    (directory / "README.md").write_text(markdown(measures, facts, packages), encoding="utf-8")
