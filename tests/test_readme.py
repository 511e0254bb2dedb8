"""The READMEs are executed: their commands as written, their tables and trees against the code.

Blocks marked `console` are run, line by line where a line starts with `$ `, in one shell, on a
terminal, as a new user who has uv and an index of packages.
"""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from generation import (
    CHOICES,
    PROJECT_DIRECTORY,
    QUESTIONS,
    TEMPLATE,
    WITHOUT_FACTORS,
    Project,
    find_python,
    project_python,
    run,
    user_environment,
)
from shell import Shell, blocks, commands

Generate = Callable[..., Project]
README = (TEMPLATE / "README.md").read_text(encoding="utf-8")


def section(text: str, title: str) -> str:
    """Return what comes after a heading, up to the next of its level."""
    found = re.search(rf"(?ms)^(#+) {re.escape(title)}$(.*?)(?=^\1 |\Z)", text)
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


def test_the_commands_of_the_template_work_as_written(user, hosted, tmp_path: Path):
    place = tmp_path / "place"
    place.mkdir()
    typist = user(place, **hosted, **WITHOUT_FACTORS)
    typed = [c for block in blocks(section(README, "Start"), "console") for c in commands(block)]
    assert "uvx cookiecutter gh:org/template" in typed
    assert "uv run honcho start" in typed
    for command in typed:
        typist.type(command)
    assert typist.directory == place / "my_project"


def test_a_checkout_of_the_template_works_too(user, template: Path, tmp_path: Path):
    checkout = tmp_path / "checkout"
    shutil.copytree(template, checkout)
    assert "`uvx cookiecutter .`" in README
    process = user(checkout).type("uvx cookiecutter .")
    assert "uv run honcho start" in process.output
    assert (checkout / "my_project/.env").is_file()


def rows(text: str) -> list[list[str]]:
    """Return the cells of the first table, without its heading."""
    lines = re.findall(r"(?m)^\|(.+)\|$", text)
    return [[cell.strip() for cell in line.split("|")] for line in lines[2:]]


def test_the_table_of_questions_is_that_of_cookiecutter():
    table = rows(section(README, "The questions"))
    assert [row[0].strip("`") for row in table] == [*QUESTIONS]
    offered = {row[0].strip("`"): re.findall(r"`([^`]+)`", row[1]) for row in table}
    for name, choices in CHOICES.items():
        assert offered[name] == choices


NUMBERS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def test_the_number_of_questions_is_right():
    claimed = re.findall(r"\b([a-z]+) questions\b", README)
    assert claimed
    assert {*claimed} == {NUMBERS[len(QUESTIONS)]}
    (prompts,) = (row for row in rows(section(README, "How it differs")) if row[0] == "prompts")
    assert int(prompts[-1]) == len(QUESTIONS)


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
def test_every_link_inside_leads_somewhere(which, generate: Generate):
    place = TEMPLATE if which == "template" else generate().path
    text = (place / "README.md").read_text(encoding="utf-8")
    linked = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    if which == "template":  # its table of factors names tests of the generated project
        factors = re.findall(r"`(test_\d\d_\w+\.py)`", text)
        linked += [f"{PROJECT_DIRECTORY}/tests/factors/{name}" for name in factors]
    assert linked
    assert [link for link in linked if not (place / link).exists()] == []


# The generated README


def readme(project: Project) -> str:
    """Return the project's README."""
    return (project.path / "README.md").read_text(encoding="utf-8")


def is_without_uv(block: str) -> bool:
    """Return whether a block is the way of those who have no uv."""
    return "-m venv" in block


@pytest.mark.parametrize("with_uv", [True, False], ids=["with uv", "without uv"])
def test_the_commands_of_the_project_work_as_written(with_uv, user, generate: Generate):
    project = generate()
    here = [b for b in blocks(readme(project), "console") if "cruft" not in b]  # test_updates.py
    found = [b for b in here if is_without_uv(b) is not with_uv]
    typed = [command for block in found for command in commands(block)]
    assert any(command.endswith("honcho start") for command in typed)
    typist = user(project.path, **WITHOUT_FACTORS)
    for command in typed:
        typist.type(command)
    assert typist.directory == project.path


def documented_environment(project: Project) -> dict[str, str]:
    """Return the environment that the README shows for production, with a key made as it says."""
    (block,) = (b for b in blocks(readme(project), "sh") if "\nSECRET_KEY=" in b)
    variables = dict(re.findall(r"(?m)^([A-Z_]+)=(\S+)", block))
    recipe = re.search(r'(?m)^# python -c "(.+)"$', block)
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
    (read,), (documented,) = blocks(text, "python"), blocks(text, "sh")
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
