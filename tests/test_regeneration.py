"""Generating again, or in bad conditions: nothing of the user's is lost, and one line says what to do."""

import os
import re
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from generation import Process, cookiecutter, project_python, run, search_path, user_environment

from hooks import rendered_hook

Generate = Callable[..., subprocess.CompletedProcess[str]]


def content(directory: Path) -> dict[str, bytes]:
    """Return the files of a project, without the repository of git."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(directory).parts
    }


def clear_lines(stderr: str) -> list[str]:
    """Return what the hooks said, without what Cookiecutter adds: its own error and traceback."""
    return re.split(r"(?m)^(?:ERROR: Stopping|Stopping|Traceback)", stderr)[0].splitlines()


@pytest.fixture
def again(template: Path, tmp_path: Path) -> Generate:
    """Return a function that generates a project where there may be one."""
    return lambda *options: cookiecutter(template, tmp_path, "--no-input", *options)


# Again


@pytest.mark.parametrize("options", [["-f"], ["-f", "-s"], []], ids=["overwrite", "skip", "neither"])
@pytest.mark.parametrize("env", ["a file", "a link to a disk that is not mounted"])
def test_a_directory_with_an_env_is_left_as_it_is(env, options, again, tmp_path):
    project = tmp_path / "my_project"
    (project / "config").mkdir(parents=True)
    (project / "config/settings.py").write_text("# mine")
    (project / ".env").write_text("MINE=1\r\n") if env == "a file" else (project / ".env").symlink_to("/not/there")
    before = content(project)
    result = again(*options)
    assert result.returncode != 0
    if options:
        (line,) = clear_lines(result.stderr)
        assert line == "A project is here already: `uvx cruft update` takes improvements, or move it away."
    assert content(project) == before
    assert os.path.lexists(project / ".env")


def test_without_hooks_the_first_command_tells_how_to_make_an_env(template, tmp_path, virtual_environment):
    result = cookiecutter(template, tmp_path, "--no-input", "--accept-hooks", "no")
    assert result.returncode == 0, result.stderr
    project = tmp_path / "my_project"
    assert not (project / ".env").exists()
    home = {"HOME": str(tmp_path), "PATH": search_path(virtual_environment(project_python()) / "bin")}
    for command in (["honcho", "start"], ["python", "manage.py", "check"]):
        start = run(command, project, home)
        assert start.returncode != 0
        told = re.search(r"No \.env yet\? .*: (cp \.env\.example \.env)", start.stdout + start.stderr)
        assert told, start.stdout + start.stderr
        assert "Traceback" not in start.stdout + start.stderr
    assert run(["sh", "-ec", told[1]], project, home).returncode == 0
    check = run(["honcho", "run", "python", "manage.py", "check"], project, home)
    assert check.returncode == 0, check.stderr


# Interrupted: a terminal sends Ctrl-C to Cookiecutter and to its hook


@pytest.fixture
def start(template: Path, tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Return a function that starts Cookiecutter; it ends with the test."""
    processes: list[Process] = []

    def get(*options: str, **variables: str) -> Process:
        home = tmp_path / ".home"
        home.mkdir(exist_ok=True)
        environment = user_environment(home) | {"PWD": str(tmp_path)} | variables
        program = str(Path(sys.executable).with_name("cookiecutter"))
        processes.append(Process([program, str(template), "--no-input", *options], tmp_path, environment))
        return processes[-1]

    yield get
    for process in processes:
        process.close()


def test_ctrl_c_leaves_a_directory_without_env_that_can_be_generated_again(start, again, tmp_path):
    programs = tmp_path / "programs"
    programs.mkdir()
    os.mkfifo(tmp_path / "started")
    (programs / "git").write_text(f"#!/bin/sh\necho git >{tmp_path}/started\nexec sleep 60\n")
    (programs / "git").chmod(0o755)
    process = start(PATH=f"{programs}:{os.environ['PATH']}")
    assert (tmp_path / "started").read_text() == "git\n"  # the hook is in the middle of its work
    os.killpg(process.popen.pid, signal.SIGINT)
    assert process.wait() != 0
    said = "\n".join(process.stderr)
    assert "The project is not complete: interrupted. Generate it again, with -f." in said
    assert "KeyboardInterrupt" not in said
    assert not (tmp_path / "my_project/.env").exists()

    result = again("-f")  # as the line says
    assert result.returncode == 0, result.stderr
    assert re.search(r"(?m)^SECRET_KEY=[\w-]{50,}$", (tmp_path / "my_project/.env").read_text())
    assert (tmp_path / "my_project/.git/HEAD").is_file()


def test_a_full_disk_leaves_no_half_of_an_env_and_says_so(tmp_path):
    (tmp_path / ".env.example").write_text("SECRET_KEY=public\n" + "# and so on\n" * 100)
    (tmp_path / "manage.py").touch()
    (tmp_path / "hook.py").write_text(rendered_hook("post_gen_project.py"))
    limited = ["sh", "-ec", 'ulimit -f 1; exec "$@"', "sh", sys.executable, "hook.py"]  # one block a file
    result = run(limited, tmp_path, {"PATH": os.environ["PATH"], "HOME": str(tmp_path)})
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert re.match(r"The project is not complete: .*File too large", line)
    assert not (tmp_path / ".env").exists()
    again = run([sys.executable, "hook.py"], tmp_path, {"PATH": os.environ["PATH"], "HOME": str(tmp_path)})
    assert again.returncode == 0, again.stderr
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600


def test_a_user_without_home_and_git_gets_a_complete_project(template, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(f"cookiecutters_dir: {tmp_path}/c\nreplay_dir: {tmp_path}/r\n")
    environment = user_environment(tmp_path) | {"COOKIECUTTER_CONFIG": str(config), "PATH": str(tmp_path / "empty")}
    del environment["HOME"]
    program = str(Path(sys.executable).with_name("cookiecutter"))
    result = run([program, str(template), "--no-input"], tmp_path, environment)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert (tmp_path / "my_project/.env").is_file()
    assert not (tmp_path / "my_project/.git").exists()


# The hook's last words fit the machine


WORKS, FAILS = "#!/bin/sh\nexit 0\n", "#!/bin/sh\nexit 127\n"
FINDS_NONE = '#!/bin/sh\ntest "$*" != "python find"\n'
WITH_PIP = """\
  python3.13 -m venv .venv
  . .venv/bin/activate
  pip install --upgrade pip
  pip install . --group dev
  honcho start
"""


@pytest.fixture
def last_words(tmp_path: Path, monkeypatch) -> Callable[..., str]:
    """Return a function: what the hook says where PATH has these programs alone."""
    (tmp_path / "hook.py").write_text(rendered_hook("post_gen_project.py"))
    hook: dict[str, Any] = runpy.run_path(str(tmp_path / "hook.py"))
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "sh").symlink_to("/bin/sh")

    def get(**scripts: str) -> str:
        for name, script in scripts.items():
            (programs / name.replace("python313", "python3.13")).write_text(script)
            (programs / name.replace("python313", "python3.13")).chmod(0o755)
        monkeypatch.setenv("PATH", str(programs))
        return hook["next_steps"]("my project", "3.13")

    return get


def test_where_uv_starts_the_hook_names_it(last_words):
    said = last_words(uv=WORKS)
    assert said.startswith("Next:\n  cd 'my project'\n  uv run honcho start\nand open http://localhost:8000/\n")


def test_where_uv_has_no_python_the_hook_says_which_one_to_install(last_words):
    said = last_words(uv=FINDS_NONE)
    assert "\n  uv run honcho start\n" in said
    assert said.endswith("\nPython 3.13 is not on this machine: uv downloads it, or install it first.")


@pytest.mark.parametrize("uv", [{}, {"uv": FAILS}], ids=["no uv", "a uv that does not start here"])
def test_where_uv_does_not_start_the_hook_names_the_commands_of_pip(uv, last_words):
    said = last_words(python313=WORKS, **uv)
    assert f"\n  cd 'my project'\n{WITH_PIP}and open" in said
    assert "uv" not in said


def test_where_python_is_missing_too_one_line_says_what_to_install(last_words):
    (line,) = last_words(uv=FAILS, python313=FAILS).splitlines()
    assert line.startswith("Install Python 3.13, or ")


def test_a_version_that_pyenv_chose_for_cookiecutter_does_not_count(last_words, tmp_path, monkeypatch):
    version = tmp_path / "versions/3.11.7/bin"
    version.mkdir(parents=True)
    (version / "uv").write_text(WORKS)
    (version / "uv").chmod(0o755)
    shim = 'test -z "$PYENV_VERSION$PYENV_DIR"'  # a shim does as these say
    last_words(uv=FAILS, python313=f"#!/bin/sh\n{shim}\n")
    monkeypatch.setenv("PYENV_VERSION", "3.11.7")
    monkeypatch.setenv("PYENV_DIR", str(tmp_path))
    hook = runpy.run_path(str(tmp_path / "hook.py"))
    monkeypatch.setenv("PATH", f"{version}:{os.environ['PATH']}")
    assert WITH_PIP in hook["next_steps"]("my_project", "3.13")


def test_the_last_words_take_less_than_a_second(tmp_path):
    (tmp_path / "hook.py").write_text(rendered_hook("post_gen_project.py"))
    hook = runpy.run_path(str(tmp_path / "hook.py"))
    began = time.monotonic()
    hook["next_steps"]("my_project", "3.13")
    assert time.monotonic() - began < 1
