"""The READMEs are executed: their commands as written, their tables and trees against the code.

Blocks marked `console` are run, line by line where a line starts with `$ `, in one shell, on a
terminal, as a new user who has uv and an index of packages.
"""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from generation import (
    CHOICES,
    PROJECT_DIRECTORY,
    QUESTIONS,
    TEMPLATE,
    WITHOUT_FACTORS,
    Project,
    Server,
    find_python,
    free_port,
    project_python,
    run,
    user_environment,
)

Generate = Callable[..., Project]
README = (TEMPLATE / "README.md").read_text(encoding="utf-8")

# What a person answers: a prompt, and the keys.
DIALOGS = {
    "cookiecutter": [(rf"\[{n + 1}/{len(QUESTIONS)}\]", b"\r") for n in range(len(QUESTIONS))],
    "createsuperuser": [
        ("Username", b"ada\r"),
        ("Email", b"\r"),
        ("Password:", b"a-long-password\r"),
        (r"Password \(again\)", b"a-long-password\r"),
    ],
}


def blocks(text: str, language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", text)


def commands(block: str) -> list[str]:
    """Return the commands of a `console` block."""
    return re.findall(r"(?m)^\$ (.+)$", block)


def section(text: str, title: str) -> str:
    """Return what comes after a heading, up to the next of its level."""
    found = re.search(rf"(?ms)^(#+) {re.escape(title)}$(.*?)(?=^\1 |\Z)", text)
    assert found, title
    return found[2]


class Shell:
    """A shell on a terminal: takes a command at a time, keeps its directory and variables."""

    def __init__(self, directory: Path, home: Path, **variables: str) -> None:
        """Start in `directory` with what a new user has, and `variables`."""
        self.directory = directory
        self.state = home / "state"
        programs = home / "programs"
        programs.mkdir()
        (programs / "python3").symlink_to(find_python(project_python()))
        self.environment = user_environment(home) | variables
        self.environment["PATH"] = f"{programs}:{self.environment['PATH']}"
        self.processes: list[Server] = []

    def type(self, command: str) -> Server:
        """Run a command, answer what it asks, interrupt it when it serves; assert that it works."""
        script = (
            f"test ! -e {self.state} || . {self.state}\n{command}\n"
            f"code=$?; export -p > {self.state}; pwd > {self.state}.pwd; exit $code"
        )
        serves = command.endswith("honcho start")
        port = free_port()
        if serves:
            env = self.directory / ".env"
            text = re.sub(r"(?m)^PORT=.*$", f"PORT={port}", env.read_text(encoding="utf-8"))
            env.write_text(text, encoding="utf-8")
        process = Server(["sh", "-c", script], self.directory, self.environment, tty=True)
        self.processes.append(process)
        process.port = port
        for word, dialog in DIALOGS.items():
            for prompt, keys in dialog if word in command else ():
                process.wait_for(prompt, 120)
                process.type(keys)
        if serves:
            process.wait_until_ready(seconds=180)
            assert process.get("/", address="localhost").status == 200
            process.wait_until_quiet()
            process.type(b"\x03")
            process.wait()
        else:
            assert process.wait(300) == 0, f"{command}\n{process.output}"
            self.directory = Path(self.state.with_suffix(".pwd").read_text().strip())
        assert "Traceback" not in process.output, process.output
        return process


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Callable[..., Shell]]:
    """Return a function that opens a shell in a directory; what it started ends with the test."""
    opened: list[Shell] = []

    def get(directory: Path, **variables: str) -> Shell:
        home = tmp_path / f"home{len(opened)}"
        home.mkdir()
        opened.append(Shell(directory, home, **variables))
        return opened[-1]

    yield get
    for each in opened:
        for process in each.processes:
            process.close()


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


def test_the_commands_of_the_template_work_as_written(shell, hosted, tmp_path: Path):
    place = tmp_path / "place"
    place.mkdir()
    user = shell(place, **hosted, **WITHOUT_FACTORS)
    typed = [c for block in blocks(section(README, "Start"), "console") for c in commands(block)]
    assert "uvx cookiecutter gh:org/template" in typed
    assert "uv run honcho start" in typed
    for command in typed:
        user.type(command)
    assert user.directory == place / "my_project"


def test_a_checkout_of_the_template_works_too(shell, template: Path, tmp_path: Path):
    checkout = tmp_path / "checkout"
    shutil.copytree(template, checkout)
    assert "`uvx cookiecutter .`" in README
    process = shell(checkout).type("uvx cookiecutter .")
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
def test_the_commands_of_the_project_work_as_written(with_uv, shell, generate: Generate):
    project = generate()
    here = [b for b in blocks(readme(project), "console") if "cruft" not in b]  # test_updates.py
    found = [b for b in here if is_without_uv(b) is not with_uv]
    typed = [command for block in found for command in commands(block)]
    assert any(command.endswith("honcho start") for command in typed)
    user = shell(project.path, **WITHOUT_FACTORS)
    for command in typed:
        user.type(command)
    assert user.directory == project.path


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
