"""The READMEs are executed: their commands as written, their tables and trees against the code.

Blocks marked `console` are run, line by line where a line starts with `$ `, in one shell, on a
terminal, as a new user who has uv and an index of packages.
"""

import itertools
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from deploys import SUPERUSER, create_superuser, log_in
from generation import (
    CHOICES,
    PROJECT_DIRECTORY,
    QUESTIONS,
    TEMPLATE,
    WITHOUT_FACTORS,
    Project,
    combinations,
    find_python,
    free_port,
    project_python,
    run,
    user_environment,
)
from shell import Shell, blocks, commands

from hooks import loaded_hook

Generate = Callable[..., Project]
README = (TEMPLATE / "README.md").read_text(encoding="utf-8")


def section(text: str, title: str) -> str:
    """Return what comes after a heading, up to the next of its level or above."""
    found = re.search(rf"(?ms)^##(#?) {re.escape(title)}$(.*?)(?=^##\1? |\Z)", text)
    assert found, title
    return found[2]


@pytest.fixture
def user(shell, tmp_path: Path) -> Callable[..., Shell]:
    """Return a function: a new user's shell in a directory, with `variables`."""

    def get(directory: Path, **variables: str) -> Shell:
        home = tmp_path / "home"
        programs = home / "programs"
        programs.mkdir(parents=True)
        (programs / "python3").symlink_to(find_python(project_python()))
        environment = user_environment(home) | variables
        return shell(directory, environment | {"PATH": f"{programs}:{environment['PATH']}"})

    return get


@pytest.fixture
def hosted(template: Path, tmp_path: Path) -> dict[str, str]:
    """Return the variables with which git finds the template where GitHub would have it."""
    source, host = tmp_path / "source", tmp_path / "host"
    shutil.copytree(template, source, symlinks=True)
    (host / "org").mkdir(parents=True)
    environment = user_environment(tmp_path)
    me = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
    for command in (
        ["git", "init", "--quiet"],
        ["git", "add", "--all"],
        ["git", *me, "commit", "--quiet", "--message", "Template"],
        ["git", "clone", "--quiet", "--bare", ".", str(host / "org/template.git")],
    ):
        result = run(command, source, environment)
        assert result.returncode == 0, result.stderr
    return {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{host}/.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/",
    }


# The template's README


def session(block: str) -> dict[str, list[str]]:
    """Return the commands of a `console` block, each with the output that is shown below it."""
    found: dict[str, list[str]] = {}
    for line in block.splitlines():
        if line.startswith("$ "):
            lines = found[line.removeprefix("$ ")] = []
        elif line != "…":
            lines.append(line)
    return found


def masked(line: str) -> str:
    """Return a line of output without colours, times, ports and process ids."""
    return re.sub(r"\d+(\.\d+)?(m?s\b)?", "0", re.sub(r"\x1b\[[\d;]*[A-Za-z]", "", line)).strip()


def test_the_session_is_as_it_was_recorded(user, hosted, tmp_path: Path):
    place = tmp_path / "place"
    place.mkdir()
    typist = user(place, **hosted)
    (block,) = blocks(section(README, "Start"), "console")
    assert [*session(block)] == ["uvx cookiecutter gh:org/template", "cd my_project", "uv run honcho start"]
    for command, shown in session(block).items():
        output = iter([masked(line) for line in typist.type(command).output.splitlines()])
        for line in shown:  # in this order
            assert any(masked(line) in printed for printed in output), line
    assert typist.directory == place / "my_project"


def test_the_message_about_an_incomplete_environment_is_the_one_that_is_printed(generate: Generate):
    (message,) = [block for block in blocks(section(README, "What you get"), "text") if "problems" in block]
    printed = generate().manage("check", SECRET_KEY="any", DEBUG="ture").stderr
    assert printed.strip() == message.strip()


def tables(text: str) -> list[list[list[str]]]:
    """Return the cells of each table, without its heading."""
    found = re.findall(r"(?m)(?:^\|.+\|\n)+", text)
    return [[[cell.strip() for cell in line[1:-1].split(" | ")] for line in t.splitlines()[2:]] for t in found]


def test_the_table_of_questions_is_that_of_cookiecutter():
    questions, _ = tables(section(README, "The questions"))
    assert [row[0].strip("`") for row in questions] == [*QUESTIONS]
    offered = {row[0].strip("`"): re.findall(r"`([^`]+)`", row[1]) for row in questions}
    for name, choices in CHOICES.items():
        assert offered[name] == choices


def test_the_table_that_decides_names_answers_that_are_not_refused():
    _, places = tables(section(README, "The questions"))
    for _, *cells in places:
        answers = [re.findall(r"`(\w+)`(?! is refused)", cell) for cell in cells]
        assert all(answers), cells
        for deploy, database, storage in itertools.product(*answers):
            chosen = {"deploy": deploy, "database": database, "media_storage": storage}
            assert any(chosen.items() <= found.items() for found in combinations()), chosen


NUMBERS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def test_what_is_counted_of_this_template_is_right():
    claimed = re.findall(rf"\b({'|'.join(NUMBERS)}) questions\b", README)
    assert {*claimed} == {NUMBERS[len(QUESTIONS)]}
    (counted,) = tables(section(README, "How it differs"))
    ours = {row[0]: row[-1] for row in counted}
    assert ours["prompts"] == str(len(QUESTIONS))
    example = (TEMPLATE / PROJECT_DIRECTORY / ".env.example").read_text(encoding="utf-8")
    variables = re.findall(r"(?m)^(?:# )?([A-Z][A-Z0-9_]*)=", example)
    assert ours["variables read / undocumented"] == f"{len(variables)} / 0"
    settings = (TEMPLATE / PROJECT_DIRECTORY / "config/settings.py").read_text(encoding="utf-8")
    (silenced,) = re.findall(r"(?m)^SILENCED_SYSTEM_CHECKS = (.*)$", settings)
    assert ours["issues of `check --deploy`"] == f"0, with {NUMBERS[silenced.count('security.')]} checks silenced"
    assert all(check in README for check in re.findall(r"W\d+", silenced))


def test_the_tree_is_what_is_generated(generate: Generate):
    project = generate().path
    (tree,) = (block for block in blocks(README, "text") if "├──" in block)
    parent, named = project, set()
    for line in tree.splitlines()[1:]:
        nested, _, content = line.partition("── ")
        parent = parent if nested.startswith(("│", " ")) else project
        first = content.split()[0]
        # Others on the same line stand apart; single words between are what is said about them.
        words = re.findall(r"(?<=  )[^\s/]+[./]\S*(?= |$)", content)
        for word in {first, *words}:
            assert (parent / word).exists(), f"{word} in {line!r}"
            named.add(parent / word)
        if first.endswith("/"):
            parent = project / first
    folders = {path for path in project.iterdir() if path.is_dir() and path.name[0] != "."}
    modules = {path for path in (project / "config").glob("*.py") if path.name != "__init__.py"}
    assert folders | modules <= named


@pytest.mark.parametrize("which", ["template", "project"])
def test_it_is_short_and_every_link_inside_leads_somewhere(which, generate: Generate):
    place, limit = (TEMPLATE, 150) if which == "template" else (generate().path, 130)
    text = (place / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) < limit
    linked = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    assert linked
    assert [link for link in linked if not (place / link).exists()] == []


# The generated README


def readme(project: Project) -> str:
    """Return the project's README."""
    return (project.path / "README.md").read_text(encoding="utf-8")


def test_the_commands_of_the_project_work_as_written(user, generate: Generate):
    project = generate()
    text = readme(project).replace(section(readme(project), "Your first app"), "")  # has a test of its own
    found = [block for block in blocks(text, "console") if "cruft" not in block]  # test_updates.py
    with_uv = [block for block in found if "-m venv" not in block]  # the others: test_any_machine.py
    typist = user(project.path, **WITHOUT_FACTORS)
    for command in itertools.chain.from_iterable(map(commands, with_uv)):
        typist.type(command)
    assert typist.directory == project.path


def test_without_uv_the_commands_are_those_that_the_hook_prints(generate: Generate, monkeypatch):
    project = generate()
    (block,) = (block for block in blocks(readme(project), "console") if "-m venv" in block)
    hook = loaded_hook("post_gen_project.py")
    version = (project.path / ".python-version").read_text().strip()
    hook["works"].__globals__["works"] = lambda program, *_: program == f"python{version}"
    assert hook["next_steps"]("place", version).splitlines()[2:-2] == [f"  {command}" for command in commands(block)]


def test_the_first_app_is_in_the_admin(generate: Generate):
    project = generate()
    text = section(readme(project), "Your first app")
    (make,) = (command for block in blocks(text, "console") for command in commands(block))
    model, admin = blocks(text, "python")
    (migrations,) = re.findall(r"`uv run (honcho run python manage.py makemigrations)`", text)
    made = project.run(*make.removeprefix("uv run ").split())
    assert made.returncode == 0, made.stderr
    for name, code in (("models", model), ("admin", admin)):
        assert f"notes/{name}.py" in text
        with (project.path / f"notes/{name}.py").open("a") as file:
            file.write(code)
    (line,) = re.findall(r"Add `(.*?)` to `INSTALLED_APPS`", text)
    project.edit("config/settings.py", '    "pages",\n', f'    "pages",\n    {line}\n')
    (lint,) = re.findall(r"`uv run (ruff check --fix)`", text)
    for command in (migrations.split(), ["honcho", "run", "python", "manage.py", "migrate"], lint.split()):
        done = project.run(*command)
        assert done.returncode == 0, done.stdout + done.stderr
    create_superuser(project, **project.dotenv)
    ada = log_in(project.serve(**project.dotenv | {"PORT": str(free_port())}))
    assert "/admin/notes/note/" in ada.get("/admin/").text


def test_the_backup_of_sqlite_has_what_was_written(generate: Generate):
    project = generate(database="sqlite")
    assert project.manage("migrate").returncode == 0
    (command,) = re.findall(r"`uv run python (-c .*?)`", section(readme(project), "Back up"))
    done = project.run("python", *shlex.split(command))
    assert done.returncode == 0, done.stderr
    project.set_dotenv(DATABASE_URL="sqlite:///backup.sqlite3")
    restored = project.manage("migrate", "--check")
    assert restored.returncode == 0, restored.stderr


def documented_environment(project: Project) -> dict[str, str]:
    """Return the environment that the README shows for production, with a key made as it says."""
    (block,) = (b for b in blocks(readme(project), "sh") if "\nSECRET_KEY=" in b)
    variables = dict(re.findall(r"(?m)^([A-Z_]+)=(\S+)", block))
    recipe = re.search(r'(?m)^# uv run python -c "(.+)"$', block)
    assert recipe, block
    key = project.run("python", "-c", recipe[1]).stdout.strip()
    return variables | {"SECRET_KEY": key}


@pytest.mark.parametrize("database", CHOICES["database"])
def test_the_deploy_check_is_content_with_the_documented_environment(database, generate: Generate):
    project = generate(database=database)
    environment = documented_environment(project)
    scheme = environment["DATABASE_URL"].partition(":")[0]
    assert scheme == {"postgresql": "postgres"}.get(database, database)
    understood = project.run("python", "-c", "import config.settings", **environment)
    assert understood.returncode == 0, understood.stderr
    environment["DATABASE_URL"] = "sqlite:///db.sqlite3"  # some checks ask the database
    result = project.manage("check", "--deploy", "--fail-level", "DEBUG", **environment)
    assert result.returncode == 0, result.stderr
    assert "no issues" in result.stdout + result.stderr


def test_adding_a_token_takes_the_two_lines_that_are_shown(generate: Generate):
    project = generate()
    text = section(readme(project), "Add a token")
    (read,), (documented,) = re.findall(r"`(\w+ = .+?)`", text), re.findall(r"`(\w+=.+?)`", text)
    checks = ["pytest", "-q", "tests/test_contract.py"]
    name = documented.partition("=")[0]
    project.edit("config/settings.py", "env.verify()", f"{read}\n\nenv.verify()")
    assert project.run(*checks, **{name: "x"}).returncode != 0
    example = project.path / ".env.example"
    example.write_text(f"{example.read_text()}\n# What it is for.\n{documented}")
    result = project.run(*checks)
    assert result.returncode == 0, result.stdout
    refused = project.manage("check")
    assert refused.returncode != 0
    assert f"{name} is missing" in refused.stderr


# docs/porting.md

PORTING = (TEMPLATE / "docs/porting.md").read_text(encoding="utf-8")

# What `startproject` and `startapp` leave to write: an app with a page, a table that knows its user, and a test.
ORDERS = {
    "models.py": """
from django.conf import settings
from django.db import models

class Order(models.Model):
    customer = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
""",
    "admin.py": """
from django.contrib import admin
from .models import Order

admin.site.register(Order)
""",
    "urls.py": """
from django.http import HttpResponse
from django.urls import path

urlpatterns = [path('', lambda request: HttpResponse('It works: %s' % request.user))]
""",
    "tests.py": """
from django.test import TestCase

class PageTest(TestCase):
    def test_page(self):
        self.assertContains(self.client.get('/'), 'AnonymousUser')
""",
}


def make_existing(project: Project, shop: Path) -> None:
    """Make a project as it was before there were templates, with a user in its database, and commit it."""

    def run_all(*commands: str, directory: Path) -> None:
        for command in commands:
            result = project.run(*shlex.split(command), directory=directory, **SUPERUSER)
            assert result.returncode == 0, result.stderr

    run_all("django-admin startproject shop", directory=shop.parent)
    run_all("python manage.py startapp orders", directory=shop)
    for name, code in ORDERS.items():
        (shop / "orders" / name).write_text(code)
    with (shop / "shop/settings.py").open("a") as settings:
        settings.write("INSTALLED_APPS += ['orders']\n")
    (shop / ".gitignore").write_text("*.sqlite3\n__pycache__/\n")
    run_all(
        "python manage.py makemigrations orders",
        "python manage.py migrate",
        "python manage.py createsuperuser --noinput",
        "git init --quiet",
        "git add --all",
        "git -c user.name=Ada -c user.email=ada@example.com commit --quiet --message Shop",
        directory=shop,
    )


@pytest.mark.slow
def test_an_existing_project_moves_in_as_its_page_says(user, hosted, generate: Generate, tmp_path: Path):
    project, place = generate(), tmp_path / "place"
    place.mkdir()
    make_existing(project, place / "shop")
    typist, output = user(place, **hosted), {}
    for language, block in re.findall(r"(?ms)^```(console|diff)\n(.*?)^```$", PORTING):
        for command in commands(block) if language == "console" else [f"git apply {TEMPLATE / 'docs/porting.md'}"]:
            output[command] = [masked(line) for line in typist.type(command).output.splitlines()]
    assert "No changes detected" in output["uv run honcho run python manage.py makemigrations --check --dry-run"]
    plan = output["uv run honcho run python manage.py migrate --plan"]
    assert {line.partition(".0")[0] for line in plan if ".0" in line} == {"django_tasks_database", "jobs"}
    typist.type("uv run ruff check && uv run ruff format --check")
    left = map(masked, typist.type("git status --short").output.splitlines())
    settings = {f"shop/{name}.py" for name in ("__init__", "asgi", "settings", "urls", "wsgi")}
    assert {line.removeprefix("D ") for line in left if line.startswith("D ")} == settings
    project.path = typist.directory
    ada = log_in(project.serve(**project.dotenv | {"PORT": str(free_port())}))
    assert "It works: ada" in ada.get("/").text


def test_what_the_page_about_moving_names_is_in_a_project(generate: Generate):
    project = generate()
    assert len(PORTING.splitlines()) < 115
    files = re.findall(r"`((?:config|docs|tests)/[\w./]+|[\w.]+\.(?:py|toml|md)|Procfile\S*|\.env\S*)`", PORTING)
    assert [name for name in files if name != "conftest.py" and not (project.path / name).exists()] == []
