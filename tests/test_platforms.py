"""The same files come out of every way to run the template, on any path, and without a network."""

import hashlib
import os
import re
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from generation import (
    Project,
    cookiecutter,
    executable,
    free_port,
    once,
    original,
    project_python,
    run,
    user_environment,
)

Tree = dict[str, tuple[str, str]]


def tree(project: Path) -> Tree:
    """Return the mode and the content of each file of a project, but for the key and for git."""
    found = {}
    for path in project.rglob("*"):
        name = str(path.relative_to(project))
        if path.is_file() and not name.startswith(".git/"):
            content = path.read_bytes()
            if name == ".env":
                content = re.sub(rb"(?m)^SECRET_KEY=.*$", b"", content)
            found[name] = (
                oct(stat.S_IMODE(path.stat().st_mode)),
                hashlib.sha256(content).hexdigest(),
            )
    return found


@pytest.fixture
def expected(shared: Path, template: Path) -> Tree:
    """Return what a project contains."""
    return tree(original(shared, template))


@pytest.fixture
def repository(template: Path, tmp_path: Path) -> Path:
    """Return a git repository of the template, with a version."""
    repository = tmp_path / "network/org/template"
    shutil.copytree(template, repository)
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
    for command in (
        ["init", "--quiet", "--initial-branch=main"],
        ["add", "--all"],
        [*identity, "commit", "--quiet", "--message", "all"],
        ["tag", "2.0.0"],
    ):
        git(repository, *command)
    repository.with_name("template.git").symlink_to("template")  # GitHub has both addresses
    return repository


def git(directory: Path, *arguments: str, **variables: str) -> None:
    """Run git."""
    home = directory.parent / "home of git"
    home.mkdir(exist_ok=True)
    result = run(["git", *arguments], directory, user_environment(home) | variables)
    assert result.returncode == 0, result.stderr


# Files


@pytest.mark.parametrize("autocrlf", ["true", "input", "false"])
def test_files_have_lf_whatever_git_does_to_line_ends(autocrlf, repository, expected, tmp_path):
    config = tmp_path / "gitconfig"
    config.write_text(f"[core]\n\tautocrlf = {autocrlf}\n\teol = crlf\n")
    git(tmp_path, "clone", "--quiet", str(repository), "clone", GIT_CONFIG_GLOBAL=str(config))
    variables = {"GIT_CONFIG_GLOBAL": str(config)}
    result = cookiecutter(tmp_path / "clone", tmp_path, "--no-input", **variables)
    assert result.returncode == 0, result.stderr
    project = tmp_path / "my_project"
    assert tree(project) == expected
    # And what the user's colleagues clone
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
    git(project, "add", "--all", **variables)
    git(project, *identity, "commit", "--quiet", "--message", "all", **variables)
    git(tmp_path, "clone", "--quiet", str(project), "colleague", **variables)
    without_env = {name: entry for name, entry in expected.items() if name != ".env"}
    assert tree(tmp_path / "colleague") == without_env


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_modes_follow_the_umask_and_env_is_always_private(umask, template, tmp_path):
    before = os.umask(umask)
    try:
        result = cookiecutter(template, tmp_path, "--no-input")
    finally:
        os.umask(before)
    assert result.returncode == 0, result.stderr
    project = tmp_path / "my_project"
    assert stat.S_IMODE((project / ".env").stat().st_mode) == 0o600
    assert os.access(project / "manage.py", os.X_OK)
    executables = {name for name, (mode, _) in tree(project).items() if int(mode, 8) & 0o111}
    assert executables == {"manage.py"}


HOSTILE_PATHS = ["with space/and 'quotes' \"$(id)\"", "Ünïcödé/日本 🎉", "50%20 #1 ?a=b&c;d"]


@pytest.mark.parametrize("place", HOSTILE_PATHS)
def test_a_project_works_in_any_directory(place, template, tmp_path, virtual_environment):
    checkout = tmp_path / place / "template"
    shutil.copytree(template, checkout)
    result = cookiecutter(checkout, tmp_path, "--no-input", "-o", place)
    assert result.returncode == 0, result.stderr
    change = next(line for line in result.stdout.splitlines() if line.startswith("  cd "))
    shell = run(["sh", "-ec", f"{change}; pwd"], tmp_path, user_environment(tmp_path))
    assert shell.stdout == f"{tmp_path}/{place}/my_project\n"
    home = tmp_path / place / "home"
    home.mkdir()
    project = Project(tmp_path / place / "my_project", home, virtual_environment(project_python()))
    try:
        migrated = project.run("honcho", "run", "python", "manage.py", "migrate")
        assert migrated.returncode == 0, migrated.stdout + migrated.stderr
        assert (project.path / "db.sqlite3").is_file()
        server = project.serve(**project.dotenv | {"PORT": str(free_port())})
        assert server.get("/").status == 200
        assert server.get("/readyz").status == 200
    finally:
        project.close()


def test_the_language_of_the_machine_does_not_matter(template, tmp_path, expected):
    variables = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    result = cookiecutter(template, tmp_path, "--no-input", "-o", "Ünïcödé", **variables)
    assert result.returncode == 0, result.stderr
    assert "Next:" in result.stdout
    (project,) = tmp_path.glob("*/my_project")
    assert tree(project) == expected


# Ways to run Cookiecutter, and to get the template


def uvx(_: Path) -> list[str]:
    """uvx cookiecutter."""
    return [executable("uv"), "tool", "run", "--python", sys.executable, "cookiecutter"]


def pipx(shared: Path) -> list[str]:
    """pipx run cookiecutter."""
    command = [str(Path(sys.executable).with_name("pipx")), "run", "--python", sys.executable]
    return [*command, "cookiecutter"]


def plain(shared: Path) -> list[str]:
    """Pip install cookiecutter in a virtual environment."""

    def build(directory: Path) -> None:
        uv = executable("uv")
        environment = user_environment(shared)
        make = [uv, "venv", "--seed", "--python", sys.executable, str(directory)]
        install = [f"{directory}/bin/python", "-m", "pip", "install", "--quiet", "cookiecutter"]
        for command in (make, install):
            result = run(command, shared, environment, seconds=300)
            assert result.returncode == 0, result.stderr

    return [f"{once(shared / 'plain', build)}/bin/cookiecutter"]


def checkout(repository: Path) -> str:
    """The directory of a clone."""
    return str(repository)


def address(_: Path) -> str:
    """An address that Cookiecutter clones."""
    return "https://github.com/org/template.git"


def abbreviation(_: Path) -> str:
    """The short form of that address."""
    return "gh:org/template"


def archive(repository: Path) -> str:
    """A zip file as GitHub makes it: below one directory, with the modes of git."""
    name = str(repository.parent / "template.zip")
    git(repository, "archive", "--format=zip", "--prefix=template-2.0.0/", "-o", name, "2.0.0")
    with zipfile.ZipFile(name) as file:
        assert "template-2.0.0/cookiecutter.json" in file.namelist()
    return name


@pytest.mark.parametrize(
    ("tool", "source"),
    [(uvx, abbreviation), (pipx, archive), (plain, checkout), (plain, address), (uvx, archive)],
    ids=lambda function: function.__name__,
)
def test_every_way_gives_the_same_project(tool: Callable, source: Callable, shared, repository, expected, tmp_path):
    environment = user_environment(shared) | {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{tmp_path}/network/.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/",
        "HOME": str(tmp_path),
        "PWD": str(tmp_path),
    }
    command = [*tool(shared), source(repository), "--no-input"]
    result = run(command, tmp_path, environment, seconds=300)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "  cd my_project\n" in result.stdout
    assert tree(tmp_path / "my_project") == expected


# Without a network


def without_network(command: list[str], directory: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command where there is no network at all."""
    namespace = ["unshare", "--map-root-user", "--net"]
    if not shutil.which("unshare") or run([*namespace, "true"], directory, dict(os.environ)).stderr:
        pytest.skip("needs network namespaces, and unshare")
    home = directory / ".home"
    home.mkdir(exist_ok=True)
    environment = user_environment(home) | {"PWD": str(directory)} | variables
    return run([*namespace, *command], directory, environment)


def test_generation_needs_no_network(template, tmp_path, expected):
    program = str(Path(sys.executable).with_name("cookiecutter"))
    result = without_network([program, str(template), "--no-input"], tmp_path)
    assert result.returncode == 0, result.stderr
    assert tree(tmp_path / "my_project") == expected


def test_a_first_start_without_network_says_so_and_uvs_cache_is_enough(template, generate, tmp_path):
    announced = cookiecutter(template, tmp_path, "--no-input").stdout
    assert "The first start downloads the dependencies: it needs the network.\n" in announced
    project = tmp_path / "my_project"
    start = ["uv", "run", "honcho", "check"]
    cold = {"UV_CACHE_DIR": str(tmp_path / "cold"), "UV_PYTHON": sys.executable}
    failed = without_network(start, project, UV_HTTP_RETRIES="0", **cold)
    assert failed.returncode != 0
    assert re.search("Failed to fetch|Could not connect", failed.stderr), failed.stderr

    another = generate().path
    environment = user_environment(tmp_path) | {"UV_PYTHON": sys.executable}
    online = run(["uv", "sync"], another, environment, seconds=300)
    assert online.returncode == 0, online.stderr
    told = re.search(r"`(uv run --offline) honcho start`", (project / "README.md").read_text())
    assert told
    offline = [*told[1].split(), "honcho", "run", "python", "manage.py", "check"]
    worked = without_network(offline, project, UV_PYTHON=sys.executable)
    assert worked.returncode == 0, worked.stderr
