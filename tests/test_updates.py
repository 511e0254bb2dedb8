"""A project takes the template's improvements: its edits, its key and its .env stay."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from generation import (
    CHOICES,
    PROJECT_DIRECTORY,
    TEMPLATE,
    copy_template,
    run,
    user_environment,
)

ADDRESS = "https://github.com/org/template"
OLD, NEW = "2.0.0", "2.1.0"


@dataclass
class Shell:
    """A user's shell, for which the template's address on the network is a directory."""

    directory: Path
    environment: dict[str, str]

    def run(self, *command: str, answer: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command to its end, whatever comes of it."""
        environment = {**self.environment, "PWD": str(self.directory)}
        return run([*command], self.directory, environment, answer=answer)

    def __call__(self, *command: str, answer: str = "") -> str:
        """Run a command that has to succeed; return what it printed."""
        result = self.run(*command, answer=answer)
        assert result.returncode == 0, f"{command}\n{result.stdout}{result.stderr}"
        return result.stdout

    def commit(self) -> None:
        """Commit everything that git does not ignore."""
        self("git", "add", "--all")
        self("git", "commit", "--quiet", "--message", "work")


def edit(file: Path, change: Callable[[str], str]) -> None:
    """Change the text of a file."""
    before = file.read_text(encoding="utf-8")
    after = change(before)
    assert after != before
    file.write_text(after, encoding="utf-8")


def change_template(project: Path) -> None:
    """Do what a new version of the template may do: change, add and delete files."""
    edit(project / "gunicorn.conf.py", lambda text: f"{text}# new\n")
    edit(project / "config/settings.py", lambda text: text.replace('"""', '"""New: ', 1))
    edit(project / ".env.example", lambda text: f"{text}\n# New.\n# NEW_VARIABLE=1\n")
    (project / "pages/new.py").write_text('"""New."""\n')
    (project / ".editorconfig").unlink()


def work(project: Path) -> None:
    """Do what a user does: change files at other places, and add some."""
    edit(project / "config/settings.py", lambda text: f"{text}# mine\n")
    edit(project / "README.md", lambda text: text.replace("\n", "\n\nMine.\n", 1))
    (project / "shop").mkdir()
    (project / "shop/models.py").write_text('"""Mine."""\n')
    edit(project / ".env", lambda text: f"{text}MINE=1\n")


def assert_is_updated(project: Path) -> None:
    """Fail unless a project has the new version's files and the user's work."""
    settings = (project / "config/settings.py").read_text()
    assert settings.startswith('"""New: ')
    assert settings.endswith("# mine\n")
    assert (project / "gunicorn.conf.py").read_text().endswith("# new\n")
    assert "NEW_VARIABLE" in (project / ".env.example").read_text()
    assert (project / "pages/new.py").is_file()
    assert not (project / ".editorconfig").exists()
    assert "\n\nMine.\n" in (project / "README.md").read_text()
    assert (project / "shop/models.py").is_file()
    left = [path.name for path in project.rglob("*") if path.suffix in {".rej", ".orig"}]
    assert left == []


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Return a shell in a new directory, with two versions of the template on its network."""
    home = tmp_path / "home"
    repository = tmp_path / "network/org/template"
    home.mkdir()
    copy_template(repository)
    environment = user_environment(home) | {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{tmp_path}/network/.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/",
        "TMPDIR": str(home),
    }
    environment |= {f"GIT_{who}_NAME": "Ada" for who in ("AUTHOR", "COMMITTER")}
    environment |= {f"GIT_{who}_EMAIL": "ada@example.com" for who in ("AUTHOR", "COMMITTER")}
    # The programs that README runs with uvx, in the versions of these tests
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("cruft", "cookiecutter"):
        (programs / name).symlink_to(Path(sys.executable).with_name(name))
    (programs / "uvx").write_text('#!/bin/sh\nexec "$@"\n')
    (programs / "uvx").chmod(0o755)
    environment["PATH"] = f"{programs}:{environment['PATH']}"
    maintainer = Shell(repository, environment)
    maintainer("git", "init", "--quiet", "--initial-branch=main")
    maintainer.commit()
    maintainer("git", "tag", OLD)
    change_template(repository / PROJECT_DIRECTORY)
    maintainer.commit()
    maintainer("git", "tag", NEW)
    return Shell(tmp_path, environment)


def test_an_update_keeps_the_users_work_and_brings_the_new_version(shell, tmp_path):
    shell("cruft", "create", ADDRESS, "--checkout", OLD, "--no-input")
    shell.directory = project = tmp_path / "my_project"
    shell.commit()
    work(project)
    shell.commit()
    env = (project / ".env").read_bytes()
    key = re.search(rb"(?m)^SECRET_KEY=(.+)$", env)[1].decode()  # type: ignore[index]

    outdated = shell.run("cruft", "check")
    assert outdated.returncode == 1
    difference = shell("cruft", "diff")
    assert "-# mine" in difference  # what the template would have
    assert "SECRET_KEY" not in difference

    update = shell.run("cruft", "update", "--checkout", NEW, "--skip-apply-ask")
    assert update.returncode == 0, update.stderr
    assert "uv run honcho start" not in update.stdout  # in a directory that is already gone
    assert_is_updated(project)
    assert (project / ".env").read_bytes() == env
    shell("cruft", "check", "--checkout", NEW)
    shell.commit()
    assert shell("git", "status", "--porcelain") == ""

    difference = shell("cruft", "diff", "--checkout", NEW)
    assert "-# mine" in difference  # what the template would have
    assert "SECRET_KEY" not in difference
    # The key is in no commit, no state of cruft's, no replay file and no log: in .env alone.
    assert key not in shell("git", "log", "--all", "--patch")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in files if key in path.read_text("latin1")] == [project / ".env"]


def commands(heading: str) -> list[list[str]]:
    """Return the commands of a section of the generated README, by block."""
    readme = (TEMPLATE / PROJECT_DIRECTORY / "README.md").read_text(encoding="utf-8")
    section = readme.partition(f"{heading}\n")[2].partition("\n#")[0]
    blocks = re.findall(r"(?s)```console\n(.*?)```", section)
    return [re.findall(r"(?m)^\$ (.+)$", block) for block in blocks]


def test_the_commands_of_the_readme_link_a_project_of_cookiecutter_and_update_it(shell, tmp_path):
    shell("cookiecutter", ADDRESS, "--checkout", OLD, "--no-input", "database=sqlite")
    shell.directory = project = tmp_path / "my_project"
    work(project)
    shell.commit()
    env = (project / ".env").read_bytes()
    link, update = commands("### Take the template's improvements")
    assert next(iter(CHOICES)) == "database"
    database = str(CHOICES["database"].index("sqlite") + 1)
    asked = ["", "", database, *[""] * len(CHOICES)]  # the last one is for the commit
    shell("sh", "-ec", link[0], answer="\n".join(asked) + "\n")
    for command in link[1:]:
        shell("sh", "-ec", command)
    for command in update:
        if command != "uv run pytest":
            shell("sh", "-ec", command, answer="y\n")
    assert_is_updated(project)
    assert (project / ".env").read_bytes() == env
    dependencies = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    assert not re.search("psycopg|pymysql", str(dependencies))


def test_lines_that_both_have_changed_are_left_to_the_user_and_nothing_is_lost(shell, tmp_path):
    shell("cruft", "create", ADDRESS, "--checkout", OLD, "--no-input")
    shell.directory = project = tmp_path / "my_project"
    edit(project / "gunicorn.conf.py", lambda text: f"{text}# mine\n")
    work(project)
    shell.commit()
    env = (project / ".env").read_bytes()
    shell.run("cruft", "update", "--checkout", NEW, "--skip-apply-ask")
    text = (project / "gunicorn.conf.py").read_text()
    rejected = project / "gunicorn.conf.py.rej"
    assert "# mine" in text
    assert "# new" in text + (rejected.read_text() if rejected.exists() else "")
    assert (project / ".env").read_bytes() == env
    assert "# mine" in (project / "config/settings.py").read_text()


def test_the_version_is_the_same_wherever_it_is_written():
    changelog = (TEMPLATE / "CHANGELOG.md").read_text(encoding="utf-8")
    version = re.search(r"(?m)^## (\S+)", changelog)[1]  # type: ignore[index]
    pyproject = tomllib.loads((TEMPLATE / "pyproject.toml").read_text(encoding="utf-8"))
    assert pyproject["project"]["version"] == version
    readme = (TEMPLATE / PROJECT_DIRECTORY / "README.md").read_text(encoding="utf-8")
    assert f"[django-twelve]({ADDRESS}) {version}." in readme
    assert f"cruft link {ADDRESS} --checkout {version}\n" in readme
