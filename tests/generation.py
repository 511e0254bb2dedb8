"""Generated projects, the environments they run in, and processes that are watched and ended.

    def test_it(generate):
        project = generate(database="sqlite")   # a copy of its own, for this test alone
        assert project.manage("check").returncode == 0
        server = project.serve(**PRODUCTION)    # gunicorn, answering, with nothing but these
        assert server.get("/livez").status == 200
        assert server.stop() == 0

Nothing of the developer's gets in: the template is copied without what git ignores, HOME is a
temporary directory, a process has the variables it is given, PATH and HOME. What is expensive
(the template's copy, a generated project, a virtual environment) is made once a session, by
whichever pytest-xdist worker comes first.
"""

import fcntl
import http.client
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import Message
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from urllib.parse import urlencode

import psutil
import pytest
from cookiecutter.environment import StrictEnvironment

from tests.ports import free_port

TEMPLATE = Path(__file__).parent.parent
PROJECT_DIRECTORY = "{{cookiecutter.project_slug}}"
QUESTIONS: dict[str, Any] = {
    name: answers
    for name, answers in json.loads((TEMPLATE / "cookiecutter.json").read_text()).items()
    if not name.startswith("_")
}
CHOICES = {name: answers for name, answers in QUESTIONS.items() if isinstance(answers, list)}
PYTHONS = CHOICES["python_version"]
# The least that production needs, with a database that is always there.
PRODUCTION = {
    "SECRET_KEY": "0123456789-abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "ALLOWED_HOSTS": "www.example.com",
    "DATABASE_URL": "sqlite:///db.sqlite3",
}
# For tests that run a project's tests on their way: the factors take half a minute each time, and have tests of
# their own here (test_generation.py, test_databases.py, test_factors.py).
WITHOUT_FACTORS = {"PYTEST_ADDOPTS": "--ignore=tests/factors"}
# The answers that the hooks refuse.
REFUSED = {"database": "sqlite", "deploy": "kubernetes"}
SECONDS_TO_START = 30
SECONDS_TO_STOP = 15

Answers = dict[str, str]
Result = TypeVar("Result")


def combinations() -> list[Answers]:
    """Return every combination of answers that the hooks do not refuse."""
    products = itertools.product(*CHOICES.values())
    found = (dict(zip(CHOICES, answers, strict=True)) for answers in products)
    return [answers for answers in found if not REFUSED.items() <= answers.items()]


def samples() -> list[Answers]:
    """Return combinations that contain every answer, a few as a greedy search finds."""
    chosen: list[Answers] = []
    missing = {(question, answer) for question, choices in CHOICES.items() for answer in choices}
    while missing:
        chosen.append(max(combinations(), key=lambda answers: len(answers.items() & missing)))
        missing -= chosen[-1].items()
    return chosen


def name_of(answers: Answers) -> str:
    """Return a name for a combination, as a test's id or a directory."""
    return "-".join(answers.values())


def executable(name: str) -> str:
    """Return the path of a program that the tests cannot do without."""
    found = (name == "uv" and os.environ.get("UV")) or shutil.which(name)
    return found or pytest.fail(f"{name} is not on PATH")


def search_path(*first: Path) -> str:
    """Return PATH without the environment that these tests run in, `first` in front."""
    ours = Path(sys.executable).parent
    others = [p for p in os.environ["PATH"].split(os.pathsep) if p and Path(p) != ours]
    return os.pathsep.join([*map(str, first), *others])


@cache
def kept_by_uv(what: str) -> str:
    """Return uv's directory of packages (`cache`) or interpreters (`python`), found by HOME."""
    return subprocess.run([executable("uv"), what, "dir"], capture_output=True, text=True, check=True).stdout.strip()


def user_environment(home: Path) -> dict[str, str]:
    """Return what a new user's shell holds on this machine, for uv, pip, git and cookiecutter.

    How the machine reaches its package index stays, and so does uv's cache; nothing that these
    tools, Python or the project would take for a setting of this run does.
    """
    example = (TEMPLATE / PROJECT_DIRECTORY / ".env.example").read_text()
    variables = {*re.findall(r"(?m)^(?:# )?([A-Z][A-Z0-9_]*)=", example), "VIRTUAL_ENV", "UV"}
    prefixes = ("PYTEST_", "PYTHON", "XDG_", "COOKIECUTTER", "DJANGO_", "UV_RUN", "UV_PROJECT")
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in variables
        and not name.startswith(prefixes)
        and (not name.startswith("GIT_") or name.startswith("GIT_SSL"))
    }
    return kept | {
        "PATH": search_path(Path(executable("uv")).parent),
        "HOME": str(home),
        "UV_CACHE_DIR": kept_by_uv("cache"),
        "UV_PYTHON_INSTALL_DIR": kept_by_uv("python"),
        "GIT_CONFIG_NOSYSTEM": "1",
    }


def run(
    command: list[str],
    directory: Path,
    environment: dict[str, str],
    *,
    answer: str = "",
    seconds: float = 120,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; return its exit code and its output."""
    found = shutil.which(command[0], path=environment["PATH"]) or command[0]
    return subprocess.run(
        [found, *command[1:]],
        cwd=directory,
        env=environment,
        input=answer,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


@cache
def look_for_python(version: str) -> Path | None:
    """Return an interpreter of a version such as 3.13, if this machine has one."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}"), reverse=True)
    uv = run(
        [executable("uv"), "python", "find", "--no-project", "--no-python-downloads", version],
        Path("/"),
        {**os.environ, "PATH": search_path()},
    )
    candidates += [Path(path) for path in (uv.stdout.strip(), shutil.which(f"python{version}")) if path]
    asked = "import sys; print('%d.%d' % sys.version_info[:2])"
    for candidate in candidates:
        answer = run([str(candidate), "-c", asked], Path("/"), dict(os.environ))
        if answer.stdout.strip() == version:
            return candidate
    return None


def find_python(version: str) -> Path:
    """Return an interpreter of a version; skip the test when there is none."""
    return look_for_python(version) or pytest.skip(f"needs Python {version}")


@cache
def project_python() -> str:
    """Return the version for projects whose test asks for none: that of the tests, or else the first that is here."""
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    found = filter(look_for_python, sorted(PYTHONS, key=lambda version: version != ours))
    return next(found, None) or pytest.skip(f"needs Python {PYTHONS[0]}")


def wait_until(condition: Callable[[], Result], seconds: float, what: Callable[[], str]) -> Result:
    """Return the first true result of `condition`; fail, saying `what`, when there is none."""
    deadline = time.monotonic() + seconds
    while True:
        if result := condition():
            return result
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s: {what()}")
        time.sleep(0.02)


@dataclass
class Response:
    """What a server answered."""

    status: int
    headers: Message
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()


# Makes the terminal on stdin the one whose Ctrl-C the program gets, then becomes the program.
TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"
)


class Process:
    """A running program: its output so far, and its end."""

    def __init__(self, command: list[str], directory: Path, environment: dict[str, str], tty: bool = False) -> None:
        """Start `command`, in a session of its own; with `tty` on a terminal, as a person would."""
        self.directory = directory
        self.stdout: list[str] = []
        self.stderr: list[str] = []
        self.lines: list[str] = []
        self.prompt = ""  # what came after the last line
        self.terminal: int | None = None
        streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        if tty:
            self.terminal, other_side = os.openpty()
            streams = dict.fromkeys(("stdin", "stdout", "stderr"), other_side)
            command = [sys.executable, "-c", TAKE_TERMINAL, *command]
        else:
            found = shutil.which(command[0], path=environment["PATH"])
            command = [found or command[0], *command[1:]]
        self.popen = subprocess.Popen(
            command,
            cwd=directory,
            env=environment,
            start_new_session=True,
            **{"stdin": subprocess.DEVNULL, **streams},
        )
        if tty:
            os.close(other_side)
            sources = [(os.fdopen(os.dup(self.terminal), "rb", 0), self.stdout)]
        else:
            sources = [(self.popen.stdout, self.stdout), (self.popen.stderr, self.stderr)]
        self.readers = [threading.Thread(target=self._read, args=source) for source in sources]
        for reader in self.readers:
            reader.start()

    def _read(self, stream: Any, lines: list[str]) -> None:
        with stream, suppress(OSError):  # a terminal ends with EIO
            rest = b""
            while chunk := os.read(stream.fileno(), 65536):
                *complete, rest = (rest + chunk).split(b"\n")
                for line in complete:
                    text = line.decode(errors="replace").rstrip("\r")
                    lines.append(text)
                    self.lines.append(text)
                self.prompt = rest.decode(errors="replace")

    @property
    def output(self) -> str:
        """Everything that the program printed, with stderr where it came."""
        return "\n".join([*self.lines, self.prompt])

    @property
    def tail(self) -> str:
        """The end of the output, for messages."""
        return "\n".join([*self.lines[-40:], self.prompt])

    def wait_until_quiet(self, seconds: float = 1) -> None:
        """Return when nothing was printed for so long: honcho's handler of Ctrl-C fails in the middle of a print."""
        seen, since = -1, time.monotonic()
        while time.monotonic() - since < seconds:
            if len(self.lines) != seen:
                seen, since = len(self.lines), time.monotonic()
            time.sleep(0.02)

    def wait_for(self, pattern: str, seconds: float = SECONDS_TO_START) -> re.Match[str]:
        """Return the first match of `pattern` in a line of the output."""

        def found() -> re.Match[str] | None:
            matches = (re.search(pattern, line) for line in [*self.lines, self.prompt])
            return next(filter(None, matches), None)

        return wait_until(found, seconds, lambda: f"{pattern!r} in\n{self.tail}")

    def type(self, keys: bytes) -> None:
        """Press keys on the program's terminal."""
        assert self.terminal is not None
        os.write(self.terminal, keys)

    def children(self) -> list[psutil.Process]:
        """Return the processes below this one."""
        try:
            return psutil.Process(self.popen.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def wait(self, seconds: float = SECONDS_TO_STOP) -> int:
        """Return the exit code, once the program has ended and all of its output is here."""
        try:
            code = self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"still running after {seconds} s:\n{self.tail}")
        for reader in self.readers:
            reader.join(seconds)
        return code

    def stop(self, number: int = signal.SIGTERM, seconds: float = SECONDS_TO_STOP) -> int:
        """Send a signal and return the exit code."""
        self.popen.send_signal(number)
        return self.wait(seconds)

    def close(self) -> None:
        """End whatever is left: the program, what it started, and what works in its directory."""
        found = [*self.children(), *processes_in(self.directory)]
        with suppress(psutil.NoSuchProcess):
            found.append(psutil.Process(self.popen.pid))
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        self.popen.wait()
        wait_until(lambda: all(map(has_ended, found)), SECONDS_TO_STOP, lambda: f"the end of {found}")
        if self.terminal is not None:
            os.close(self.terminal)
            self.terminal = None
        for reader in self.readers:
            reader.join()


def has_ended(process: psutil.Process) -> bool:
    """Tell whether a process has ended. One whose parent is gone may be a zombie for seconds, until PID 1 reaps it."""
    with suppress(psutil.NoSuchProcess):
        return process.status() == psutil.STATUS_ZOMBIE
    return True


def processes_in(directory: Path) -> list[psutil.Process]:
    """Return the processes whose working directory is `directory` or below."""
    found = []
    for process in psutil.process_iter(["cwd", "status"]):
        working = Path(process.info["cwd"] or "/")
        if working.is_relative_to(directory) and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


class Server(Process):
    """A program that answers HTTP on a port of this machine."""

    port: int
    cookies: dict[str, str]

    def request(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
        *,
        address: str = "127.0.0.1",
        seconds: float = 30,
    ) -> Response:
        """Send one request, on a connection of its own; no redirect is followed."""
        connection = http.client.HTTPConnection(address, self.port, timeout=seconds)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return Response(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def get(self, path: str, headers: dict[str, str] | None = None, **more: Any) -> Response:
        """GET a path."""
        return self.request("GET", path, headers, **more)

    def wait_until_ready(self, path: str = "/livez", seconds: float = SECONDS_TO_START) -> None:
        """Return when the server answers at `path`; fail, with its output, when it ends before."""

        def answers() -> bool:
            if self.popen.poll() is not None:
                self.wait()
                pytest.fail(f"ended with {self.popen.returncode}:\n{self.tail}")
            with suppress(OSError, http.client.HTTPException):
                return self.get(path).status == 200
            return False

        wait_until(answers, seconds, lambda: f"an answer at {path}\n{self.tail}")


Kind = TypeVar("Kind", bound=Process)


class Visitor:
    """A browser without a face: keeps cookies, sends the CSRF token of the form it has seen."""

    headers: ClassVar[dict[str, str]] = {}

    def __init__(self, server: Server) -> None:
        """Visit `server`."""
        self.server = server
        self.cookies: dict[str, str] = {}

    def _send(self, method: str, path: str, body: bytes | None = None) -> Response:
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        headers = {**self.headers, "Cookie": cookies}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        response = self.server.request(method, path, headers, body)
        for cookie in response.headers.get_all("Set-Cookie", []):
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        return response

    def get(self, path: str) -> Response:
        """Open a page."""
        return self._send("GET", path)

    def submit(self, path: str, **fields: str) -> Response:
        """Open the page with a form, fill it in and send it."""
        page = self.get(path).text
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
        assert token, page
        form = urlencode({"csrfmiddlewaretoken": token[1], **fields})
        return self._send("POST", path, form.encode())


@dataclass
class Project:
    """A generated project, and the virtual environment and HOME that its commands get."""

    path: Path
    home: Path
    virtual_environment: Path
    processes: list[Process] = field(default_factory=list)

    def environment(self, **variables: str) -> dict[str, str]:
        """Return the environment of a command: `variables`, PATH and HOME."""
        path = search_path(self.virtual_environment / "bin")
        return {"PATH": path, "HOME": str(self.home), **variables}

    @property
    def dotenv(self) -> dict[str, str]:
        """The variables of .env."""
        text = (self.path / ".env").read_text(encoding="utf-8")
        return dict(re.findall(r"(?m)^([A-Z][A-Z0-9_]*)=(.*)$", text))

    def set_dotenv(self, **variables: str) -> None:
        """Change lines of .env, or add them."""
        file = self.path / ".env"
        text = file.read_text(encoding="utf-8")
        for name, value in variables.items():
            line = f"{name}={value}"
            text, count = re.subn(rf"(?m)^{name}=.*$", line, text)
            text += "" if count else f"{line}\n"
        file.write_text(text, encoding="utf-8")

    def run(
        self,
        *command: str,
        directory: Path | None = None,
        answer: str = "",
        seconds: float = 120,
        **variables: str,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the project to its end, with nothing but `variables` set."""
        environment = self.environment(**variables)
        return run([*command], directory or self.path, environment, answer=answer, seconds=seconds)

    def manage(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run manage.py with `variables`, or with those of .env when there are none."""
        return self.run("python", "manage.py", *arguments, **(variables or self.dotenv))

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace the first `old`, which must be there, in a file of the project."""
        path = self.path / file
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{old!r} is not in {file}"
        # In one step, as editors do: a process that reloads would see half a file.
        edited = self.path.with_name("edited")
        edited.write_text(text.replace(old, new, 1), encoding="utf-8")
        edited.chmod(path.stat().st_mode)
        edited.replace(path)

    def start(self, *command: str, kind: type[Kind] = Process, tty: bool = False, **variables: str) -> Kind:
        """Start a command in the project; the fixture ends it if the test does not."""
        process = kind([*command], self.path, self.environment(**variables), tty)
        self.processes.append(process)
        return process

    def serve(self, *options: str, **variables: str) -> Server:
        """Start gunicorn with nothing but `variables`, on a free port; wait until it answers."""
        port = variables.setdefault("PORT", str(free_port()))
        server = self.start("gunicorn", "config.wsgi", *options, kind=Server, **variables)
        server.port = int(port)
        server.wait_until_ready()
        return server

    def close(self) -> None:
        """End every process."""
        for process in self.processes:
            process.close()


def once(directory: Path, build: Callable[[Path], None]) -> Path:
    """Return `directory`, built by whoever comes first while the others wait."""
    done = directory.with_name(f"{directory.name}.done")
    directory.parent.mkdir(parents=True, exist_ok=True)
    with directory.with_name(f"{directory.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(directory, ignore_errors=True)
            build(directory)
            done.touch()
    return directory


def tracked_files() -> list[str]:
    """Return the names of the files that git tracks, and of those that it does not know yet but does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=TEMPLATE, capture_output=True, check=True).stdout.decode()
    names = filter(None, listed.split("\0"))
    return [name for name in names if os.path.lexists(TEMPLATE / name)]  # deleted files are listed until committed


def copy_template(target: Path) -> None:
    """Copy the template without what git ignores."""
    for name in tracked_files():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(TEMPLATE / name, target / name, follow_symlinks=False)


def cookiecutter(
    template: Path, directory: Path, *arguments: str, answer: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run Cookiecutter as a shell in `directory` would, with a HOME of its own."""
    home = directory / ".home"
    home.mkdir(exist_ok=True)
    environment = user_environment(home) | {"PWD": str(directory)} | variables
    program = Path(sys.executable).with_name("cookiecutter")
    return run([str(program), str(template), *arguments], directory, environment, answer=answer)


def render_pyproject(answers: Answers) -> dict[str, Any]:
    """Return the pyproject.toml that `answers` give."""
    context = {"cookiecutter": {"project_name": "All", "project_slug": "everything", **answers}}
    text = (TEMPLATE / PROJECT_DIRECTORY / "pyproject.toml").read_text(encoding="utf-8")
    environment = StrictEnvironment(context=context, keep_trailing_newline=True)
    return tomllib.loads(environment.from_string(text).render(**context))


def all_requirements() -> list[str]:
    """Return the requirements of all combinations together, development's included."""
    found: set[str] = set()
    for answers in combinations():
        pyproject = render_pyproject(answers)
        groups = pyproject["dependency-groups"].values()
        found.update(pyproject["project"]["dependencies"], *groups)
    return sorted(found)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory that all workers of this session share."""
    base = tmp_path_factory.getbasetemp()
    directory = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    directory.mkdir(exist_ok=True)
    return directory


@pytest.fixture(scope="session")
def template(shared: Path) -> Path:
    """Return a copy of the template as a user would get it: the developer's caches stay out."""
    return once(shared / "template", copy_template)


@pytest.fixture(scope="session")
def virtual_environment(shared: Path) -> Callable[[str], Path]:
    """Return a function: the environment of a Python version, with what every project needs."""

    def get(version: str) -> Path:
        python = find_python(version)

        def build(directory: Path) -> None:
            uv = executable("uv")
            environment = user_environment(shared)
            for command in (
                [uv, "venv", "--python", str(python), str(directory)],
                [uv, "pip", "install", "--python", str(directory), *all_requirements()],
            ):
                result = run(command, shared, environment, seconds=300)
                assert result.returncode == 0, result.stderr

        return once(shared / f"python{version}", build)

    return get


def original(shared: Path, template: Path, **answers: str) -> Path:
    """Return the project that `answers` give, for copying only: all tests share it."""

    def build(directory: Path) -> None:
        directory.mkdir()
        given = [f"{name}={value}" for name, value in answers.items()]
        result = cookiecutter(template, directory, "--no-input", *given)
        assert result.returncode == 0, result.stderr

    directory = once(shared / "projects" / (name_of(answers) or "default"), build)
    (project,) = (path for path in directory.iterdir() if path.name != ".home")
    return project


def copy_project(source: Path, place: Path, virtual_environment: Path) -> Project:
    """Copy a generated project into the new directory `place`, with a HOME beside it."""
    shutil.copytree(source, place / source.name, symlinks=True)
    (place / "home").mkdir()
    return Project(place / source.name, place / "home", virtual_environment)


@pytest.fixture
def generate(
    shared: Path, template: Path, tmp_path: Path, virtual_environment: Callable[[str], Path]
) -> Iterator[Callable[..., Project]]:
    """Return a function that generates a project; its processes end with the test.

    Each call gives a copy of its own. The environment has the dependencies of all answers, on
    Python `python`, or else project_python().
    """
    projects: list[Project] = []

    def get(python: str = "", **answers: str) -> Project:
        source = original(shared, template, **answers)
        place = tmp_path / f"project{len(projects)}"
        projects.append(copy_project(source, place, virtual_environment(python or project_python())))
        return projects[-1]

    yield get
    for project in projects:
        project.close()
