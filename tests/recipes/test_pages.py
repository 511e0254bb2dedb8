"""Each page of docs/recipes applies to a generated project, whatever the answers, alone and after the others."""

import itertools
import random
import re
from pathlib import Path

import pytest
from generation import PROJECT_DIRECTORY, TEMPLATE, Answers, name_of, original, run, user_environment
from pages import NAMES, PAGES, apply_diffs, apply_recipe, check_everything, command, commands, commit, take

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


def test_git_knows_the_files_that_a_page_was_made_of(shared, template, tmp_path):
    """`--3way` merges with them; they are those of the default answers."""
    project = take(original(shared, template), tmp_path)
    staged = command(project, "git", "ls-files", "--stage").stdout
    blobs = {path: blob for blob, path in re.findall(r"(?m)^\d+ (\w{7})\w+ \d+\t(.+)$", staged)}
    for name in NAMES:
        text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
        for path, blob in re.findall(r"(?m)^diff --git a/(\S+) .*\n(?:new file.*\n)?index (\w+)", text):
            assert blob == blobs.get(path, "0000000"), f"{name}: {path}"


def test_a_page_that_meets_an_edit_marks_the_conflict_and_applies_the_rest(shared, template, tmp_path):
    project = take(original(shared, template), tmp_path)
    project.edit(
        "config/urls.py", "admin.site.urls),\n", 'admin.site.urls),\n    path("shop/", include("shop.urls")),\n'
    )
    commit(project, "My own")
    page = str(PAGES / "api.md")
    assert run(["git", "apply", page], project.path, user_environment(project.home)).returncode == 1
    merged = run(["git", "apply", "--3way", page], project.path, user_environment(project.home))
    assert (merged.returncode, "Applied patch to 'config/urls.py' with conflicts" in merged.stderr) == (1, True)
    assert "<<<<<<< ours" in (project.path / "config/urls.py").read_text()
    assert "rest_framework" in (project.path / "config/settings.py").read_text()


@pytest.mark.recipes
def test_a_project_with_all_pages_is_green(shared, template, tmp_path, redis):
    project = take(original(shared, template, database="sqlite"), tmp_path)
    # After the page of PostgreSQL, commands need a server that runs: it comes last.
    for name in sorted(NAMES, key="postgres-in-development".__eq__):
        apply_recipe(project, name)
    check_everything(project, FACTORS_BROKER_URL=redis.url("/2"))
