"""A place where the project runs, as one deploy of it; `ask` runs code in a request, or in a process of its own."""

import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import tomllib
from contextlib import closing, suppress
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

import psutil
from django.conf import settings

from tests.factors import work

PROJECT, KEY = Path(__file__).parents[2], secrets.token_urlsafe(50)
SETTINGS = settings.SETTINGS_MODULE  # while they are loaded: fixtures of other tests override settings
PYTHON = f'"{sys.executable}" -c'
SECONDS = 30.0  # until what must happen counts as missing
ALLOWED: dict[str, list[str]] = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"].get("factors", {})
signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that pytest ends what it started
KEYS = {"programs", "variables", "files", "addresses", "writes", "pages", "ports", "debug-changes", "loggers"}


class Broken(Exception):  # noqa: N818
    """A factor is broken: its own test fails, those of the others that cannot go on are skipped and name it."""

    def __init__(self, factor: str, what: str, instead: str, output: str = "", allow: str = "") -> None:
        self.factor, self.what, self.output, self.told = factor, what, output, False
        allow = allow and f"  On purpose? Say so in pyproject.toml, with the reason:\n    [tool.factors]\n    {allow}"
        super().__init__("\n".join(filter(None, [f"{factor}: {what}", f"  Instead: {instead}.", allow, output])))


class Factor(str):
    def demand(self, condition: object, what: str, instead: str, output: str = "") -> None:
        if not condition:
            raise Broken(self, what, instead, output)

    def allow_only(self, key: str, found: dict[str, str], what: str, instead: str) -> None:
        """Raise Broken for the names in `found` that pyproject.toml does not allow; the values are words for each."""
        unneeded = [pattern for pattern in ALLOWED.get(key, []) if not any(fnmatch(name, pattern) for name in found)]
        says = f"[tool.factors] allows {key} = {json.dumps(unneeded)}, and this run did not need it"
        self.demand(not unneeded, says, "delete it from pyproject.toml")
        rest = sorted(name for name in found if not any(fnmatch(name, pattern) for pattern in ALLOWED.get(key, [])))
        if rest:
            what += f": {'; '.join(found[name] for name in rest)}"
            raise Broken(self, what, instead, allow=f"{key} = {json.dumps(rest)}")


def wait(condition: Any, seconds: float = SECONDS) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(0.03)
    return value


def procfile(name: str = "Procfile") -> dict[str, str]:
    pairs = [line.partition(":") for line in (PROJECT / name).read_text(encoding="utf-8").splitlines()]
    return {key: command.strip() for key, _, command in pairs if command and not key.startswith("#")}


@cache
def documented() -> dict[str, tuple[bool, str, str]]:
    """Return each variable of .env.example: whether it is set there, its value, and the text above it."""
    found, above = {}, ""
    for line in (PROJECT / ".env.example").read_text(encoding="utf-8").splitlines():
        name, _, value = line.removeprefix("# ").partition("=")
        if "=" in line and name.replace("_", "").isalnum() and name.isupper():
            found[name] = (line.startswith(name), value, above)
        else:
            above = f"{above} {line}" if line else ""
    return found


def example() -> dict[str, str]:
    return {name: value for name, (is_set, value, _) in documented().items() if is_set}


@cache
def held() -> frozenset[str]:  # by git, if everything were committed
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    names: list[str] = []
    with suppress(OSError):
        listed = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True).stdout
        names = os.fsdecode(listed).split("\0")
    Factor("I Codebase").demand(any(names), "git holds nothing here", "run `git init`, and commit")
    return frozenset(name for name in names if (PROJECT / name).is_file() or (PROJECT / name).is_symlink())


def own() -> set[str]:
    return {Path(name).parts[0].removesuffix(".py") for name in held() if name.endswith(".py")} - {"tests", "conftest"}


def given(code: str, **names: object) -> str:
    return "".join(f"{name} = {value!r}\n" for name, value in names.items()) + code


def free_port() -> int:
    while True:  # below those that the kernel gives to clients
        with suppress(OSError), socket.create_server(("", 15000 + secrets.randbelow(17000))) as listener:
            return listener.getsockname()[1]


class Process:
    """A running command, in a session of its own; its output and events are in files."""

    def __init__(self, command: str, place: "Place", environment: dict[str, str]) -> None:
        self.command, self.place, self.begun, self.seconds = command, place, time.time(), 0.0
        self.port, self.files = int(environment["PORT"] or 0), Path(environment["FACTORS_EVENTS"])
        self.cookies: dict[str, str] = {}
        # A simple command takes the place of the shell, so that exit codes and signals are its own.
        simple = not set(command) & set("&|;<>()`") and command.split()[0] != "exec" and "=" not in command.split()[0]
        shell = ["/bin/sh", "-c", f"exec {command}" if simple else command]
        options = {"cwd": place.code, "env": environment, "stdin": subprocess.DEVNULL, "start_new_session": True}
        with self.files.with_suffix(".out").open("w") as out, self.files.with_suffix(".err").open("w") as err:
            self.popen = subprocess.Popen(shell, stdout=out, stderr=err, **options)

    def printed(self, stream: str = "out") -> str:
        return self.files.with_suffix(f".{stream}").read_text(errors="replace")

    @property
    def tail(self) -> str:
        lines = [*self.printed().splitlines()[-6:], *self.printed("err").splitlines()[-4:]]
        return "\n".join(line[:500] for line in lines)

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        lines = self.files.read_text().splitlines() if self.files.exists() else []
        return [event for event in map(json.loads, lines) if not kinds or event["event"] in kinds]

    def members(self, tell: Any = lambda process: process) -> list[Any]:
        found = []
        for process in psutil.process_iter():
            with suppress(OSError, psutil.Error):
                if os.getsid(process.pid) == self.popen.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(tell(process))
        return found

    def listeners(self, kind: str = "tcp") -> list[Any]:
        sockets = [each for found in self.members(lambda one: one.net_connections(kind)) for each in found]
        return [each.laddr for each in sockets if each.laddr and (kind == "unix" or each.status == psutil.CONN_LISTEN)]

    def get(self, path: str, **headers: str) -> http.client.HTTPResponse:
        """Request a path as the proxy of a platform does, which ended TLS; cookies that come back are kept."""
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        headers = {"Host": "localhost", "X-Forwarded-Proto": "https", "Cookie": cookies} | headers
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)) as connection:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            answer.read1(1_000_000)  # a stream of events has no end
        pairs = [each.partition(";")[0].partition("=") for each in answer.headers.get_all("Set-Cookie") or []]
        self.cookies |= {name: value for name, _, value in pairs}
        return answer

    def answers(self) -> bool:
        with suppress(OSError, http.client.HTTPException):
            return bool(self.get("/livez").status)
        return False

    def ask(self, code: str, path: str = "/factors") -> Any:
        """Run code in the middle of a request; return what it `answer`s, or None."""
        script = self.place.script(code)
        with suppress(http.client.HTTPException, TimeoutError):
            self.get(path, **{"X-Factors": str(script)})
        found = script.with_suffix(".json")
        return json.loads(found.read_text()) if found.exists() else None

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError):  # all of its processes get it, as from honcho and Heroku
            os.killpg(self.popen.pid, number)

    def finish(self, seconds: float = 10.0) -> int | None:  # the exit code, or None when it still runs
        if not wait(lambda: self.popen.poll() is not None and not self.members(), seconds):
            return None
        return 0 if self.popen.poll() == -signal.SIGTERM and "&" in self.command else self.popen.poll()  # the shell's

    def close(self) -> None:  # by SIGKILL
        self.signal(signal.SIGKILL)
        wait(lambda: self.popen.poll() is not None and not self.members(), 5)


class Place:
    """One deploy, ready for production, with its directories under `root`."""

    def __init__(self, code: Path, root: Path, database_url: str = "sqlite:////nowhere/db.sqlite3") -> None:
        self.code, self.root, self.processes = code, root.resolve(), list[Process]()
        home, tmp, media, mail = (self.root / name for name in ("home", "tmp", "media", "mail"))
        for directory in (home, tmp, media, mail):
            directory.mkdir(parents=True, exist_ok=True)
        module = Path(sys.modules[SETTINGS].__file__ or "").relative_to(PROJECT)
        module = code / (module.parent if module.name == "__init__.py" else module)
        left_out = ("DEBUG", "PORT", "PROCFILE", "LOG_FORMAT", "PYTHONUNBUFFERED")
        self.environment = {name: value for name, value in example().items() if name not in left_out} | work.ENVIRONMENT
        self.environment |= {name: os.environ[name] for name in ("CACHE_URL",) if os.environ.get(name, "").strip()}
        self.environment |= {"SECRET_KEY": KEY, "ALLOWED_HOSTS": "localhost", "DATABASE_URL": database_url}
        self.environment |= {"STORAGE_URL": f"file:{media}", "EMAIL_URL": f"file:{mail}", "HOME": str(home)}
        self.environment |= {"TMPDIR": str(tmp), "FACTORS_SETTINGS": str(module), "PYTHONWARNINGS": "ignore"}
        self.environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
        self.environment |= {"PYTHONPATH": str(Path(__file__).parent / "watch"), "FACTORS_CODE": str(code)}

    def start(self, command: str, **variables: str) -> Process:
        fresh = {"PORT": str(free_port()), "FACTORS_EVENTS": f"{self.root}/{len(self.processes)}.events"}
        self.processes.append(Process(command, self, self.environment | fresh | variables))
        return self.processes[-1]

    def run(self, command: str, seconds: float = 60.0, **variables: str) -> Process:
        process = self.start(command, **variables)
        with closing(process), suppress(subprocess.TimeoutExpired):
            process.popen.wait(seconds)
        process.seconds = time.time() - process.begun
        return process

    def web(self, **variables: str) -> Process:
        web = self.start(procfile()["web"], **variables)
        elsewhere = lambda: {each.port for each in web.listeners()} - {web.port}  # noqa: E731
        wait(lambda: web.answers() or web.popen.poll() is not None or (elsewhere() and not wait(web.answers, 1)))
        web.seconds, ended = time.time() - web.begun, web.popen.poll()
        if ended == 0 and wait(web.answers, 3):
            raise Broken("VIII Concurrency", f"`{web.command}` becomes a daemon", "let the platform manage processes")
        how = "nothing answers" if ended is None else f"it ends with exit code {ended}"
        what = f"the web process does not start: {how}, PORT is {web.port}, it listens on {elsewhere() or 'none'}"
        Factor("VII Port binding").demand(web.answers(), what, "bind PORT; read what it says", web.tail)
        return web

    def worker(self, options: str = "") -> Process:
        return self.start(f"{procfile()['worker']} {work.OPTIONS} {options}".strip())

    def script(self, code: str) -> Path:
        path = self.root / f"{secrets.token_hex(8)}.py"
        path.write_text(code, encoding="utf-8")
        return path

    def asking(self, code: str, load: str = "", by: str = PYTHON, factor: str = "VII Port binding", **more: str) -> Any:
        """Start to run code, `by` a command that runs Python; return a function that waits for what it answers."""
        script, load = self.script(code), load or settings.WSGI_APPLICATION.rpartition(".")[0]
        program = f"import {load}, sitecustomize; sitecustomize.run({str(script)!r})"
        process = self.start(f'{by} "{program}"', **more)

        def answer() -> Any:
            with closing(process), suppress(subprocess.TimeoutExpired):
                process.popen.wait(300)
            says = f"the application cannot be loaded or asked by `{by}`"
            Factor(factor).demand(script.with_suffix(".json").exists(), says, "read what it says", process.tail)
            return json.loads(script.with_suffix(".json").read_text())

        return answer

    def ask(self, code: str, **options: str) -> Any:
        return self.asking(code, **options)()

    def close(self) -> None:
        for process in self.processes:
            process.close()
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.environ().get("FACTORS_EVENTS", "").startswith(str(self.root)):
                    process.kill()
