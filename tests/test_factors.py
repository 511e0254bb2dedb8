"""The tests of the twelve factors in a generated project: what they notice, and what they leave alone.

That they pass in a project as it was generated is shown by test_generation.py, for each answer. Here projects are
edited as teams edit them: breakages (breakages.py) must fail the module of their own factor and no other; correct
code (correct_code.py) must fail none.

Breakages share a project, and so do pieces of correct code: a run takes half a minute. Whatever a module says must then
be about a breakage of its own factor. Of the modules that must pass, one runs, another for each group.
EACH_ALONE=1 in the environment gives each breakage a project of its own and runs all twelve.
"""

import os
import re
import shutil
import socket
from collections.abc import Callable
from contextlib import chdir, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

import psutil
import pytest
from breakages import BREAKAGES, Breakage
from correct_code import (
    FULL_DISK,
    GIT_VERSION,
    HABITS,
    LIBRARIES,
    LONG_MIGRATION,
    WITHOUT_THE_EXAMPLES,
    WORDS,
)
from edits import Edit, add, replace, setting
from generation import (
    PROJECT_DIRECTORY,
    TEMPLATE,
    Project,
    all_requirements,
    executable,
    find_python,
    once,
    processes_in,
    project_python,
    run,
    user_environment,
    wait_until,
)

FACTORS = TEMPLATE / PROJECT_DIRECTORY / "tests" / "factors"
NUMERALS = "I II III IV V VI VII VIII IX X XI XII".split()
MODULES = {int(path.name[5:7]): path.name for path in sorted(FACTORS.glob("test_*.py"))}
SAMPLE = 1
LISTS = {2, 3, 4, 6, 10}  # these factors name all that they find, so that several of theirs can share a project
MOST = 5  # of these in a project
# What the projects of correct code use beyond the template's own dependencies.
LIBRARIES_OF_TEAMS = ["djangorestframework", "sentry-sdk"]

Failures = dict[int, list[str]]
Edited = Callable[[list[Edit]], Project]


def run_factors(project: Project, *selected: str, seconds: float = 900, **variables: str) -> tuple[Failures, str]:
    """Run tests of factors, or all; return the messages of what failed, by factor, and the output."""
    report = project.home / "report.xml"
    paths = [f"tests/factors/{name}" for name in selected] or ["tests/factors"]
    options = f"-q --tb=short -p no:cacheprovider --junitxml={report}".split()
    with TemporaryDirectory(prefix="f") as temporary:  # a short name, since those of sockets may have 107 characters
        variables["TMPDIR"] = temporary
        result = project.run("python", "-m", "pytest", *options, *paths, seconds=seconds, **with_uv(), **variables)
        output = result.stdout + result.stderr
        assert result.returncode in (0, 1), output
        assert [path.name[:10] for path in Path(temporary).iterdir()] in ([], ["pytest-of-"]), "what was made, stayed"
        assert not processes_in(Path(temporary)), "a process remains"
    failures: Failures = {}
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314  pytest wrote it
        for problem in [*case.iter("failure"), *case.iter("error")]:
            number = int(re.search(r"\.test_(\d\d)_", f".{case.get('classname')}")[1])
            failures.setdefault(number, []).append(f"{problem.get('message')}\n{problem.text}")
    assert bool(failures) == bool(result.returncode), output
    return failures, output


@pytest.fixture
def edited(generate: Callable[..., Project], shared: Path) -> Edited:
    """Return a function that generates a project, edits it and locks its dependencies, as teams do."""

    def get(edits: list[Edit]) -> Project:
        project = generate(database="sqlite")
        unlocked = (project.path / "pyproject.toml").read_bytes()

        def lock(directory: Path) -> None:
            result = project.run("uv", "lock", **with_uv())
            assert result.returncode == 0, result.stderr
            directory.mkdir()
            shutil.copy(project.path / "uv.lock", directory)

        shutil.copy(once(shared / "locked", lock) / "uv.lock", project.path)
        for edit in edits:
            edit.apply(project.path)
        if (project.path / "pyproject.toml").read_bytes() != unlocked:
            result = project.run("uv", "lock", **with_uv())
            assert result.returncode == 0, result.stderr
        return project

    return get


def with_uv() -> dict[str, str]:
    """Return the variables with which uv reaches packages: where it keeps them, and how this machine gets others."""
    kept = ("UV_", "PIP_", "HTTP", "http", "SSL_", "NO_PROXY", "no_proxy", "ALL_PROXY")
    variables = user_environment(Path.home())
    return {name: value for name, value in variables.items() if name.startswith(kept)}


def fits(breakage: Breakage, group: list[Breakage]) -> bool:
    """Tell whether a breakage is seen in a project beside those of a group."""
    if breakage.alone or group[0].alone or "EACH_ALONE" in os.environ:
        return False
    same = [other for other in group if other.factor == breakage.factor]
    return len(same) < (MOST if breakage.factor in LISTS else 1)


def groups() -> list[list[Breakage]]:
    """Return the breakages, in one project where one does not hide another."""
    found: list[list[Breakage]] = []
    for breakage in BREAKAGES:
        group = next((group for group in found if fits(breakage, group)), None)
        if group:
            group.append(breakage)
        else:
            found.append([breakage])
    return found


def modules_for(group: list[Breakage], number: int) -> list[str]:
    """Return the modules that must fail, and a sample, another one for each group, of those that must pass."""
    own = {breakage.factor for breakage in group}
    others = [factor for factor in MODULES if factor not in own]
    if "EACH_ALONE" not in os.environ:
        others = [others[(number + step) % len(others)] for step in range(min(SAMPLE, len(others)))]
    return [MODULES[factor] for factor in sorted({*own, *others})]


def parameters() -> list[object]:
    """Return the groups for pytest: the smallest of several breakages is for the quick part of the suite."""
    found = groups()
    quick = min((group for group in found if len(group) > 1), key=len, default=None)
    return [
        pytest.param(
            group,
            modules_for(group, number),
            id=", ".join(breakage.name for breakage in group),
            marks=() if group == quick else pytest.mark.slow,
        )
        for number, group in enumerate(found)
    ]


@pytest.mark.parametrize(("group", "selected"), parameters())
def test_a_broken_factor_is_named(group: list[Breakage], selected: list[str], edited: Edited) -> None:
    project = edited([edit for breakage in group for edit in breakage.edits])
    failures, output = run_factors(project, *selected)
    for breakage in group:
        messages = failures.get(breakage.factor, [])
        noticed = any(re.search(breakage.says, message) for message in messages)
        assert noticed, f"{breakage.name} was not noticed:\n{output}"
    for factor in {breakage.factor for breakage in group}:
        theirs = [breakage for breakage in group if breakage.factor == factor]
        for message in failures.pop(factor):
            assert NUMERALS[factor - 1] in message.split(), message
            assert any(re.search(each.says, message) for each in theirs), f"about something else:\n{message}"
    assert not failures, f"blamed for what others broke:\n{output}"


@pytest.fixture(scope="session")
def libraries_of_teams(shared: Path) -> Path:
    """Return a virtual environment that has more than the template's projects declare."""
    python = find_python(project_python())

    def build(directory: Path) -> None:
        environment = user_environment(shared)
        requirements = [*all_requirements(), *LIBRARIES_OF_TEAMS]
        for command in (
            ["venv", "--python", str(python), str(directory)],
            ["pip", "install", "--python", str(directory), *requirements],
        ):
            result = run([executable("uv"), *command], shared, environment, seconds=300)
            assert result.returncode == 0, result.stderr

    return once(shared / "libraries-of-teams", build)


@pytest.mark.slow
def test_correct_code_breaks_no_factor(edited: Edited, libraries_of_teams: Path) -> None:
    project = edited(WORDS + HABITS + LIBRARIES)
    project.virtual_environment = libraries_of_teams
    with chdir(project.path), socket.socket(socket.AF_UNIX) as left:  # of a server that was killed
        left.bind("left.sock")
    failures, output = run_factors(project)
    assert not failures, output


@pytest.mark.slow
def test_a_project_without_the_examples_breaks_no_factor(edited: Edited) -> None:
    failures, output = run_factors(edited(WITHOUT_THE_EXAMPLES))
    assert not failures, output


def serving(directory: Path) -> bool:
    """Tell whether gunicorn and its worker run there: just then no other process is being started."""
    with suppress(psutil.Error):
        return sum(process.name() == "gunicorn" for process in processes_in(directory)) > 1
    return False


@pytest.mark.slow
def test_a_run_that_is_ended_leaves_no_process(edited: Edited) -> None:
    project = edited([])
    with TemporaryDirectory(prefix="f") as temporary:
        factors = project.start("python", "-m", "pytest", "-q", "tests/factors", TMPDIR=temporary, **with_uv())
        wait_until(lambda: serving(Path(temporary)), 60, lambda: "".join(factors.lines))
        factors.popen.terminate()
        factors.wait()
        assert processes_in(Path(temporary)) == []


@pytest.mark.slow
def test_a_release_may_take_more_than_a_minute(edited: Edited) -> None:
    project = edited(LONG_MIGRATION)
    failures, output = run_factors(project, MODULES[7])
    assert not failures, output


@pytest.mark.slow
def test_what_fails_in_preparing_is_tried_once_and_is_the_matter_of_one_factor(edited: Edited, tmp_path: Path) -> None:
    tries = tmp_path / "tries"
    project = edited(
        [
            *add("config/finders.py", FULL_DISK.format(tries=str(tries))),
            *setting('STATICFILES_FINDERS = ["config.finders.FullDisk"]'),
        ]
    )
    failures, output = run_factors(project)
    assert list(failures) == [5], output
    assert len(failures[5]) == 1, output
    assert "the disk is full" in failures[5][0]
    assert len(tries.read_text().splitlines()) == 1


def allow(line: str) -> list[Edit]:
    """Write down in pyproject.toml what a team does on purpose."""
    return replace("pyproject.toml", "[tool.factors]\n", f"[tool.factors]\n{line}\n")


def test_an_exception_with_its_reason_is_allowed_and_printed(edited: Edited) -> None:
    project = edited([*GIT_VERSION, *allow('programs = ["git"]  # the image has it')])
    failures, output = run_factors(project, MODULES[2])
    assert not failures, output
    assert "programs" in output and "git" in output


def test_an_exception_that_nothing_needs_is_an_error(edited: Edited) -> None:
    project = edited(allow('programs = ["pg_dump"]'))
    failures, output = run_factors(project, MODULES[2])
    assert list(failures) == [2], output
    assert "pg_dump" in failures[2][0]


def test_an_unknown_key_is_an_error(edited: Edited) -> None:
    project = edited(allow('programmes = ["git"]'))
    result = project.run("python", "-m", "pytest", "-q")
    output = result.stdout + result.stderr
    assert result.returncode == pytest.ExitCode.USAGE_ERROR, output
    assert "programmes" in output
    assert "programs" in output  # what it may be instead
    assert "Traceback" not in output
    assert "INTERNALERROR" not in output


def test_a_factor_that_is_not_wanted_is_one_file_less(generate: Callable[..., Project]) -> None:
    project = generate(database="sqlite")
    for name in MODULES.values():
        module = project.path / "tests" / "factors" / name
        aside = shutil.move(module, project.home)
        # Imports everything and finds the fixtures of each test, and makes none.
        result = project.run("python", "-m", "pytest", "-q", "--setup-plan", "-p", "no:cacheprovider", "tests/factors")
        assert result.returncode == 0, f"without {name}:\n{result.stdout}{result.stderr}"
        shutil.move(aside, module)


def test_what_only_a_deleted_module_would_tell_fails_the_run(edited: Edited) -> None:
    project = edited(replace("Procfile", "web: gunicorn config.wsgi", "web: exit 1"))
    (project.path / "tests/factors" / MODULES[7]).unlink()
    result = project.run("python", "-m", "pytest", "-q", f"tests/factors/{MODULES[11]}", **with_uv())
    assert result.returncode == pytest.ExitCode.TESTS_FAILED, result.stdout
    assert "2 skipped" in result.stdout
    assert "none of its factor failed:\nVII Port binding: `exit 1` ends with exit code 1" in result.stdout


def test_every_module_says_what_it_tests_and_what_it_cannot() -> None:
    assert list(MODULES) == list(range(1, 13))
    for name in MODULES.values():
        documentation = (FACTORS / name).read_text(encoding="utf-8").split('"""')[1]
        for part in ("https://12factor.net/", "Tested:", "Not testable here:"):
            _, found, says = documentation.partition(part)
            assert found and len(says.split("\n\n")[0]) > 2, f"{name} does not say {part}"


# A mistake that only the text shows, and the tool with which a generated project finds it.
MISTAKES_IN_THE_TEXT = {
    "a variable read outside of config": (
        "ruff check --output-format concise",
        r"pages/views\.py.*TID251",
        add("pages/views.py", '\n\nGREETING = os.environ["GREETING"]\n')
        + replace("pages/views.py", "from django.conf", "import os\n\nfrom django.conf"),
    ),
    "a variable read by getenv": (
        "ruff check --output-format concise",
        r"pages/views\.py.*TID251",
        add("pages/views.py", '\n\nGREETING = os.getenv("GREETING")\n')
        + replace("pages/views.py", "from django.conf", "import os\n\nfrom django.conf"),
    ),
    "a global that a request writes": (
        "ruff check --output-format concise",
        r"pages/views\.py.*PLW0603",
        add(
            "pages/views.py",
            '\n\nVISITS = 0\n\n\ndef count() -> None:\n    """Count."""\n    global VISITS\n    VISITS += 1\n',
        ),
    ),
    "a password in the source": (
        "ruff check --output-format concise",
        r"pages/views\.py.*S105",
        add("pages/views.py", '\n\nPASSWORD = "hunter2"\n'),
    ),
    "an import that another distribution happens to bring": (
        "deptry .",
        r"pages/views\.py.*DEP003.*sqlparse|sqlparse",
        replace("pages/views.py", "from django.conf", "import sqlparse\nfrom django.conf"),
    ),
    "a library of the tests in the application": (
        "deptry .",
        r"pages/views\.py.*DEP004.*pytest|pytest",
        replace("pages/views.py", "from django.conf", "import pytest\nfrom django.conf"),
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES_IN_THE_TEXT)
def test_a_mistake_that_only_the_text_shows_is_found_by_a_tool(mistake: str, generate: Callable[..., Project]) -> None:
    command, says, edits = MISTAKES_IN_THE_TEXT[mistake]
    project = generate(database="mysql", media_storage="s3")
    before = project.run(*command.split(), NO_COLOR="1")
    assert before.returncode == 0, before.stdout + before.stderr
    for edit in edits:
        edit.apply(project.path)
    after = project.run(*command.split(), NO_COLOR="1")
    assert after.returncode == 1
    assert re.search(says, after.stdout + after.stderr), after.stdout + after.stderr
