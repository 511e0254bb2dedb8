"""Recipes applied to generated projects, as their pages tell a reader to do it.

    project = apply_recipe(place, template, "errors", database="postgresql")

A page of docs/recipes is prose, diffs for git and commands after a `$`. The first command fetches the page and hands it
to `git apply`; here the file of this repository takes the place of the fetched one.
"""

import re
import shutil
import subprocess
from pathlib import Path

from generation import TEMPLATE, Project, executable, run, user_environment

PAGES = TEMPLATE / "docs" / "recipes"
NAMES = sorted(page.stem for page in PAGES.glob("*.md") if page.stem != "README")
FETCH = (
    "curl --fail --silent --location https://raw.githubusercontent.com/org/template/{version}/docs/recipes/{name}.md"
)


def commands(name: str) -> list[str]:
    """Return the commands of a page, in order: those after a `$` in its console blocks."""
    text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"(?ms)^```console\n(.*?)^```$", text)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def command(project: Project, *words: str, seconds: float = 300, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a project as its owner's shell would; it has to succeed."""
    identity = {"GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "ada@example.com"}
    identity |= {"GIT_COMMITTER_NAME": "Ada", "GIT_COMMITTER_EMAIL": "ada@example.com"}
    environment = user_environment(project.home) | {"PWD": str(project.path)} | identity | variables
    result = run([*words], project.path, environment, seconds=seconds)
    assert result.returncode == 0, f"{' '.join(words)}\n{result.stdout[-6000:]}\n{result.stderr[-3000:]}"
    return result


def commit(project: Project, message: str) -> None:
    """Commit everything that git does not ignore."""
    command(project, "git", "add", "--all")
    command(project, "git", "commit", "--quiet", "--allow-empty", "--message", message)


def take(source: Path, place: Path) -> Project:
    """Copy a generated project and commit it; it has a virtual environment of its own once uv made one."""
    shutil.copytree(source, place / source.name, symlinks=True)
    (place / "home").mkdir()
    project = Project(place / source.name, place / "home", place / source.name / ".venv")
    commit(project, "Start")
    return project


def apply_diffs(project: Project, name: str) -> None:
    """Apply the diffs of a page; `--3way` when the plain way fails, as a project's README says."""
    page = str(PAGES / f"{name}.md")
    plain = run(["git", "apply", page], project.path, user_environment(project.home))
    if plain.returncode:
        command(project, "git", "apply", "--3way", page)


def apply_recipe(project: Project, name: str) -> None:
    """Do what a page says, from its first command to its last, and commit the result."""
    fetch, *others = commands(name)
    version = fetch.removeprefix(FETCH.partition("{")[0]).partition("/")[0]
    assert fetch == f"{FETCH.format(version=version, name=name)} | git apply"
    apply_diffs(project, name)
    for line in others:
        command(project, "sh", "-c", line)
    command(project, executable("uv"), "sync")  # not every page has installed something
    commit(project, f"Recipe: {name}")


def check_everything(project: Project, **variables: str) -> None:
    """Run what the project's own workflow runs: its tests with the factors, linters, types, and Django's checks."""
    uv = executable("uv")
    command(project, uv, "run", "ruff", "check")
    command(project, uv, "run", "ruff", "format", "--check")
    command(project, uv, "run", "--env-file", ".env.example", "mypy", ".")
    command(project, uv, "run", "deptry", ".")
    command(project, uv, "run", "pytest", "-q", seconds=600, **variables)
