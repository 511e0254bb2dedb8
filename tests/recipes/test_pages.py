"""Each page of docs/recipes applies to a generated project, whatever the answers, alone and after the others."""

import itertools
import random
import re
from pathlib import Path

import pytest
from generation import PROJECT_DIRECTORY, TEMPLATE, Answers, name_of, original
from pages import NAMES, PAGES, apply_diffs, apply_recipe, check_everything, command, commands, take

ANSWERS: list[Answers] = [
    {"database": "postgresql", "media_storage": "disk", "deploy": "procfile"},
    {"database": "mysql", "media_storage": "s3", "deploy": "docker"},
    {"database": "sqlite", "media_storage": "s3", "deploy": "procfile"},
    {"database": "postgresql", "media_storage": "disk", "deploy": "kubernetes"},
]


def contents(directory: Path) -> dict[str, str]:
    """Return the text of a project's files, without what git and Python keep there."""
    files = (path for path in directory.rglob("*") if path.is_file() and ".git" not in path.parts)
    return {str(path.relative_to(directory)): path.read_text(encoding="utf-8") for path in files if path.name != ".env"}


def test_each_page_is_short_and_says_what_a_reader_needs():
    for name in NAMES:
        lines = (PAGES / f"{name}.md").read_text(encoding="utf-8").splitlines()
        for heading in ("## Apply", "## What it costs", "## What it does not do", "## Undo"):
            assert heading in lines, f"{name} has no {heading!r}"
        assert not any(line.startswith(" ```") for line in lines), f"{name} indents a fence"
        assert commands(name)[0].endswith(f"/docs/recipes/{name}.md | git apply"), name


def test_each_page_is_in_the_tables_of_both_readmes():
    for readme in (TEMPLATE / "README.md", TEMPLATE / PROJECT_DIRECTORY / "README.md"):
        linked = re.findall(r"/recipes/([\w-]+)\.md\)", readme.read_text(encoding="utf-8"))
        assert sorted(linked) == NAMES, readme


@pytest.mark.parametrize("answers", ANSWERS, ids=name_of)
def test_all_pages_apply_in_any_order_with_one_result(shared, template, tmp_path, answers):
    source = original(shared, template, **answers)
    orders = [NAMES, NAMES[::-1], random.Random(1).sample(NAMES, len(NAMES))]  # noqa: S311
    results = []
    for number, order in enumerate(orders):
        project = take(source, tmp_path / str(number))
        for name in order:
            apply_diffs(project, name)
            for line in commands(name):
                if line.startswith("echo "):  # it adds a line to a file, which must not be in the way of the next page
                    command(project, "sh", "-c", line)
        results.append(contents(project.path))
    for one, other in itertools.pairwise(results):
        assert one.keys() == other.keys()
        for name in one:
            assert sorted(one[name].splitlines()) == sorted(other[name].splitlines()), name


@pytest.mark.parametrize("name", NAMES)
def test_a_page_applies_alone_without_a_merge(shared, template, tmp_path, name):
    for number, answers in enumerate(ANSWERS):
        project = take(original(shared, template, **answers), tmp_path / str(number))
        command(project, "git", "apply", str(PAGES / f"{name}.md"))


@pytest.mark.recipes
def test_a_project_with_all_pages_is_green(shared, template, tmp_path, redis):
    project = take(original(shared, template, database="sqlite"), tmp_path)
    # After the page of PostgreSQL, commands need a server that runs: it comes last.
    for name in sorted(NAMES, key="postgres-in-development".__eq__):
        apply_recipe(project, name)
    check_everything(project, FACTORS_BROKER_URL=redis.url("/2"))
