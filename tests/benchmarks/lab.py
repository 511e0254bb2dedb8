"""What is compared, and the means to run and to measure it: processes, their CPU and memory, load.

Everything listens on 127.0.0.1, runs for a bounded time and ends with its `with` block.
"""

import http.client
import importlib.metadata
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psutil

from tests import generation, servers

ADDED = Path(__file__).with_name("added")
HOST = "www.example.com"
SECRET_KEY = "a-key-of-the-benchmark-that-signs-nothing-outside-of-it"
# What a proxy in front that speaks HTTPS sends: gunicorn believes those at 127.0.0.1.
HEADERS = {"Host": HOST, "X-Forwarded-Proto": "https"}
THREADS = 4  # of the generated project's gunicorn.conf.py, and so of the others
LOGIN = "/admin/login/"
SECONDS_TO_START = 30
SECONDS_TO_STOP = 30

GENERATED, STARTPROJECT = "generated project", "startproject"
HIGHEST_LOAD = 0.5  # of the last minute, before a benchmark starts


class Skipped(Exception):
    """A measure cannot be taken on this machine, and why."""


def database_setting(url: str) -> dict[str, Any]:
    """Return what the documentation of Django says to write for a URL, and nothing more."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": parts.path[1:]}
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path[1:],
        "USER": parts.username,
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname,
        "PORT": parts.port,
    }


@dataclass
class Site:
    """A project that gunicorn serves."""

    name: str
    directory: Path
    settings: str
    application: str
    options: list[str]  # of gunicorn
    environment: dict[str, str]

    def with_database(self, url: str, **variables: str) -> "Site":
        """Return the same site on another database."""
        database = {"DATABASE_URL": url, "DATABASE": json.dumps(database_setting(url))}
        more = self.environment | database | variables
        return Site(self.name, self.directory, self.settings, self.application, self.options, more)

    def run(self, *command: str) -> str:
        """Run a program in the project to its end; return what it printed."""
        done = generation.run([*command], self.directory, self.environment, seconds=600)
        if done.returncode:
            raise RuntimeError(f"{command} failed in {self.directory}:\n{done.stdout}{done.stderr}")
        return done.stdout

    @property
    def log(self) -> Path:
        """What the program that was started last printed."""
        return self.directory.parent / f"{self.directory.name}.log"

    @contextmanager
    def started(self, *command: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a program in the project until the end of the block."""
        program = shutil.which(command[0], path=self.environment["PATH"]) or command[0]
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                [program, *command[1:]],
                cwd=self.directory,
                env=self.environment | variables,
                stdin=subprocess.DEVNULL,
                stdout=log,  # a file: reading a pipe would take time from what is measured
                stderr=log,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(SECONDS_TO_STOP)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    @contextmanager
    def served(self, *options: str, **variables: str) -> Iterator["Server"]:
        """Serve the project; enter the block when it has answered."""
        port = generation.free_port()
        started = time.perf_counter()
        command = [*self.options, "--bind", f"127.0.0.1:{port}", *options]
        with self.started("gunicorn", self.application, *command, **variables) as process:
            server = Server(self, process, port)
            while not server.answers():
                if process.poll() is not None or time.perf_counter() > started + SECONDS_TO_START:
                    raise RuntimeError(f"{self.name} does not start:\n{self.log.read_text()}")
                time.sleep(0.002)
            server.seconds_to_start = time.perf_counter() - started
            yield server


@dataclass
class Server:
    """A running site."""

    site: Site
    process: subprocess.Popen[bytes]
    port: int
    seconds_to_start: float = 0

    def connect(self) -> http.client.HTTPConnection:
        """Return a connection that is kept until it is closed."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS_TO_START)

    def get(self, path: str, headers: dict[str, str] = HEADERS) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Return status, headers and body of a page, fetched on a connection of its own."""
        connection = self.connect()
        try:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def answers(self, path: str = LOGIN, headers: dict[str, str] = HEADERS) -> bool:
        """Return whether a page is there: the one that is compared, unless another is named."""
        with suppress(OSError, http.client.HTTPException):
            return self.get(path, headers)[0] == 200
        return False

    @property
    def processes(self) -> list[psutil.Process]:
        """The master and its workers."""
        master = psutil.Process(self.process.pid)
        return [master, *master.children(recursive=True)]

    def work(self, seconds: float, requests: int) -> None:
        """Load all workers for that long at least, and until they have answered that many requests."""
        connections = 4 * THREADS
        answered = self.load(LOGIN, seconds, connections=connections).requests
        while answered < requests:
            answered += self.load("/plain/", 1, connections=connections).requests

    def memory(self) -> float:
        """Return the proportional set size in MiB: what processes share counts once."""
        return sum(process.memory_full_info().pss for process in self.processes) / 2**20

    def cpu_seconds(self) -> float:
        """Return the seconds of CPU that the processes have used so far: to the nanosecond, unlike their cpu_times."""
        threads = [thread for process in self.processes for thread in Path(f"/proc/{process.pid}/task").iterdir()]
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9

    def load(
        self,
        path: str,
        seconds: float,
        *,
        connections: int = THREADS,
        status: int = 200,
        headers: dict[str, str] | None = None,
    ) -> "Load":
        """Ask for a page as often as it is answered; RuntimeError when an answer is a wrong one."""
        wrk = shutil.which("wrk")
        if wrk is None:
            raise Skipped("needs wrk: apt-get install wrk")
        sent = HEADERS | (headers or {})
        if (answer := self.get(path, sent)[0]) != status:
            log = self.site.log.read_text()[-3000:]
            raise RuntimeError(f"{self.site.name} answers {path} with {answer}:\n{log}")
        options = ["-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s"]
        before = self.cpu_seconds()
        done = subprocess.run(
            [
                wrk,
                *options,
                *(f"-H{name}: {value}" for name, value in sent.items()),
                f"http://127.0.0.1:{self.port}{path}",
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        cpu = self.cpu_seconds() - before
        found = re.search(r"(\d+) requests in ([\d.]+)(m?s)", done.stdout)
        wrong = re.search(r"Non-2xx or 3xx responses: (\d+)", done.stdout)
        expected = found and (found[1] if status >= 400 else "0")
        if found is None or (wrong[1] if wrong else "0") != expected or "Socket errors" in done.stdout:
            raise RuntimeError(f"{path} of {self.site.name}:\n{done.stdout}")
        elapsed = float(found[2]) / (1000 if found[3] == "ms" else 1)
        return Load(int(found[1]), elapsed, cpu)

    def stop(self) -> float:
        """End the server as a platform does; return the seconds that it took."""
        started = time.perf_counter()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(SECONDS_TO_STOP)
        return time.perf_counter() - started


@dataclass
class Load:
    """What wrk saw, and what it cost the server."""

    requests: int
    seconds: float
    cpu: float

    @property
    def per_second(self) -> float:
        """Requests in a second."""
        return self.requests / self.seconds

    @property
    def per_cpu_second(self) -> float:
        """Requests in a second of CPU."""
        return self.requests / max(self.cpu, 0.01)


@dataclass
class Lab:
    """The sites, made once, and how long to measure."""

    directory: Path
    rounds: int
    seconds: float  # of load, each time
    peers: list[Path] = field(default_factory=list)  # the sources of other projects
    adaptations: list[str] = field(default_factory=list)  # of the peers
    progress: Any = print
    stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> "Lab":
        """Return itself: everything is made when it is first asked for."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the database server."""
        self.stack.close()

    def each_round(self, times: int = 1) -> Iterator[int]:
        """Count the rounds, `times` as many for what is short, and show them."""
        for number in range(self.rounds * times):
            self.progress(".", end="", flush=True)
            yield number

    @cached_property
    def home(self) -> Path:
        """An empty home directory."""
        path = self.directory / "home"
        path.mkdir()
        return path

    @cached_property
    def user(self) -> dict[str, str]:
        """The environment of a new user's shell."""
        return generation.user_environment(self.home)

    @cached_property
    def template(self) -> Path:
        """A copy of the template, without what git ignores."""
        path = self.directory / "template"
        generation.copy_template(path)
        return path

    @cached_property
    def postgresql(self) -> servers.PostgreSQL:
        """A server of PostgreSQL."""
        return self.stack.enter_context(servers.PostgreSQL())

    def generate(self, directory: Path) -> Path:
        """Generate a project with default answers; return its directory."""
        directory.mkdir(parents=True)
        done = generation.cookiecutter(self.template, directory, "--no-input")
        if done.returncode:
            raise RuntimeError(done.stderr)
        return directory / "my_project"

    @cached_property
    def virtual_environment(self) -> Path:
        """The production environment of a generated project, which all sites run in."""
        project = self.generate(self.directory / "environment")
        command = [generation.executable("uv"), "sync", "--no-dev"]
        done = generation.run(command, project, self.user, seconds=300)
        if done.returncode:
            raise RuntimeError(done.stderr)
        return project / ".venv"

    @cached_property
    def packages(self) -> dict[str, int]:
        """The packages of the production environment as installed, and their size in bytes."""
        found = importlib.metadata.distributions(
            path=[str(path) for path in self.virtual_environment.glob("lib/python*/site-packages")]
        )
        return {
            package.name: sum(
                os.path.getsize(file.locate())
                for file in package.files or []
                if file.suffix != ".pyc" and os.path.exists(file.locate())
            )
            for package in found
        }

    @cached_property
    def versions(self) -> dict[str, str]:
        """The versions that matter."""
        program = str(self.virtual_environment / "bin/python")
        asked = (
            "import sys; from importlib.metadata import version as v; print("
            "sys.version.split()[0], v('django'), v('gunicorn'), v('whitenoise'), v('psycopg'))"
        )
        printed = generation.run([program, "-c", asked], self.directory, self.user).stdout
        return dict(
            zip(
                ("Python", "Django", "gunicorn", "whitenoise", "psycopg"),
                printed.split(),
                strict=True,
            )
        )

    def install_once(self) -> Path:
        """Return a generated project that is installed, so that uv has everything in its cache."""
        project = self.directory / "warm/my_project"
        if not project.exists():
            self.generate(project.parent)
            done = generation.run(["uv", "sync"], project, self.user, seconds=300)
            if done.returncode:
                raise RuntimeError(done.stderr)
        return project

    @cached_property
    def compiled(self) -> Path:
        """The production environment with bytecode, as after the first start."""
        python = str(self.virtual_environment / "bin/python")
        generation.run([python, "-m", "compileall", "-q", "."], self.virtual_environment, self.user)
        return self.virtual_environment

    def environment(self, url: str) -> dict[str, str]:
        """Return the variables of a deploy."""
        return {
            "PATH": generation.search_path(self.compiled / "bin"),
            "HOME": str(self.home),
            "SECRET_KEY": SECRET_KEY,
            "ALLOWED_HOSTS": HOST,
            "DATABASE_URL": url,
            "DATABASE": json.dumps(database_setting(url)),
        }

    @cached_property
    def generated(self) -> Site:
        """The generated project, built and released, with its own gunicorn.conf.py."""
        directory = self.generate(self.directory / "generated")
        self.add_to(directory, directory / "config/urls.py")
        environment = self.environment(self.postgresql.create_database())
        site = Site(GENERATED, directory, "config.settings", "config.wsgi", [], environment)
        site.run("python", "manage.py", "collectstatic", "--no-input")
        site.run("python", "manage.py", "migrate")
        return site

    @cached_property
    def startproject(self) -> Site:
        """What django-admin writes, with the settings that the checklist of deployment asks."""
        directory = self.directory / "bare"
        directory.mkdir()
        environment = self.environment(self.postgresql.create_database())
        options = ["--worker-class", "gthread", "--threads", str(THREADS)]
        site = Site(STARTPROJECT, directory, "bare.settings", "bare.wsgi", options, environment)
        site.run("django-admin", "startproject", "bare", ".")
        with (directory / "bare/settings.py").open("a") as settings:
            settings.write((ADDED / "benchmark_settings.py").read_text())
        self.add_to(directory, directory / "bare/urls.py")
        site.run("python", "manage.py", "migrate")
        return site

    @cached_property
    def sites(self) -> list[Site]:
        """startproject, the generated project, and the peers."""
        from tests.benchmarks import peers

        return [self.startproject, self.generated, *(peers.released(self, source) for source in self.peers)]

    def add_to(self, directory: Path, urls: Path) -> None:
        """Add the benchmark's pages and tasks to a project."""
        for name in ("benchmark_pages.py", "benchmark_tasks.py"):
            shutil.copy(ADDED / name, directory)
        with urls.open("a") as file:
            file.write("\nfrom benchmark_pages import urlpatterns as added\n\nurlpatterns += added\n")

    def grown(self, site: Site, urls: int = 0, apps: int = 0) -> Site:
        """Return a copy of a project that has so many more URLs, and apps with a model each."""
        directory = site.directory.with_name(f"{site.directory.name}-{urls}-{apps}")
        grown = Site(**vars(site) | {"directory": directory})
        if directory.exists():
            return grown
        shutil.copytree(site.directory, directory, ignore=shutil.ignore_patterns(".venv"))
        code = directory / site.settings.partition(".")[0]
        with (code / "urls.py").open("a") as file:
            file.write(MORE_URLS.format(urls))
        with (code / "settings.py").open("a") as file:
            file.write(f"\nINSTALLED_APPS += [f'grown{{number}}' for number in range({apps})]\n")
        for number in range(apps):
            app = directory / f"grown{number}"
            app.mkdir()
            (app / "__init__.py").touch()
            (app / "models.py").write_text(MODEL)
        return grown


MORE_URLS = """
from django.http import HttpResponse as Grown
from django.urls import path as grown_path

urlpatterns += [grown_path(f"grown/{{number}}/", lambda request: Grown(), name=f"g{{number}}") for number in range({})]
"""
MODEL = """from django.db import models


class Thing(models.Model):
    name = models.CharField(max_length=100)
    added = models.DateTimeField(auto_now_add=True)
"""


def machine() -> dict[str, Any]:
    """Return the size of this machine and the versions that matter."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {
        "cpus": os.cpu_count(),
        "cpu": model[1] if model else "",
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
    }
