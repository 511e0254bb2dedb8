"""I. Codebase: one repository, of which one commit runs everywhere: https://12factor.net/codebase.

Tested: a checkout of what git holds, and of nothing else, runs as development, as staging and as production at the
same time, told apart by their environments alone; running changes nothing that git tracks; no code comes from another
repository or from outside of this one.
Not testable here: that all deploys really come from this repository, and that there is no second one.
"""

import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from django.conf import settings

from tests.factors.processes import PROJECT, copy_project, example
from tests.factors.source import tracked

FACTOR = "I Codebase"


def git(directory: Path, *arguments: str) -> str:
    """Run git with nobody's configuration."""
    settings = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "HOME": str(directory)}
    for role in ("AUTHOR", "COMMITTER"):
        settings |= {f"GIT_{role}_NAME": "factors", f"GIT_{role}_EMAIL": "factors@example.com"}
    command = ["git", *arguments]
    run = subprocess.run(
        command, cwd=directory, env={**os.environ, **settings}, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, f"{FACTOR}: {command} failed: {run.stderr}"
    return run.stdout


def test_one_commit_runs_as_three_deploys_at_once(deploy, built, tmp_path):
    if not shutil.which("git"):
        pytest.skip("needs git")
    repository = copy_project(tmp_path / "repository")
    git(repository, "init", "-q")
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "One commit")
    git(tmp_path, "clone", "-q", "repository", "checkout")
    checkout = tmp_path / "checkout"

    static = Path(settings.STATIC_ROOT).relative_to(PROJECT)
    if not (checkout / static).exists():
        shutil.copytree(built / static, checkout / static)  # the build's, see V
    codes = [Path(shutil.copytree(checkout, tmp_path / f"checkout{number}", symlinks=True)) for number in range(3)]
    development = {name: value for name, value in example().items() if name not in ("DATABASE_URL", "PORT")}
    environments = [development, {"ALLOWED_HOSTS": "staging.example.com"}, {"ALLOWED_HOSTS": "www.example.com"}]
    deploys = [deploy(code=code, **variables) for code, variables in zip(codes, environments, strict=True)]
    try:
        started = [each.start(each.command("web")) for each in deploys]
        for each, process in zip(deploys, started, strict=True):
            each.ready(process)
    except pytest.fail.Exception as failure:
        said = failure.msg or ""
        missing = [path for path in ignored_code() if f"'{path.stem}'" in said or f".{path.stem}'" in said]
        cause = f": git does not hold {', '.join(map(str, missing))}" if missing else ""
        pytest.fail(f"{FACTOR}: a checkout of the commit alone does not run{cause}\n{failure}", pytrace=False)

    hosts = ["localhost", "staging.example.com", "www.example.com"]
    answers = [[process.get("/", headers={"Host": host}).status for host in hosts] for process in started]
    assert answers == [[200, 400, 400], [400, 200, 400], [400, 400, 200]], (
        f"{FACTOR}: the same commit does not become three deploys by its environment alone: {answers}"
    )
    changed = "".join(git(code, "status", "--porcelain", "--untracked-files=no") for code in codes)
    assert not changed, f"{FACTOR}: running changed files that git tracks: {changed}"


def ignored_code() -> list[Path]:
    """Return the Python files that git does not hold."""
    found = [path.relative_to(PROJECT) for path in PROJECT.rglob("*.py")]
    return [path for path in found if path not in tracked() and ".venv" not in path.parts]


def test_running_changes_no_tracked_file(day):
    assert not day.of("I"), f"{FACTOR}: a file of the commit changed while the processes ran: {day.of('I')}"


def test_the_repository_is_complete():
    modules = [path for path in tracked() if path.name == ".gitmodules"]
    assert not modules, f"{FACTOR}: code comes from other repositories: {modules}"
    outside = [path for path in tracked() if not (PROJECT / path).resolve().is_relative_to(PROJECT.resolve())]
    assert not outside, f"{FACTOR}: links lead out of the repository: {', '.join(map(str, outside))}"
    sources = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    sources = sources.get("tool", {}).get("uv", {}).get("sources", {})
    elsewhere = [name for name, source in sources.items() if isinstance(source, dict) and leads_out(source)]
    assert not elsewhere, f"{FACTOR}: pyproject.toml takes {', '.join(elsewhere)} from a path outside of the repository"


def leads_out(source: dict[str, str]) -> bool:
    """Tell whether a source of a dependency is a directory outside of the project."""
    return "path" in source and not (PROJECT / source["path"]).resolve().is_relative_to(PROJECT.resolve())


def test_the_repository_holds_one_app():
    apps = [path for path in tracked() if path.name == "manage.py"]
    assert len(apps) <= 1, f"{FACTOR}: several apps share the repository: {', '.join(map(str, apps))}"
