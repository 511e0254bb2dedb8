"""Deploys of this project in directories of their own, and the processes of its Procfile.

Every failure of a helper names the factor that was being tested and the ability that is missing.
"""

import functools
import http.client
import json
import os
import random
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import pytest
from django.conf import settings

PROJECT = Path(__file__).parents[2]
WATCH = Path(__file__).parent / "watch"
SECONDS = 30.0  # until what must happen counts as missing


def started() -> float:
    """Return when this test run began: it loads the project too, and files that this makes are not the project's."""
    process = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    try:  # Linux: ticks since the machine started, https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
        ticks = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19])
        return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError):
        return time.time()


STARTED = started()
KEY = secrets.token_urlsafe(50)
NOT_COPIED = (".git", ".venv", ".env", "staticfiles", "media", "mail", "db.sqlite3*", "node_modules", ".*_cache")


def procfile(name: str = "Procfile") -> dict[str, str]:
    """Return the commands of a Procfile by process type, read as honcho reads it."""
    text = (PROJECT / name).read_text(encoding="utf-8")
    return dict(re.findall(r"(?m)^([A-Za-z0-9_-]+):[ \t]*(.+)$", text))


def example() -> dict[str, str]:
    """Return the variables that .env.example sets."""
    text = (PROJECT / ".env.example").read_text(encoding="utf-8")
    return dict(re.findall(r"(?m)^([A-Z][A-Z0-9_]*)=(.*)$", text))


@functools.cache
def indexed() -> set[Path]:
    """Return the files that git tracks, relative to the project; none where nothing is committed yet."""
    if not shutil.which("git"):
        return set()
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, text=True, check=False)
    return {Path(name) for name in listed.stdout.split("\0") if name}


def is_made_by_this_run(path: Path) -> bool:
    """Tell whether a file, which git does not track, is newer than this test run."""
    if not path.is_file() or path.suffix == ".pyc" or path.relative_to(PROJECT) in indexed():
        return False
    # Python and pytest take longer than this to load; the clock of process starts has steps of 10 ms.
    return path.stat().st_mtime > STARTED + 0.1


def copy_project(target: Path) -> Path:
    """Copy the project without this machine's deploy, its data, virtual environments and repository."""

    def ignored(directory: str, names: list[str]) -> set[str]:
        environments = {name for name in names if Path(directory, name, "pyvenv.cfg").exists()}
        made = {name for name in names if is_made_by_this_run(Path(directory, name))}
        return set(shutil.ignore_patterns(*NOT_COPIED)(directory, names)) | environments | made

    return Path(shutil.copytree(PROJECT, target, symlinks=True, ignore=ignored))


def free_ports(count: int = 1) -> int:
    """Return a port of which it and the next ones are free; below those that the kernel gives to clients."""
    for _ in range(1000):
        first = random.randrange(15000, 32000)
        with suppress(OSError):
            for port in range(first, first + count):
                socket.create_server(("", port)).close()
            return first
    pytest.fail("no port is free on this machine")


def wait(condition: Callable[[], Any], seconds: float = SECONDS) -> Any:
    """Return the first true value of `condition`, or its last one after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return value


def with_home(home: str) -> list[int]:
    """Return the processes that were started with `home` as HOME, wherever they went; Linux only."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"HOME={home}".encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def in_session(leader: int) -> list[int]:
    """Return the processes of a session; Linux only."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html: state, parent, group and session after the )
            state, _, _, session = path.read_text().rpartition(")")[2].split()[:4]
            if int(session) == leader and state != "Z":
                found.append(int(path.parent.name))
    return found


def listening(pids: Iterable[int]) -> set[tuple[bool, int]]:
    """Return (whether only this machine reaches it, port) of what processes listen on; Linux only."""
    sockets = set()
    for pid in pids:
        with suppress(OSError):
            for entry in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(OSError):
                    sockets.add(os.readlink(entry))
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                    address, _, port = fields[1].partition(":")
                    found.add((address.endswith(("7F", "01000000")) and set(address) != {"0"}, int(port, 16)))
    return found


@dataclass
class Response:
    """What a process answered."""

    status: int
    headers: http.client.HTTPMessage
    text: str


class Process:
    """A running command: its lines so far, its port, its end. The shell runs it, as honcho and platforms do."""

    def __init__(self, command: str, directory: Path, environment: dict[str, str]) -> None:
        """Start it in a process group of its own."""
        self.command = command
        self.begun = time.monotonic()
        # The shell gives way to a simple command, as bash does by itself, so that signals and exit codes are its own.
        self.simple = not re.search(r"[&|;<>()`]|^\s*(exec|[A-Z_0-9]+=)", command)
        self.environment = environment
        self.seconds_to_start = 0.0
        self.stdout: list[str] = []
        self.stderr: list[str] = []
        self.popen = subprocess.Popen(
            f"exec {command}" if self.simple else command,
            shell=True,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            text=True,
            errors="replace",
        )
        pipes = ((self.popen.stdout, self.stdout), (self.popen.stderr, self.stderr))
        self.readers = [threading.Thread(target=self._read, args=pipe, daemon=True) for pipe in pipes]
        for reader in self.readers:
            reader.start()

    def _read(self, stream: Any, lines: list[str]) -> None:
        with stream:
            lines.extend(line.rstrip("\n") for line in iter(stream.readline, ""))

    @property
    def output(self) -> str:
        """The last lines of both streams."""
        return "\n".join([*self.stdout, *self.stderr][-15:])

    @property
    def ended(self) -> bool:
        """Whether the command and all that it started are gone."""
        return self.popen.poll() is not None and not in_session(self.popen.pid)

    @property
    def code(self) -> int:
        """The exit code of what ended; that of a shell which SIGTERM ended counts as 0."""
        code = self.popen.wait()
        return 0 if code == -signal.SIGTERM and not self.simple else code

    def has(self, text: str) -> bool:
        """Tell whether a line of stdout holds `text`."""
        return any(text in line for line in self.stdout)

    def get(self, path: str, cookies: dict[str, str] | None = None, **more: Any) -> Response:
        """Request a path as the proxy of a platform does, which ended TLS."""
        port = more.pop("port", None) or int(self.environment["PORT"])
        return request(port, "GET", path, cookies, **more)

    def wait_until_ready(self, seconds: float = SECONDS) -> str:
        """Return when the process answers on its port, or say what it does instead."""
        port = int(self.environment["PORT"])

        def answers() -> bool:
            with suppress(OSError, http.client.HTTPException):
                request(port, "GET", "/livez", seconds=10)
                return True
            return self.popen.poll() is not None

        # An answer, or the place where it listens instead: no program listens there first and then moves.
        listens = wait(lambda: answers() or wait(lambda: answers() or self.ports - {port}, 0.5), seconds)
        if self.popen.poll() is not None:
            self.join()
            return f"it ended with exit code {self.popen.returncode}"
        if isinstance(listens, set) and listens and not answers():
            return f"nothing answers on PORT={port}, it listens on {', '.join(map(str, sorted(listens)))}"
        return "" if listens else f"nothing answers on PORT={port} within {seconds:.0f} s"

    @property
    def ports(self) -> set[int]:
        """The ports on which the processes of the command listen."""
        return {port for _, port in listening(in_session(self.popen.pid))}

    def join(self) -> None:
        """Return when all that an ended command printed has been read."""
        for reader in self.readers:
            reader.join(5)

    def terminate(self) -> None:
        """Send SIGTERM to the process group, as honcho and Heroku do."""
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to everything that the command started, and return when it is gone."""
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()
        wait(lambda: not in_session(self.popen.pid), 5)
        self.join()


def request(
    port: int,
    method: str,
    path: str,
    cookies: dict[str, str] | None = None,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
    seconds: float = SECONDS,
) -> Response:
    """Send one request to a port of this machine; cookies that come back are added to `cookies`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    sent = {"Host": "localhost", "X-Forwarded-Proto": "https", "Referer": "https://localhost/"}
    if cookies:
        sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
    if body is not None:
        sent["Content-Type"] = "application/x-www-form-urlencoded"
    try:
        connection.request(method, path, body, sent | (headers or {}))
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
    finally:
        connection.close()
    for cookie in answer.headers.get_all("Set-Cookie") or []:
        name, _, value = cookie.partition(";")[0].partition("=")
        if cookies is not None:
            cookies[name] = value
    return Response(answer.status, answer.headers, text)


@dataclass
class Deploy:
    """One place where the project runs: its code, its environment, its HOME and its directory for temporary files."""

    factor: str
    code: Path
    root: Path
    environment: dict[str, str]
    processes: list[Process] = field(default_factory=list)
    never_ready: ClassVar[str] = ""

    def fail(self, problem: str, output: str = "") -> NoReturn:
        """Fail the test, naming the factor."""
        pytest.fail(f"{self.factor}: {problem}" + (f"\n{output}" if output else ""), pytrace=False)

    def start(self, command: str, **variables: str) -> Process:
        """Start a command on a free port, without waiting for anything."""
        environment = {"PORT": str(free_ports()), **self.environment, **variables}
        process = Process(command, self.code, environment)
        self.processes.append(process)
        return process

    def web(self, **variables: str) -> Process:
        """Start the Procfile's web process; return when it answers."""
        return self.ready(self.start(self.command("web"), **variables))

    def command(self, process_type: str) -> str:
        """Return the command of the Procfile."""
        commands = procfile()
        if process_type not in commands:
            self.fail(f"the Procfile has no {process_type} process")
        return commands[process_type]

    def ready(self, process: Process) -> Process:
        """Return a web process when it answers, or fail."""
        # What did not answer in all that time before is not waited for as long again.
        problem = process.wait_until_ready(SECONDS / 5 if Deploy.never_ready == process.command else SECONDS)
        process.seconds_to_start = time.monotonic() - process.begun
        if problem:
            Deploy.never_ready = process.command if "within" in problem else Deploy.never_ready
            self.fail(f"the web process does not start: see VII Port binding ({problem})", process.output)
        return process

    def run(self, command: str, seconds: float = 60, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, through the shell."""
        process = self.start(command, **variables)
        try:
            process.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.fail(f"`{command}` does not end within {seconds:.0f} s", process.output)
        process.join()
        return subprocess.CompletedProcess(
            command, process.popen.returncode, "\n".join(process.stdout), "\n".join(process.stderr)
        )

    def ask(self, code: str, **variables: str) -> Any:
        """Run Python in a process that loaded the application as the web process does; return what it `answer`s."""
        return self.asking(code, **variables)()

    def asking(self, code: str, **variables: str) -> Callable[[], Any]:
        """Start what `ask` runs; return a function that waits for its answer."""
        module = settings.WSGI_APPLICATION.rpartition(".")[0]
        marker = secrets.token_hex(8)
        script = (
            f"import {module}, json\n"
            f"def answer(value): print('{marker}' + json.dumps(value, default=str), flush=True)\n{code}\n"
        )
        path = self.root / f"{marker}.py"
        path.write_text(f"import sys; sys.path[0] = {str(self.code)!r}\n{script}")
        process = self.start(shlex.join([sys.executable, str(path)]), **variables)

        def result() -> Any:
            try:
                process.popen.wait(60)
            except subprocess.TimeoutExpired:
                self.fail("a process that loads the application does not end", process.output)
            process.join()
            if process.popen.returncode:
                reason = next((line for line in reversed(process.stderr) if line.strip()), "it says nothing")
                self.fail(f"the application does not load or does not work: {reason}", process.output)
            answers = [line.removeprefix(marker) for line in process.stdout if line.startswith(marker)]
            return json.loads(answers[-1]) if answers else None

        return result

    def close(self) -> None:
        """End every process that was started here, wherever it went."""
        for process in self.processes:
            with suppress(ProcessLookupError):
                os.killpg(process.popen.pid, signal.SIGKILL)
        for pid in with_home(self.environment["HOME"]):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        for process in self.processes:
            process.popen.wait()
            process.join()


def make_environment(root: Path, database_url: str) -> dict[str, str]:
    """Return the whole environment of a deploy, ready for production, with its directories under `root`."""
    for name in ("home", "tmp", "media", "mail"):
        (root / name).mkdir(parents=True, exist_ok=True)
    base = {name: value for name, value in example().items() if name not in ("DEBUG", "PORT", "PROCFILE", "LOG_FORMAT")}
    cache = {"CACHE_URL": os.environ["CACHE_URL"]} if os.environ.get("CACHE_URL", "").strip() else {}
    return {
        **base,
        **cache,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "HOME": str(root / "home"),
        "TMPDIR": str(root / "tmp"),
        "LC_ALL": "C.UTF-8",
        "SECRET_KEY": KEY,
        "ALLOWED_HOSTS": "localhost",
        "DATABASE_URL": database_url,
        "STORAGE_URL": f"file:{root / 'media'}",
        "EMAIL_URL": f"file:{root / 'mail'}",
        "TASKS": "database",
    }
