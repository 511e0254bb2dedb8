"""Generation: every combination of answers gives a sound project, and a bad answer gives none."""

import ast
import importlib.metadata
import json
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from generation import (
    CHOICES,
    PROJECT_DIRECTORY,
    TEMPLATE,
    WITHOUT_FACTORS,
    Project,
    all_requirements,
    combinations,
    cookiecutter,
    executable,
    find_python,
    name_of,
    render_pyproject,
    run,
    samples,
    user_environment,
)
from rendering import VERBATIM, every_text, render

Generate = Callable[..., Project]


@pytest.fixture
def try_to_generate(template: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs Cookiecutter in `tmp_path`, without questions."""

    def get(*options: str, **answers: str) -> subprocess.CompletedProcess[str]:
        given = [f"{name}={value}" for name, value in answers.items()]
        return cookiecutter(template, tmp_path, "--no-input", *options, *given)

    return get


def test_every_text_is_rendered_completely_and_parses():
    parsers: dict[str, Callable[[str], object]] = {
        ".toml": tomllib.loads,
        ".json": json.loads,
        ".yml": lambda text: list(yaml.safe_load_all(text)),
        ".yaml": lambda text: list(yaml.safe_load_all(text)),
    }
    for (name, text), answers in every_text().items():
        assert not re.search(r"cookiecutter[._]", text), (name, answers)
        if not any(map(Path(name).match, VERBATIM)):
            assert not re.search(r"\{\{|\{%|%\}|\}\}", text), (name, answers)
        assert "\r" not in text, name
        assert text == "" or text.endswith("\n"), name
        assert not re.search(r"(?m)[ \t]+$|\n\n\n\n|\A\n|\n\n\Z", text), (name, answers)
        if parse := parsers.get(Path(name).suffix):
            parse(text)


PYTHONS = CHOICES["python_version"]
each_sample = pytest.mark.parametrize("answers", samples(), ids=name_of)


@each_sample
def test_cookiecutter_and_the_hooks_give_these_texts(generate: Generate, answers):
    project = generate(**answers).path
    paths = [path for path in project.rglob("*") if path.is_file() and ".git" not in path.relative_to(project).parts]
    found = {str(path.relative_to(project)): path.read_bytes().decode() for path in paths}
    assert found.pop(".env")
    assert found == render(**answers)


@pytest.mark.slow
@each_sample
def test_every_answer_passes_its_own_tests(generate: Generate, answers):
    project = generate(python=answers["python_version"], **answers)
    (project.path / ".env").unlink()
    # The factors' code is the same for each answer, and test_databases.py runs it on both servers: here on the oldest
    # Python and the newest.
    factors = {} if answers["python_version"] in (min(PYTHONS), max(PYTHONS)) else WITHOUT_FACTORS
    result = project.run("pytest", "-q", "-rs", "-p", "no:cacheprovider", seconds=300, **factors)
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"\d+ passed", result.stdout)
    skipped = re.findall(r"(?m)^SKIPPED .*", result.stdout)
    assert [line for line in skipped if "uv.lock" not in line and "storages" not in line] == []


# What the answers to a question bring among the dependencies, or "" for nothing.
BROUGHT = {
    "database": {"postgresql": "psycopg[binary,pool]", "mysql": "pymysql[rsa]", "sqlite": ""},
    "media_storage": {"disk": "", "s3": "django-storages[s3]"},
}


def test_the_answers_decide_what_is_installed():
    for answers in combinations():
        dependencies = render_pyproject(answers)["project"]["dependencies"]
        installed = {re.split("[~=<>]", dependency)[0] for dependency in dependencies}
        optional = {name for brought in BROUGHT.values() for name in brought.values()} - {""}
        expected = {BROUGHT[question][answers[question]] for question in BROUGHT} - {""}
        assert installed & optional == expected, answers


def test_the_project_is_small_enough_to_be_read():
    read = [name for name, text in render().items() if text and not name.startswith("tests/")]
    assert len(read) < 60, read
    limits = {"config/settings.py": 190}
    for name, limit in limits.items():
        assert len(render()[name].splitlines()) < limit, name


# .env


def test_env_is_the_example_with_a_key_of_its_own(generate: Generate):
    project = generate()
    example = (project.path / ".env.example").read_text()
    written = (project.path / ".env").read_text()
    key = project.dotenv["SECRET_KEY"]
    assert written == re.sub(r"(?m)^SECRET_KEY=.*$", f"SECRET_KEY={key}", example)
    assert re.fullmatch(r"[A-Za-z0-9_-]{50,}", key)
    assert stat.S_IMODE((project.path / ".env").stat().st_mode) == 0o600


def test_the_key_is_nowhere_else_and_never_the_same(try_to_generate, tmp_path):
    keys = []
    for slug in ("one", "two"):
        assert try_to_generate(project_slug=slug).returncode == 0
        env = (tmp_path / slug / ".env").read_text()
        keys.append(re.search(r"(?m)^SECRET_KEY=(.+)$", env)[1])  # type: ignore[index]
    assert keys[0] != keys[1]
    holders = [p for p in tmp_path.rglob("*") if p.is_file() and keys[0] in p.read_text("latin1")]
    assert holders == [tmp_path / "one/.env"]


def test_git_ignores_env_and_nothing_else_of_the_project(generate: Generate):
    project = generate()
    result = project.run("git", "status", "--short", "--ignored", "--untracked-files=all")
    ignored = [line for line in result.stdout.splitlines() if line.startswith("!!")]
    assert ignored == ["!! .env"]


# git


def test_the_project_is_a_repository(generate: Generate):
    assert (generate().path / ".git/HEAD").is_file()


def test_no_repository_is_made_inside_another(try_to_generate, tmp_path):
    run(["git", "init"], tmp_path, user_environment(tmp_path))
    assert try_to_generate().returncode == 0
    assert (tmp_path / "my_project/.env").is_file()
    assert not (tmp_path / "my_project/.git").exists()


@pytest.mark.parametrize("git", ["missing", "failing"])
def test_a_project_without_git_is_complete_too(git, template, tmp_path):
    programs = tmp_path / "programs"
    programs.mkdir()
    if git == "failing":
        (programs / "git").write_text("#!/bin/sh\nexit 1\n")
        (programs / "git").chmod(0o755)
    for name in ("sh", "env"):
        (programs / name).symlink_to(executable(name))
    result = cookiecutter(template, tmp_path, "--no-input", PATH=str(programs))
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "my_project/.env").is_file()
    assert not (tmp_path / "my_project/.git").exists()


# Slugs


def normalized(name: str) -> str:
    """Return the name of a package as the pre-gen hook lists it."""
    return re.sub(r"[-_.]+", "_", name).lower()


def test_the_hook_knows_every_package_that_a_project_depends_on(tmp_path):
    requirements = ", ".join(json.dumps(requirement) for requirement in all_requirements())
    project = '[project]\nname = "x"\nversion = "0"\nrequires-python = ">=3.12"\n'
    (tmp_path / "pyproject.toml").write_text(f"{project}dependencies = [{requirements}]\n")
    result = run(["uv", "lock"], tmp_path, user_environment(tmp_path))
    assert result.returncode == 0, result.stderr
    locked = tomllib.loads((tmp_path / "uv.lock").read_text())["package"]
    hook = (TEMPLATE / "hooks/pre_gen_project.py").read_text()
    known = re.search(r'DEPENDENCIES = """(.*?)"""', hook, re.DOTALL)[1].split()  # type: ignore[index]
    assert {normalized(package["name"]) for package in locked} - {"x", *known} == set()


# Questions, and what is printed at the end


def test_the_questions_are_asked_for_people(template, tmp_path):
    # Names of our own, then the second choice of each question that has choices.
    answers = "\n".join(["Ada's shop", "", *("2" for _ in CHOICES)]) + "\n"
    result = cookiecutter(template, tmp_path, answer=answers)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "ada_s_shop/.env").is_file()
    prompts = json.loads((TEMPLATE / "cookiecutter.json").read_text())["__prompts__"]
    for name, choices in CHOICES.items():
        assert prompts[name]["__prompt__"] in result.stdout
        for choice in choices:
            assert prompts[name][choice] in result.stdout
        assert name not in result.stdout
    assert "(ada_s_shop)" in result.stdout
    version = (tmp_path / "ada_s_shop/.python-version").read_text().strip()
    assert version == CHOICES["python_version"][1]


def test_every_question_has_a_prompt_and_every_choice_a_label():
    template = json.loads((TEMPLATE / "cookiecutter.json").read_text())
    prompts = template["__prompts__"]
    assert prompts.keys() == {name for name in template if not name.startswith("_")}
    for name, choices in CHOICES.items():
        assert prompts[name].keys() == {"__prompt__", *choices}
        assert all(prompts[name].values())


@pytest.mark.parametrize("options", [[], ["-o", "elsewhere/dir with space"]], ids=["here", "there"])
def test_the_printed_commands_work_as_they_are(options, try_to_generate, tmp_path):
    result = try_to_generate(*options)
    commands = re.findall(r"(?m)^  (\S.*)$", result.stdout.partition("Next:")[2])
    assert commands[-1] == "uv run honcho start"
    script = "\n".join(commands[:-1]) + '\ntest -f manage.py && echo "in $PWD"'
    shell = run(["sh", "-ec", script], tmp_path, user_environment(tmp_path))
    assert shell.stdout == f"in {tmp_path}{'/' + options[1] if options else ''}/my_project\n"


# The hooks, and the template itself


def supported_pythons() -> list[str]:
    """Return the versions of Python that this Cookiecutter says it supports."""
    classifiers = importlib.metadata.metadata("cookiecutter").get_all("Classifier") or []
    found = re.findall(r"Python :: (3\.\d+)$", "\n".join(classifiers), re.MULTILINE)
    assert found
    return found


@pytest.mark.slow
@pytest.mark.parametrize("version", supported_pythons())
def test_the_hooks_run_under_every_python_of_cookiecutter(version, template, tmp_path):
    python = find_python(version)
    release = importlib.metadata.version("cookiecutter")
    command = ["uv", "tool", "run", "--python", str(python), f"cookiecutter@{release}"]
    command += [str(template), "--no-input", "project_slug=made"]
    environment = user_environment(tmp_path) | {"PYTHONWARNINGS": "error:::__main__"}
    result = run(command, tmp_path, environment)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "made/.env").is_file()
    refused = run([*command[:-1], "project_slug=django"], tmp_path, environment)
    assert refused.stderr.startswith("project_slug 'django' is the name of a package"), refused.stderr


def test_the_hooks_use_the_standard_library_alone():
    for hook in (TEMPLATE / "hooks").glob("*.py"):
        imported = set()
        for node in ast.walk(ast.parse(hook.read_text())):
            if isinstance(node, ast.Import):
                imported |= {name.name for name in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module)
        assert {name.split(".")[0] for name in imported} <= sys.stdlib_module_names


def test_the_template_is_itself_a_project_that_can_be_linted_and_checked(template, tmp_path, generate: Generate):
    project = generate()
    place = tmp_path / "template"
    shutil.copytree(template / PROJECT_DIRECTORY, place)
    generated = project.path / "pyproject.toml"
    for command in (
        f"ruff check --config {generated} .",
        f"ruff format --check --config {generated} .",
        "python -W error manage.py check",
    ):
        result = project.run(*command.split(), directory=place, **project.dotenv)
        assert result.returncode == 0, f"{command}\n{result.stdout}{result.stderr}"
