"""Generating again, or in bad conditions: nothing of the user's is lost, and one line says what."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from generation import THIS_PYTHON, Process, cookiecutter, run, search_path, user_environment

from hooks import rendered_hook

KEPT = ".env is there already: it stays as it is."
Generate = Callable[..., subprocess.CompletedProcess[str]]


def content(directory: Path) -> dict[str, bytes]:
    """Return the files of a project, without the repository of git."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and ".git" not in path.parts
    }


def clear_lines(stderr: str) -> list[str]:
    """Return what the hooks said, without what Cookiecutter adds: its own error and traceback."""
    said, _, rest = stderr.partition("ERROR: Stopping generation because")
    assert "_hook" in rest or not rest
    return said.splitlines()


@pytest.fixture
def again(template: Path, tmp_path: Path) -> Generate:
    """Return a function that generates a project where there may be one."""
    return lambda *options: cookiecutter(template, tmp_path, "--no-input", *options)


@pytest.fixture
def project(again: Generate, tmp_path: Path) -> Path:
    """Return a project that its user has worked on."""
    assert again().returncode == 0
    project = tmp_path / "my_project"
    (project / "config/settings.py").write_text("# mine")
    (project / "mine.txt").write_bytes(b"mine\r\n\xff")
    with (project / ".env").open("a") as env:
        env.write("MINE=1\r\n")
    return project


# Again


def test_a_directory_that_is_there_is_left_alone(again, project):
    before = content(project)
    result = again()
    assert result.returncode != 0
    assert 'my_project" directory already exists' in result.stdout + result.stderr
    assert content(project) == before


def test_overwriting_keeps_env_and_says_so(again, project):
    before = content(project)
    result = again("--overwrite-if-exists")
    assert result.returncode == 0, result.stderr
    assert KEPT in result.stdout.splitlines()
    after = content(project)
    assert after[".env"] == before[".env"]
    assert after["mine.txt"] == before["mine.txt"]
    assert after["config/settings.py"] != b"# mine"


def test_skipping_keeps_every_file_and_brings_back_those_that_are_gone(again, project):
    (project / "manage.py").unlink()
    before = content(project)
    result = again("--overwrite-if-exists", "--skip-if-file-exists")
    assert result.returncode == 0, result.stderr
    assert KEPT in result.stdout.splitlines()
    after = content(project)
    assert after.pop("manage.py").startswith(b"#!")
    assert after == before


def test_files_that_an_interrupted_generation_left_aside_are_not_overwritten(again, project):
    aside = project / ".generating/config/settings.py"
    aside.parent.mkdir(parents=True)
    aside.write_text("# mine, from before the interruption")
    before = content(project)
    result = again("--overwrite-if-exists")
    assert result.returncode != 0
    (line,) = clear_lines(result.stderr)
    assert line.startswith("An interrupted generation left your files in .generating: ")
    assert content(project) == before


def test_an_env_that_is_gone_comes_back_with_another_key(again, project):
    old = (project / ".env").read_text()
    (project / ".env").unlink()
    result = again("--overwrite-if-exists", "--skip-if-file-exists")
    assert KEPT not in result.stdout
    key = re.compile(r"(?m)^SECRET_KEY=.*$")
    assert key.search((project / ".env").read_text())[0] != key.search(old)[0]  # type: ignore[index]


def test_an_env_that_is_a_link_stays_one(again, project, tmp_path):
    (project / ".env").unlink()
    (project / ".env").symlink_to(tmp_path / "secrets of the office, not mounted today")
    result = again("--overwrite-if-exists")
    assert KEPT in result.stdout.splitlines()
    assert (project / ".env").is_symlink()
    assert not (tmp_path / "secrets of the office, not mounted today").exists()


def test_without_hooks_the_first_command_tells_how_to_make_an_env(template, tmp_path, virtual_environment):
    result = cookiecutter(template, tmp_path, "--no-input", "--accept-hooks", "no")
    assert result.returncode == 0, result.stderr
    project = tmp_path / "my_project"
    assert not (project / ".env").exists()
    home = {"HOME": str(tmp_path), "PATH": search_path(virtual_environment(THIS_PYTHON) / "bin")}
    for command in (["honcho", "start"], ["python", "manage.py", "check"]):
        start = run(command, project, home)
        assert start.returncode != 0
        told = re.search(r"No \.env yet\? .*: (cp \.env\.example \.env)", start.stdout + start.stderr)
        assert told, start.stdout + start.stderr
        assert "Traceback" not in start.stdout + start.stderr
    assert run(["sh", "-ec", told[1]], project, home).returncode == 0
    check = run(["honcho", "run", "python", "manage.py", "check"], project, home)
    assert check.returncode == 0, check.stderr


# Bad conditions


def in_namespace(script: str, directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script that may mount what it likes, seen by nobody else."""
    namespace = ["unshare", "--map-root-user", "--mount"]
    if not shutil.which("unshare") or run([*namespace, "true"], directory, dict(os.environ)).stderr:
        pytest.skip("needs mount namespaces, and unshare")
    home = directory / ".home"
    home.mkdir(exist_ok=True)
    environment = user_environment(home) | {"PWD": str(directory)}
    program = str(Path(sys.executable).with_name("cookiecutter"))
    return run([*namespace, "sh", "-ec", script, program, *arguments], directory, environment)


def test_a_read_only_directory_stays_as_it_is_and_is_named(template, tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    script = 'mount --bind place place; mount -o remount,bind,ro place; exec "$0" "$@"'
    result = in_namespace(script, tmp_path, str(template), "--no-input", "-o", "place")
    assert result.returncode != 0
    assert "Read-only file system" in result.stderr  # Cookiecutter's own words, before any hook
    assert "Unable to create directory at place/my_project" in result.stderr
    assert [*place.iterdir()] == []


def test_a_read_only_project_stays_as_it_is_and_says_what_is_missing(template, project, tmp_path):
    (project / ".env").unlink()
    before = content(project)
    script = (
        "mount --bind my_project my_project; mount -o remount,bind,ro my_project; "
        'exec "$0" "$@" --no-input --overwrite-if-exists --skip-if-file-exists'
    )
    result = in_namespace(script, tmp_path, str(template))
    assert result.returncode != 0
    (line,) = clear_lines(result.stderr)
    assert re.match(r"The project cannot be written: .*Read-only file system", line)
    assert content(project) == before


def test_a_full_disk_leaves_no_half_of_an_env_and_says_so(template, project, tmp_path):
    (project / ".env").unlink()
    before = content(project)
    (tmp_path / "disk").mkdir()
    # tmpfs needs no block for an empty file, and none is left for the first byte.
    script = (
        "mount -t tmpfs -o size=8m tmpfs disk; cp -a my_project disk; "
        "cat /dev/zero >disk/fill 2>/dev/null || true; rm -r my_project; "
        '"$0" "$@" --no-input -o disk --overwrite-if-exists --skip-if-file-exists || code=$?; '
        "cp -a disk/my_project .; exit $code"
    )
    result = in_namespace(script, tmp_path, str(template))
    assert result.returncode != 0
    (line,) = clear_lines(result.stderr)
    assert re.match(r"The project (cannot be written|is not complete): .*No space left on", line)
    assert content(project) == before


def test_a_write_that_ends_midway_leaves_no_half_of_an_env(tmp_path):
    example = "SECRET_KEY=public\n" + "# and so on\n" * 100
    (tmp_path / ".env.example").write_text(example)
    (tmp_path / ".generating").mkdir()  # the other hook's
    hook = tmp_path / "hook.py"
    hook.write_text(rendered_hook("post_gen_project.py"))
    limited = ["sh", "-ec", 'ulimit -f 1; exec "$@"', "sh", sys.executable, str(hook)]  # one block
    result = run(limited, tmp_path, {"PATH": os.environ["PATH"], "HOME": str(tmp_path)})
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert re.match(r"The project is not complete: .*File too large", line)
    assert {path.name for path in tmp_path.iterdir()} == {".env.example", "hook.py"}


@pytest.mark.parametrize("git", ["there", "missing"])
def test_a_user_without_a_home_gets_a_complete_project(git, template, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(f"cookiecutters_dir: {tmp_path}/c\nreplay_dir: {tmp_path}/r\n")
    environment = user_environment(tmp_path) | {"COOKIECUTTER_CONFIG": str(config)}
    del environment["HOME"]
    if git == "missing":
        environment["PATH"] = str(tmp_path / "empty")
    program = str(Path(sys.executable).with_name("cookiecutter"))
    result = run([program, str(template), "--no-input"], tmp_path, environment)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert "Next:" in result.stdout
    assert (tmp_path / "my_project/.env").is_file()
    assert (tmp_path / "my_project/.git/HEAD").is_file() == (git == "there")


# Ctrl-C, which a terminal sends to Cookiecutter and to its hook


def interrupt(process: Process) -> str:
    """Press Ctrl-C; return what the hook said."""
    os.killpg(process.popen.pid, signal.SIGINT)
    assert process.wait() != 0
    stderr = "\n".join(process.stderr)
    said = [line for line in process.stderr if "Interrupted" in line]
    assert len(said) == 1, stderr
    assert "KeyboardInterrupt" not in stderr
    return said[0]


@pytest.fixture
def start(template: Path, tmp_path: Path):
    """Return a function that starts Cookiecutter; it ends with the test."""
    processes: list[Process] = []

    def get(*options: str, **variables: str) -> Process:
        home = tmp_path / ".home"
        home.mkdir(exist_ok=True)
        environment = user_environment(home) | {"PWD": str(tmp_path)} | variables
        program = str(Path(sys.executable).with_name("cookiecutter"))
        command = [program, str(template), "--no-input", *options]
        processes.append(Process(command, tmp_path, environment))
        return processes[-1]

    yield get
    for process in processes:
        process.close()


def test_ctrl_c_while_env_is_made_leaves_none_and_everything_else(start, project):
    # The hook reads the user's .env.example, and waits: it is a pipe.
    (project / ".env").unlink()
    (project / ".env.example").unlink()
    before = content(project)
    os.mkfifo(project / ".env.example")
    process = start("--overwrite-if-exists", "--skip-if-file-exists")
    with (project / ".env.example").open("w"):  # opens when the hook does
        line = interrupt(process)
    assert "generate it again" in line
    (project / ".env.example").unlink()
    assert content(project) == before
    assert {path.name for path in project.iterdir()} >= {".git", "mine.txt"}


def test_ctrl_c_after_env_was_made_leaves_a_project_that_can_be_completed(start, again, tmp_path):
    programs = tmp_path / "programs"
    programs.mkdir()
    os.mkfifo(tmp_path / "started")
    (programs / "git").write_text(f"#!/bin/sh\necho git >{tmp_path}/started\nexec sleep 60\n")
    (programs / "git").chmod(0o755)
    process = start(PATH=f"{programs}:{os.environ['PATH']}")
    assert (tmp_path / "started").read_text() == "git\n"
    interrupt(process)
    env = (tmp_path / "my_project/.env").read_bytes()
    assert re.search(rb"(?m)^SECRET_KEY=[\w-]{50,}$", env)
    result = again("--overwrite-if-exists")  # as the line says
    assert result.returncode == 0, result.stderr
    assert KEPT in result.stdout.splitlines()
    assert (tmp_path / "my_project/.env").read_bytes() == env
    assert (tmp_path / "my_project/.git/HEAD").is_file()
