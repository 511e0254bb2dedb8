"""From nothing to a page and green tests, by typing, on machines of different kinds.

Each machine is an environment of its own: an empty HOME, PATH as a login shell has it, and nothing
else but how this machine reaches its index of packages. pyenv is a private one: its global Python
is an old one, as machines have it, and 3.13 is there beside it.
"""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from generation import executable, kept_by_uv, run, user_environment
from shell import Shell

pytestmark = pytest.mark.slow

# How a machine reaches its index of packages: certificates, proxies, mirrors.
NETWORK = r"(SSL|PIP|UV|REQUESTS)_\w*(CERT|CA_BUNDLE|INDEX)\w*|UV_SYSTEM_CERTS|\w+_PROXY"
SYSTEM = [path for path in ("/usr/local/bin", "/usr/bin", "/bin") if not Path(path, "uv").exists()]


def find_version(series: str) -> Path:
    """Return the newest Python of a series, such as 3.13, that pyenv has; skip the test when it has none."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = sorted(root.glob(f"versions/{series}.*/bin/python{series}"))
    return found[-1].parents[1] if found else pytest.skip(f"needs pyenv and its Python {series}")


def copy_version(old: Path, new: Path, series: str) -> None:
    """Make a Python with the standard library of another, and packages of its own."""
    (new / "bin").mkdir(parents=True)
    shutil.copy2(old / f"bin/python{series}", new / "bin")
    for name in ("python", "python3"):
        (new / "bin" / name).symlink_to(f"python{series}")
    library = f"lib/python{series}"
    (new / library / "site-packages").mkdir(parents=True)
    for path in (*(old / "lib").iterdir(), *(old / library).iterdir()):
        target = new / path.relative_to(old)
        if not target.exists():
            target.symlink_to(path)
    made = run([f"{new}/bin/python", "-m", "ensurepip", "--default-pip"], new, {"PATH": os.environ["PATH"]})
    assert made.returncode == 0, made.stderr


Machine = Callable[..., dict[str, str]]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Return a function: the environment of a machine with pyenv, whose global Python is 3.11."""

    def get(*first: Path, newer: bool = True, **variables: str) -> dict[str, str]:
        home = tmp_path / "home"
        root = home / ".pyenv"
        (root / "versions").mkdir(parents=True)
        old = find_version("3.11")
        for name in ("bin", "libexec", "pyenv.d"):
            (root / name).symlink_to(old.parents[1] / name)
        copy_version(old, root / "versions" / old.name, "3.11")
        (root / "version").write_text(f"{old.name}\n")
        if newer:
            (root / "versions" / find_version("3.13").name).symlink_to(find_version("3.13"))
        path = [*map(str, first), f"{root}/shims", f"{root}/bin", *SYSTEM]
        network = {name: value for name, value in os.environ.items() if re.fullmatch(NETWORK, name)}
        caches = {"UV_CACHE_DIR": kept_by_uv("cache"), "PIP_CACHE_DIR": str(tmp_path.parent / "pip")}
        quiet = {"PIP_ROOT_USER_ACTION": "ignore", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        login = {"HOME": str(home), "PATH": ":".join(path), "PYENV_ROOT": str(root), "TERM": "xterm", "LANG": "C.UTF-8"}
        environment = network | caches | quiet | login | variables
        assert run(["pyenv", "rehash"], home, environment).returncode == 0
        return environment

    return get


@pytest.fixture
def uv(tmp_path: Path) -> Path:
    """Return a directory with uv and uvx, and nothing else."""
    programs = tmp_path / "local"
    programs.mkdir()
    for name in ("uv", "uvx"):
        (programs / name).symlink_to(Path(executable("uv")).resolve().with_name(name))
    return programs


@pytest.fixture
def checkout(template: Path, tmp_path: Path) -> Path:
    """Return a checkout of the template."""
    directory = shutil.copytree(template, tmp_path / "checkout")
    for arguments in ("init --quiet", "add --all"):
        assert run(["git", *arguments.split()], directory, user_environment(tmp_path)).returncode == 0
    return directory


def printed(output: str) -> list[str]:
    """Return the commands that the hook printed as next."""
    return re.findall(r"(?m)^  (\S.*?) *$", output.partition("Next:")[2])


def start(user: Shell, program: str) -> list[str]:
    """Generate a project in the checkout and type what is printed: it ends with a page. Return what was typed."""
    typed = printed(user.type(f"{program} .").output)
    assert typed[0] == "cd my_project"
    for command in typed:
        user.type(command)
    return typed


def test_uv_outside_of_pyenv(shell, checkout, machine, uv):
    user = shell(checkout, machine(uv))
    assert start(user, "uvx cookiecutter") == ["cd my_project", "uv run honcho start"]
    user.type("uv run pytest --ignore tests/factors")  # test_generation.py runs those


def test_uv_in_the_global_python_of_pyenv(shell, checkout, machine):
    user = shell(checkout, machine())
    user.type("pip install uv")
    assert "Python 3.11." in user.type("uv run python -V").output
    assert "1 passed" in user.type("uv run pytest -k table_of_questions").output  # all modules are imported
    assert start(user, "uvx cookiecutter")[1] == "python3.13 -m venv .venv"
    user.type("pytest --ignore tests/factors")


def test_no_uv(shell, checkout, machine):
    user = shell(checkout, machine())
    user.type("pip install cookiecutter")
    assert start(user, "cookiecutter")[1] == "python3.13 -m venv .venv"
    user.type("pytest")


def test_the_only_python_is_too_old(shell, checkout, machine):
    user = shell(checkout, machine(newer=False))
    user.type("pip install cookiecutter")
    said = user.type("cookiecutter .").output
    assert "\nInstall Python 3.13, or uv outside of pyenv " in said
    assert printed(said) == []
    assert (checkout / "my_project/.env").is_file()


def test_no_network_for_interpreters(shell, checkout, machine, uv):
    user = shell(checkout, machine(uv, newer=False, UV_PYTHON_DOWNLOADS="never"))
    said = user.type("uvx cookiecutter .").output
    assert "\nPython 3.13 is not on this machine: uv downloads it, or install it first." in said
    user.type("cd my_project")
    assert "3.13" in user.type("uv run honcho start", fails=True).output
    assert not (checkout / "my_project/.venv").exists()
