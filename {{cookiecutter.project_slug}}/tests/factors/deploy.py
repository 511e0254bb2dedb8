"""A place where the project runs, as one deploy of it: its own code, HOME, directory for temporary files, environment.

place = deploy(WEB_THREADS="3")
web = place.web()                    # the Procfile's command, answering on PORT
web.get("/").status
web.ask("answer(request.path)")      # run in the middle of a request
place.ask("answer(1 + 1)")           # run in a process of its own that loaded the application
place.stop(web)                      # its exit code
"""

import functools
import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from random import randrange
from typing import Any

import psutil
from django.conf import settings

PROJECT = Path(__file__).parents[2]
WATCH = Path(__file__).parent / "watch"
SECONDS = 30.0  # until what must happen counts as missing
NEVER_COPIED = (".git", ".venv", ".env", "staticfiles", "media", "mail", "db.sqlite3*", "node_modules", "__pycache__")
# This test run loads the project too: the files that this makes are not the project's.
STARTED = psutil.Process(os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()).create_time()

KEY = secrets.token_urlsafe(50)
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
ALLOWED: dict[str, list[str]] = PYPROJECT.get("tool", {}).get("factors", {})
# What a team may write there. Each key is the matter of one factor.
KEYS = {
    "programs": "programs of the system that the project starts (II)",
    "variables": "variables that are read outside of the settings, or that change none (III)",
    "files": "files that the project reads and git does not hold (III)",
    "addresses": "hosts that no variable names (IV)",
    "writes": "files that the processes leave on the disk (VI)",
    "pages": "pages that depend on the process that answers (VI)",
    "ports": "what the web process listens on besides PORT (VII)",
    "debug-changes": "settings that DEBUG changes besides the usual ones (X)",
    "loggers": "loggers that are silenced (XI)",
}


class Broken(Exception):  # noqa: N818
    """A factor is broken: its own test fails, those of the others that cannot go on are skipped and name it."""

    def __init__(self, factor: str, what: str, instead: str, allow: str = "", output: str = "") -> None:
        """Say what happened, what to do instead, and how to allow it."""
        self.factor, self.what, self.output = factor, what, output
        lines = [f"{factor}: {what}", f"  Instead: {instead}."]
        if allow:
            lines.append(
                f"  On purpose? Then say so in pyproject.toml, with the reason:\n    [tool.factors]\n    {allow}"
            )
        super().__init__("\n".join([*lines, output] if output else lines))


def demand(condition: object, factor: str, what: str, instead: str, output: str = "") -> None:
    """Raise Broken unless a condition holds."""
    if not condition:
        raise Broken(factor, what, instead, output=output)


def allow_only(key: str, found: dict[str, str], factor: str, what: str, instead: str) -> None:
    """Raise Broken for what was `found` (by name, with words for it) and pyproject.toml does not allow."""
    patterns = ALLOWED.get(key, [])
    unneeded = [pattern for pattern in patterns if not any(fnmatch(name, pattern) for name in found)]
    says = f"[tool.factors] allows {key} = {unneeded}, and nothing needs it any more"
    demand(not unneeded, factor, says, "delete it from pyproject.toml")
    rest = {name: words for name, words in found.items() if not any(fnmatch(name, pattern) for pattern in patterns)}
    if rest:
        raise Broken(factor, f"{what}: {'; '.join(rest.values())}", instead, f"{key} = {json.dumps(sorted(rest))}")


def wait(condition: Callable[[], Any], seconds: float = SECONDS) -> Any:
    """Return the first true value of `condition`, or its last one after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(0.03)
    return value


def assignments(name: str, separator: str) -> dict[str, str]:
    """Return the lines `name: value` or `NAME=value` of a file of the project."""
    lines = (PROJECT / name).read_text(encoding="utf-8").splitlines() if (PROJECT / name).exists() else []
    pairs = [line.partition(separator) for line in lines if separator in line and not line.startswith(("#", " "))]
    return {key.strip(): value.strip() for key, _, value in pairs if " " not in key.strip()}


def procfile(name: str = "Procfile") -> dict[str, str]:
    """Return the commands of a Procfile by process type."""
    return assignments(name, ":")


def documented() -> set[str]:
    """Return the variables that .env.example describes, set or not."""
    lines = (PROJECT / ".env.example").read_text(encoding="utf-8").splitlines()
    names = {line.removeprefix("# ").partition("=")[0] for line in lines if "=" in line}
    return {name for name in names if name.isupper() and name.replace("_", "").isalnum()}


def example() -> dict[str, str]:
    """Return the variables that .env.example sets."""
    return assignments(".env.example", "=")


def git(*arguments: str, directory: Path = PROJECT) -> str | None:
    """Run git with nobody's configuration; return what it prints, or None where it fails or is not there."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C"}
    for role in ("AUTHOR", "COMMITTER"):
        environment |= {f"GIT_{role}_NAME": "factors", f"GIT_{role}_EMAIL": "factors@example.com"}
    with suppress(OSError):
        command = ["git", "-c", "core.autocrlf=false", *arguments]
        run = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
        return None if run.returncode else run.stdout
    return None


@functools.cache
def held() -> frozenset[str]:
    """Return the files that git holds, or would if everything were committed; without git what looks like them."""
    tracked = set(filter(None, (git("ls-files", "-z") or "").split("\0")))
    listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if listed is None:
        found = set()
        ignored = shutil.ignore_patterns(*NEVER_COPIED)
        for directory, folders, names in PROJECT.walk():
            environments = {name for name in folders if (directory / name / "pyvenv.cfg").exists()}
            left_out = ignored(str(directory), [*folders, *names]) | environments
            folders[:] = [name for name in folders if name not in left_out]
            found |= {str((directory / name).relative_to(PROJECT)) for name in names if name not in left_out}
    else:
        found = set(filter(None, listed.split("\0")))
    regular = {name for name in found if (PROJECT / name).is_file() or (PROJECT / name).is_symlink()}
    return frozenset(name for name in regular if name in tracked or (PROJECT / name).lstat().st_mtime < STARTED)


def checkout(target: Path) -> Path:
    """Make a repository at `target` with one commit: what git holds, and nothing else."""
    for name in held():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(PROJECT / name, target / name, follow_symlinks=False)
    git("init", "-q", directory=target)
    git("add", "-A", directory=target)
    git("commit", "-q", "-m", "One commit", directory=target)
    return target


def copy(source: Path, target: Path) -> Path:
    """Copy a directory, but for sockets and alike."""
    others = lambda directory, names: [n for n in names if stat_is_special(Path(directory, n))]  # noqa: E731
    return Path(shutil.copytree(source, target, symlinks=True, ignore=others))


def stat_is_special(path: Path) -> bool:
    """Tell whether a path is neither a file, a directory nor a link."""
    return not (path.is_file() or path.is_dir() or path.is_symlink())


def free_ports(count: int = 1) -> int:
    """Return a port of which it and the next ones are free; below those that the kernel gives to clients."""
    while True:
        first = randrange(15000, 32000)
        with suppress(OSError):
            for port in range(first, first + count):
                socket.create_server(("", port)).close()
            return first


@dataclass
class Response:
    """What a process answered."""

    status: int
    headers: http.client.HTTPMessage
    text: str


@dataclass
class Process:
    """A running command, in a session of its own, with its output in files."""

    command: str
    place: "Place"
    environment: dict[str, str]
    files: Path  # the output and the events, but for the suffix
    popen: subprocess.Popen
    begun_at: float = field(default_factory=time.time)
    seconds_to_start: float = 0.0

    @property
    def stdout(self) -> str:
        """What it has printed so far."""
        return self.files.with_suffix(".out").read_text(errors="replace")

    @property
    def stderr(self) -> str:
        """What it has printed to stderr so far."""
        return self.files.with_suffix(".err").read_text(errors="replace")

    @property
    def tail(self) -> str:
        """The last lines of both, for messages."""
        return "\n".join([*self.stdout.splitlines()[-8:], *self.stderr.splitlines()[-12:]])

    @property
    def port(self) -> int:
        """The port that its environment names."""
        return int(self.environment["PORT"])

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        """Return what the watch has noted so far."""
        file = self.files.with_suffix(".events")
        lines = file.read_text().splitlines() if file.exists() else []
        return [event for event in map(json.loads, lines) if not kinds or event["event"] in kinds]

    def members(self) -> list[psutil.Process]:
        """Return the living processes of its session: a shell may end before what it started."""
        found = []
        for process in psutil.process_iter():
            with suppress(OSError, psutil.Error):
                if os.getsid(process.pid) == self.popen.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def listeners(self) -> set[tuple[str, int]]:
        """Return the addresses and ports on which its processes listen."""
        found = set()
        for process in self.members():
            with suppress(psutil.Error):
                listening = (each for each in process.net_connections("tcp") if each.status == psutil.CONN_LISTEN)
                found |= {(each.laddr.ip, each.laddr.port) for each in listening}
        return found

    def get(self, path: str, cookies: dict[str, str] | None = None, port: int = 0, **headers: str) -> Response:
        """Request a path as the proxy of a platform does, which ended TLS; cookies that come back are kept."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=SECONDS)
        sent = {"Host": "localhost", "X-Forwarded-Proto": "https"} | headers
        if cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
        try:
            connection.request("GET", path, headers=sent)
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
        finally:
            connection.close()
        for cookie in answer.headers.get_all("Set-Cookie") or []:
            name, _, value = cookie.partition(";")[0].partition("=")
            if cookies is not None:
                cookies[name] = value
        return Response(answer.status, answer.headers, text)

    def answers(self) -> bool:
        """Tell whether anything is answered on PORT."""
        with suppress(OSError, http.client.HTTPException):
            return bool(self.get("/livez").status)
        return False

    def ask(self, code: str, cookies: dict[str, str] | None = None, path: str = "/factors") -> Any:
        """Run code in the middle of a request; return what it `answer`s, or None."""
        script = self.place.script(code)
        with suppress(http.client.HTTPException):
            self.get(path, cookies, **{"X-Factors": str(script)})
        return answered(script)

    def signal(self, number: int) -> None:
        """Send a signal to all of its processes, as honcho and Heroku do."""
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, number)

    def ended(self) -> bool:
        """Tell whether the command and all that it started are gone."""
        return self.popen.poll() is not None and not self.members()


def given(code: str, **names: object) -> str:
    """Return code that begins with names for values."""
    return "".join(f"{name} = {value!r}\n" for name, value in names.items()) + code


def answered(script: Path) -> Any:
    """Return what a script answered."""
    file = Path(f"{script}.json")
    return json.loads(file.read_text()) if file.exists() else None


@dataclass
class Place:
    """One deploy."""

    code: Path
    root: Path
    environment: dict[str, str]
    processes: list[Process] = field(default_factory=list)

    def start(self, command: str, **variables: str) -> Process:
        """Start a command, through the shell as honcho and platforms do, on a free port."""
        files = self.root / f"{len(self.processes)}"
        watched = {"PYTHONPATH": str(WATCH), "FACTORS_EVENTS": f"{files}.events", "FACTORS_CODE": str(self.code)}
        environment = {"PORT": str(free_ports()), **self.environment, **watched, **variables}
        # A simple command takes the place of the shell, so that exit codes and signals are its own.
        simple = (
            not set(command) & set("&|;<>()`") and not command.startswith("exec ") and "=" not in command.split()[0]
        )
        with files.with_suffix(".out").open("w") as out, files.with_suffix(".err").open("w") as err:
            popen = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {command}" if simple else command],
                cwd=self.code,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self.processes.append(Process(command, self, environment, files, popen))
        return self.processes[-1]

    def run(self, command: str, seconds: float = 60.0, **variables: str) -> Process:
        """Run a command to its end; one that takes longer is killed."""
        process = self.start(command, **variables)
        with suppress(subprocess.TimeoutExpired):
            process.popen.wait(seconds)
        if process.popen.poll() is None:
            self.kill(process)
        return process

    def command(self, process_type: str) -> str:
        """Return the command of the Procfile."""
        commands = procfile()
        what = f"the Procfile has no {process_type} process"
        demand(process_type in commands, "VIII Concurrency", what, f"write a line `{process_type}: …`")
        return commands[process_type]

    def web(self, **variables: str) -> Process:
        """Start the web process; return when it answers, or raise Broken."""
        web = self.start(self.command("web"), **variables)
        up = wait(lambda: web.answers() or web.popen.poll() is not None or self.elsewhere(web))
        web.seconds_to_start = time.time() - web.begun_at
        if up and web.popen.poll() == 0 and wait(web.answers, 3):
            what = "the web process puts itself into the background"
            raise Broken("VIII Concurrency", what, "let it run in the foreground: the platform manages processes")
        if up and web.answers():
            return web
        from tests.factors.day import why

        raise why(web)

    def elsewhere(self, web: Process) -> set[int]:
        """Return the ports on which it listens instead, if it has done so for a while."""
        ports = {port for _, port in web.listeners()}
        return ports - {web.port} if ports and web.port not in ports and not wait(web.answers, 1) else set()

    def worker(self, options: str = "", **variables: str) -> Process:
        """Start the worker process."""
        return self.start(f"{self.command('worker')} {options}".strip(), **variables)

    def script(self, code: str) -> Path:
        """Write code into a file that `ask` runs."""
        path = self.root / f"{secrets.token_hex(8)}.py"
        path.write_text(code, encoding="utf-8")
        return path

    def load_alone(self) -> Process:
        """Load the application in a process of its own, and nothing more."""
        return self.run(f'"{sys.executable}" -c "import {settings.WSGI_APPLICATION.rpartition(".")[0]}"')

    def asking(self, code: str, python: str = sys.executable, load: str = "", **variables: str) -> Callable[[], Any]:
        """Start a process that loads the application and runs code; return a function that waits for its answer."""
        script = self.script(code)
        load = load or settings.WSGI_APPLICATION.rpartition(".")[0]
        program = f"import {load}, sitecustomize; sitecustomize.run({str(script)!r})"
        process = self.start(f'"{python}" -c "{program}"', **variables)

        def answer() -> Any:
            with suppress(subprocess.TimeoutExpired):
                process.popen.wait(300)
            found = answered(script)
            if found is None:
                self.kill(process)
                reason = next((line for line in reversed(process.stderr.splitlines()) if line.strip()), "no word")
                what = f"a process that loads the application does not do its work: {reason}"
                raise Broken("VII Port binding", what, "read what it says", output=process.tail)
            return found

        return answer

    def ask(self, code: str, **options: str) -> Any:
        """Return what code answers, in a process of its own that loaded the application."""
        return self.asking(code, **options)()

    def stop(self, process: Process, seconds: float = 10.0) -> int | None:
        """Send SIGTERM; return the exit code, or None when it still runs after so many seconds."""
        process.signal(signal.SIGTERM)
        return self.finish(process, seconds)

    def finish(self, process: Process, seconds: float = 10.0) -> int | None:
        """Return the exit code of what is about to end, or None when it still runs after so many seconds."""
        if not wait(process.ended, seconds):
            return None
        code = process.popen.wait()
        return 0 if code == -signal.SIGTERM and "&" in process.command else code  # the shell's own end

    def kill(self, process: Process) -> None:
        """Send SIGKILL to all of its processes, and return when they are gone."""
        process.signal(signal.SIGKILL)
        process.popen.wait()
        wait(lambda: not process.members(), 5)

    def close(self) -> None:
        """End every process that was started here, wherever it went."""
        for process in self.processes:
            process.signal(signal.SIGKILL)
            process.popen.wait()
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.environ().get("FACTORS_EVENTS", "").startswith(str(self.root)):
                    process.kill()


def make_place(code: Path, root: Path, database_url: str) -> Place:
    """Return a deploy, ready for production, with its directories under `root`."""
    from tests.factors import work

    root = root.resolve()
    for name in ("home", "tmp", "media", "mail"):
        (root / name).mkdir(parents=True, exist_ok=True)
    left_out = ("DEBUG", "PORT", "PROCFILE", "LOG_FORMAT")
    base = {name: value for name, value in example().items() if name not in left_out}
    cache = {"CACHE_URL": os.environ["CACHE_URL"]} if os.environ.get("CACHE_URL", "").strip() else {}
    loaded = Path(sys.modules[settings.SETTINGS_MODULE].__file__ or "").relative_to(PROJECT)
    loaded = loaded.parent if loaded.name == "__init__.py" else loaded
    environment = {
        **base,
        **cache,
        **work.ENVIRONMENT,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "HOME": str(root / "home"),
        "TMPDIR": str(root / "tmp"),
        "LC_ALL": "C.UTF-8",
        "PYTHONWARNINGS": "ignore",
        "FACTORS_SETTINGS": str(code / loaded),
        "SECRET_KEY": KEY,
        "ALLOWED_HOSTS": "localhost",
        "DATABASE_URL": database_url,
        "STORAGE_URL": f"file:{root / 'media'}",
        "EMAIL_URL": f"file:{root / 'mail'}",
    }
    return Place(code, root, environment)
