"""The measures: each is a generator that takes one round after another and yields what it saw.

In a round the sites take turns, so that what disturbs the machine disturbs both; the result is the
median of the rounds' ratios (generated project by startproject, unless the measure says otherwise).
"""

import json
import os
import re
import shutil
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg

from tests import generation
from tests.benchmarks.lab import (
    FUNCTION,
    GENERATED,
    HEADERS,
    LOGIN,
    STARTPROJECT,
    THREADS,
    Lab,
    Server,
    Site,
    Skipped,
)

Round = dict[str, float]


@dataclass
class Measure:
    """A named generator of rounds, and what is wanted of its result."""

    name: str
    unit: str
    take: Callable[[Lab], Iterator[Round]]
    of: tuple[str, ...]  # two keys of a round: their ratio; one: its value
    at_most: float | None = None
    at_least: float | None = None
    price: str = ""  # why it costs what it costs
    rounds: list[Round] = field(default_factory=list)
    skipped: str = ""

    @property
    def is_ratio(self) -> bool:
        """Whether the result is a ratio."""
        return len(self.of) == 2

    @property
    def medians(self) -> Round:
        """The median of each value."""
        return {
            key: statistics.median(taken[key] for taken in self.rounds)
            for key in (self.rounds[0] if self.rounds else {})
        }

    @property
    def result(self) -> float | None:
        """The median of the rounds' ratios or values."""
        if not self.rounds:
            return None
        if self.is_ratio:
            return statistics.median(taken[self.of[0]] / taken[self.of[1]] for taken in self.rounds)
        return self.medians[self.of[0]]

    @property
    def goal(self) -> str:
        """The goal in words."""
        if self.at_most is not None:
            return f"≤ {self.at_most:g}"
        return f"≥ {self.at_least:g}" if self.at_least is not None else ""

    @property
    def met(self) -> bool | None:
        """Whether the result is what is wanted, if anything is."""
        if self.result is None or not self.goal:
            return None
        if self.at_most is not None:
            return self.result <= self.at_most
        return self.result >= (self.at_least or 0)


MEASURES: list[Measure] = []


def measure(
    name: str,
    unit: str,
    of: tuple[str, ...] = (GENERATED, STARTPROJECT),
    into: list[Measure] = MEASURES,
    **more: Any,
) -> Callable[[Callable[[Lab], Iterator[Round]]], Callable[[Lab], Iterator[Round]]]:
    """Add the decorated generator to a list of measures."""

    def add(take: Callable[[Lab], Iterator[Round]]) -> Callable[[Lab], Iterator[Round]]:
        into.append(Measure(name, unit, take, of, **more))
        return take

    return add


def in_turn(number: int, *sites: Any) -> list[Any]:
    """Return the sites, in reverse in every second round."""
    return list(reversed(sites)) if number % 2 else list(sites)


# Start


@measure(
    "exec to first 200",
    "s",
    at_most=1.15,
    price="django-tasks-db, which patches Django for its type hints (6 % of a start's "
    "instructions), WhiteNoise's look at each file (2 %), and preloading, once a deploy.",
)
def first_page(lab: Lab) -> Iterator[Round]:
    """From the start of gunicorn to the login page, which it has then imported everything for."""
    sites = [lab.startproject, lab.generated]
    for site in sites:  # the bytecode of the project's own modules is written
        with site.served():
            pass
    for number in lab.each_round(3):
        taken = {}
        for site in in_turn(number, *sites):
            with site.served() as server:
                taken[site.name] = server.seconds_to_start
        yield taken


@measure("exec to first 200 without bytecode, against with it", "s", ("without", "with"))
def first_page_without_bytecode(lab: Lab) -> Iterator[Round]:
    """What an image pays at each start whose build compiled nothing."""
    for number in lab.each_round():
        taken = {}
        for name in in_turn(number, "with", "without"):
            elsewhere = {
                "PYTHONPYCACHEPREFIX": str(lab.home / "nothing"),
                "PYTHONDONTWRITEBYTECODE": "1",
            }
            with lab.generated.served(**elsewhere if name == "without" else {}) as server:
                taken[name] = server.seconds_to_start
        yield taken


OWN_MODULES = """
import config.env, config.logs, config.services, config.settings
import django; django.setup()
import config.health, config.urls, accounts.admin, jobs.tasks, pages.views
"""


@measure("import of the project's own modules (`-X importtime`, self)", "ms", (GENERATED,), at_most=15)
def own_imports(lab: Lab) -> Iterator[Round]:
    """What the template adds to the import of Django and of its libraries."""
    site = lab.generated
    program = str(lab.compiled / "bin/python")
    environment = site.environment | {"DJANGO_SETTINGS_MODULE": site.settings}
    own = re.compile(r"import time:\s+(\d+) \|\s+\d+ \| +(?:accounts|config|jobs|pages)\b", re.ASCII)
    for _ in lab.each_round():
        command = [program, "-X", "importtime", "-c", OWN_MODULES]
        done = generation.run(command, site.directory, environment)
        if done.returncode:
            raise RuntimeError(done.stderr)
        yield {GENERATED: sum(int(self_us) for self_us in own.findall(done.stderr)) / 1000}


def parts(lab: Lab) -> Iterator[Round]:
    """Time parts of the generated project by themselves."""
    site = lab.generated
    alone = Site(**vars(site) | {"environment": site.environment | {"DJANGO_SETTINGS_MODULE": site.settings}})
    for _ in lab.each_round():
        yield json.loads(alone.run("python", "benchmark_parts.py"))


@measure(
    "WhiteNoise's look at all files, at start",
    "ms",
    ("scan",),
    price="once a process, so that no request looks for a file on the disk.",
)
def scan(lab: Lab) -> Iterator[Round]:
    """Those of the admin above all."""
    return parts(lab)


@measure("a line of the access log, against gunicorn's own in the same format", "ms", ("line", "gunicorn's line"))
def access_line(lab: Lab) -> Iterator[Round]:
    """gunicorn collects some sixty values for each."""
    return parts(lab)


def dependency_import(module: str, price: str) -> None:
    """Add a measure: what importing a dependency costs, with what it brings that was not there."""

    @measure(f"import of {module}, with what only it needs", "ms", ("import",), price=price)
    def take(lab: Lab) -> Iterator[Round]:
        program = str(lab.compiled / "bin/python")
        site = lab.generated
        environment = site.environment | {"DJANGO_SETTINGS_MODULE": site.settings}
        line = re.compile(rf"import time:\s+\d+ \|\s+(\d+) \| +{module}$", re.MULTILINE)
        for _ in lab.each_round():
            command = [program, "-X", "importtime", "-c", f"{OWN_MODULES}import whitenoise.middleware"]
            found = line.findall(generation.run(command, site.directory, environment).stderr)
            yield {"import": sum(map(int, found)) / 1000}


dependency_import("django_stubs_ext", "django-tasks-db, the queue in the database, needs it for its type hints.")
dependency_import("whitenoise.middleware", "static files without a web server in front.")
dependency_import("dj_database_url", "every form that a DATABASE_URL may have.")


# Memory


def memory(lab: Lab, workers: int) -> Iterator[Round]:
    """Memory of all processes after some requests, of which every worker had its share."""
    for number in lab.each_round():
        taken = {}
        for site in in_turn(number, lab.startproject, lab.generated):
            with site.served("--workers", str(workers)) as server:
                server.warm_up()
                taken[site.name] = server.memory()
        yield taken


@measure(
    "memory, 1 worker",
    "MiB (PSS)",
    at_most=1.2,
    price="the same libraries, and a master that shares the loaded project with one worker only.",
)
def memory_of_one(lab: Lab) -> Iterator[Round]:
    """As most deploys start."""
    return memory(lab, 1)


@measure("memory, 2 workers", "MiB (PSS)")
def memory_of_two(lab: Lab) -> Iterator[Round]:
    """What the second one adds."""
    return memory(lab, 2)


@measure("memory, 4 workers", "MiB (PSS)", at_most=0.6)
def memory_of_four(lab: Lab) -> Iterator[Round]:
    """As it grows: the generated project loads once and forks."""
    return memory(lab, 4)


# Requests


def loads(
    lab: Lab, servers: dict[str, Server], path: str, what: str = "per_cpu_second", times: int = 1, **options: Any
) -> Iterator[Round]:
    """Load servers in turn, `times` as many rounds."""
    for server in servers.values():
        server.load(path, 1, **options)
    for number in lab.each_round(times):
        taken = {}
        for name in in_turn(number, *servers):
            taken[name] = getattr(servers[name].load(path, lab.seconds, **options), what)
        yield taken


@measure(
    "login page",
    "requests a CPU second",
    at_least=0.95,
    price="a line of JSON a request, for which gunicorn's own would cost as much, a request id in "
    "every line and response, a Content-Security-Policy, and WhiteNoise's look for a static file.",
)
def login_page(lab: Lab) -> Iterator[Round]:
    """With JSON access log, request ids, CSP and WhiteNoise; startproject logs nothing."""
    with lab.startproject.served() as bare, lab.generated.served() as ours:
        yield from loads(lab, {STARTPROJECT: bare, GENERATED: ours}, LOGIN, times=2)


@measure("login page, startproject with gunicorn's own access log", "requests a CPU second")
def login_page_logged(lab: Lab) -> Iterator[Round]:
    """The same with a line a request on both sides."""
    logged = ("--access-logfile", "-")
    with lab.startproject.served(*logged) as bare, lab.generated.served() as ours:
        yield from loads(lab, {STARTPROJECT: bare, GENERATED: ours}, LOGIN)


@measure("page of one word", "requests a CPU second")
def plain_page(lab: Lab) -> Iterator[Round]:
    """Where nothing hides what each request costs: log line, request id, headers."""
    with lab.startproject.served() as bare, lab.generated.served() as ours:
        yield from loads(lab, {STARTPROJECT: bare, GENERATED: ours}, "/plain/")


@measure(
    "page that waits 50 ms, against gunicorn's default of one worker with one thread",
    "requests a second",
    at_least=0.95 * THREADS,
)
def waiting_page(lab: Lab) -> Iterator[Round]:
    """What threads are for."""
    default = Site(**vars(lab.startproject) | {"options": ["--threads", "1"]})
    with default.served() as bare, lab.generated.served() as ours:
        servers = {STARTPROJECT: bare, GENERATED: ours}
        yield from loads(lab, servers, "/wait/", "per_second", connections=4 * THREADS)


def against_the_ceiling(lab: Lab, path: str) -> Iterator[Round]:
    with lab.function.served() as function, lab.generated.served() as ours:
        yield from loads(lab, {FUNCTION: function, GENERATED: ours}, path)


@measure("first page, against a WSGI function", "requests a CPU second", (GENERATED, FUNCTION))
def first_page_load(lab: Lab) -> Iterator[Round]:
    """Template, session and user included."""
    return against_the_ceiling(lab, "/")


@measure("`/livez`, against a WSGI function", "requests a CPU second", (GENERATED, FUNCTION))
def livez(lab: Lab) -> Iterator[Round]:
    """What every platform asks every few seconds."""
    return against_the_ceiling(lab, "/livez")


# Static files


def static_file(lab: Lab, *, encoding: str, status: int = 200) -> Iterator[Round]:
    """Load a hashed file and the first page, which names it, in turn."""
    with lab.generated.served() as server:
        page = server.get("/")[2].decode()
        found = re.search(r'"(/static/style\.[0-9a-f]{12}\.css)"', page)
        if found is None:
            raise RuntimeError(f"the first page names no hashed file:\n{page}")
        headers = {"Accept-Encoding": encoding}
        answer = server.get(found[1], HEADERS | headers)[1]
        if answer["Content-Encoding"] != encoding:
            raise RuntimeError(f"{found[1]} comes as {answer['Content-Encoding']}, not as {encoding}")
        if status == 304:
            headers["If-None-Match"] = answer["ETag"]
        for number in lab.each_round():
            taken = {}
            for kind in in_turn(number, "first page", "file"):
                if kind == "file":
                    load = server.load(found[1], lab.seconds, status=status, headers=headers)
                else:
                    load = server.load("/", lab.seconds)
                taken[kind] = load.per_second
            yield taken


OF_THE_FIRST_PAGE: dict[str, Any] = {"of": ("file", "first page"), "at_least": 1}


@measure("hashed file, gzip, against the first page", "requests a second", **OF_THE_FIRST_PAGE)
def static_gzip(lab: Lab) -> Iterator[Round]:
    """As tools fetch it."""
    return static_file(lab, encoding="gzip")


@measure("hashed file, Brotli, against the first page", "requests a second", **OF_THE_FIRST_PAGE)
def static_brotli(lab: Lab) -> Iterator[Round]:
    """As browsers fetch it."""
    return static_file(lab, encoding="br")


@measure("hashed file, 304, against the first page", "requests a second", **OF_THE_FIRST_PAGE)
def static_not_modified(lab: Lab) -> Iterator[Round]:
    """As browsers ask again."""
    return static_file(lab, encoding="br", status=304)


# Database


def page_with_query(lab: Lab, site: Site) -> Iterator[Round]:
    """Compare a page that has a query with one that has none, plus the time of the query inside of a page."""
    with site.served() as server, closing(server.connect()) as connection:

        def query_ms() -> float:
            connection.request("GET", "/query-time/", headers=HEADERS)
            return 1000 * float(connection.getresponse().read())

        for path in ("/plain/", "/query/"):
            server.load(path, 1, connections=1)
        for number in lab.each_round():
            taken = {}
            for path in in_turn(number, "/plain/", "/query/"):
                taken[path] = 1000 / server.load(path, lab.seconds, connections=1).per_second
            query = statistics.median(query_ms() for _ in range(round(100 * lab.seconds)))
            yield {
                "page with a query": taken["/query/"],
                "page + query": taken["/plain/"] + query,
                "page": taken["/plain/"],
                "query": query,
            }


OF_A_QUERY = ("page with a query", "page + query")


@measure(
    "PostgreSQL: page with a query, against the page without it plus the query",
    "ms",
    OF_A_QUERY,
    at_most=1.1,
    price="the health check, one more round trip to the database before the first query of a request, is why a "
    "restart of the database fails none; the next line is without it, and is Django's own.",
)
def page_with_checked_query(lab: Lab) -> Iterator[Round]:
    """Connections are kept: the query is added, and the health check."""
    return page_with_query(lab, lab.generated)


@measure("PostgreSQL: the same with CONN_HEALTH_CHECKS off", "ms", OF_A_QUERY)
def page_with_unchecked_query(lab: Lab) -> Iterator[Round]:
    """Nothing but the query is added."""
    return page_with_query(lab, lab.unchecked)


@measure("PostgreSQL: page with a query", "ms")
def page_with_query_bare(lab: Lab) -> Iterator[Round]:
    """Django's own default opens a connection for each request."""
    with lab.startproject.served() as bare, lab.generated.served() as ours:
        servers = {STARTPROJECT: bare, GENERATED: ours}
        for taken in loads(lab, servers, "/query/", "per_second", connections=1):
            yield {name: 1000 / rate for name, rate in taken.items()}


# Workers


def workers(lab: Lab, more: int, fewer: int) -> Iterator[Round]:
    """Load the login page of the generated project with more and fewer workers."""
    with ExitStack() as stack:
        counts = {f"{count} workers": count for count in (more, fewer)}
        servers = {
            name: stack.enter_context(lab.generated.served("--workers", str(count))) for name, count in counts.items()
        }
        yield from loads(lab, servers, LOGIN, "per_second", connections=4 * THREADS)


# Two processes of the server and wrk share two CPUs: 1.5 and not 2.
@measure("2 workers against 1, login page", "requests a second", ("2 workers", "1 workers"), at_least=1.5)
def two_workers(lab: Lab) -> Iterator[Round]:
    """Another core is used."""
    if (os.cpu_count() or 1) < 2:
        raise Skipped("needs two CPUs")
    return workers(lab, 2, 1)


@measure("4 workers against 2, login page", "requests a second", ("4 workers", "2 workers"))
def four_workers(lab: Lab) -> Iterator[Round]:
    """On four cores as from one to two; on two nothing can be gained."""
    return workers(lab, 4, 2)


# Stop


def stop(lab: Lab, *, connected: bool) -> Iterator[Round]:
    """From SIGTERM to the exit of an idle server."""
    for number in lab.each_round():
        taken = {}
        for site in in_turn(number, lab.startproject, lab.generated):
            with site.served() as server, closing(server.connect()) as connection:
                server.warm_up()
                if connected:
                    connection.request("GET", LOGIN, headers=HEADERS)
                    connection.getresponse().read()
                taken[site.name] = server.stop()
        yield taken


@measure("SIGTERM to exit, no connection open", "s", (GENERATED,), at_most=1)
def stop_idle(lab: Lab) -> Iterator[Round]:
    """Nobody there."""
    return stop(lab, connected=False)


@measure("SIGTERM to exit, one connection kept alive", "s", (GENERATED,), at_most=3)
def stop_connected(lab: Lab) -> Iterator[Round]:
    """A proxy keeps its connections."""
    return stop(lab, connected=True)


# Tasks


def tasks(lab: Lab, url: Callable[[Site], str]) -> Iterator[Round]:
    """Run the same queue with our worker and with the library's, each in its own project."""
    workers = {
        GENERATED: (lab.generated, ["python", "manage.py", "worker"]),
        STARTPROJECT: (lab.startproject, ["python", "manage.py", "db_worker"]),
    }
    sites = {}
    for name, (site, command) in workers.items():
        site = site.with_database(url(site), TASKS="database", DJANGO_SETTINGS_MODULE=site.settings)
        site.run("python", "manage.py", "migrate")
        sites[name] = (site, command)
    count = round(100 * lab.seconds)
    for number in lab.each_round():
        taken = {}
        for name in in_turn(number, *sites):
            site, command = sites[name]
            site.run("python", "benchmark_tasks.py", str(count))
            with site.started(*command):
                taken[name] = tasks_a_second(site.environment["DATABASE_URL"], count)
        yield taken


RESULTS = "django_tasks_database_dbtaskresult"


def query(url: str, sql: str) -> list[tuple[Any, ...]]:
    """Return the rows that a statement gives, if it gives any."""
    if url.startswith("sqlite:///"):
        connection: Any = sqlite3.connect(url.removeprefix("sqlite:///"), timeout=20)
    else:
        connection = psycopg.connect(url)
    with closing(connection), connection:
        cursor = connection.execute(sql)
        return cursor.fetchall() if cursor.description else []


def tasks_a_second(url: str, count: int) -> float:
    """Wait until the queue is empty, and empty the table; return how fast it went, by its times."""
    deadline = time.monotonic() + 60
    done = f"SELECT started_at, finished_at FROM {RESULTS} WHERE status = 'SUCCESSFUL'"  # noqa: S608
    while len(rows := query(url, done)) < count:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{len(rows)} of {count} tasks ran in a minute")
        time.sleep(0.2)
    query(url, f"DELETE FROM {RESULTS}")  # noqa: S608
    times = [datetime.fromisoformat(str(value)).timestamp() for row in rows for value in row]
    return count / (max(times) - min(times))


@measure("tasks, SQLite, against the library's own worker and settings", "tasks a second", at_least=0.95)
def tasks_on_sqlite(lab: Lab) -> Iterator[Round]:
    """WAL against Django's default."""
    return tasks(lab, lambda site: f"sqlite:///{site.directory / 'tasks.sqlite3'}")


@measure(
    "tasks, PostgreSQL, against the library's own worker and settings",
    "tasks a second",
    at_least=0.95,
)
def tasks_on_postgresql(lab: Lab) -> Iterator[Round]:
    """A kept connection against one for each task."""
    return tasks(lab, lambda site: lab.postgresql.create_database())


# Generation


@measure(
    "generation, against twice startproject plus Cookiecutter's own start",
    "s",
    ("generation", "2 startprojects + start"),
    at_most=1,
)
def generation_time(lab: Lab) -> Iterator[Round]:
    """With the default answers, from a copy of the template."""
    programs = {"PATH": f"{lab.compiled / 'bin'}{os.pathsep}{lab.user['PATH']}"}
    for number in lab.each_round():
        directory = lab.directory / f"generation{number}"
        taken = {}
        for name in in_turn(number, "generation", "startproject", "start"):
            started = time.perf_counter()
            if name == "generation":
                lab.generate(directory)
            elif name == "start":
                generation.cookiecutter(lab.template, lab.home, "--version")
            else:
                bare = lab.directory / f"bare{number}"
                bare.mkdir()
                command = ["django-admin", "startproject", "bare", "."]
                generation.run(command, bare, lab.user | programs)
            taken[name] = time.perf_counter() - started
        yield taken | {"2 startprojects + start": 2 * taken["startproject"] + taken["start"]}


@measure("keystroke to first page: generate, install, migrate, serve", "s", ("seconds",), at_most=15)
def keystroke_to_first_page(lab: Lab) -> Iterator[Round]:
    """The README's commands; what uv needs is in its cache, so it asks no package index."""
    lab.install_once()
    for number in lab.each_round():
        directory = lab.directory / f"keystroke{number}"
        port = str(generation.free_port())
        started = time.perf_counter()
        project = lab.generate(directory)
        environment = lab.user | {"UV_OFFLINE": "1", "PORT": port}
        site = Site("development", project, "", "", [], environment)
        # What is in .env counts more for honcho than what is set.
        dotenv = project / ".env"
        dotenv.write_text(dotenv.read_text().replace("PORT=8000", f"PORT={port}"))
        with site.started("uv", "run", "honcho", "start") as process:
            server = Server(site, process, int(port))
            while not server.answers("/", {"Host": "localhost"}):
                if process.poll() is not None or time.perf_counter() > started + 120:
                    raise RuntimeError(site.log.read_text())
                time.sleep(0.01)
            yield {"seconds": time.perf_counter() - started}
        shutil.rmtree(directory)


@measure("tests of the generated project", "s", ("seconds",))
def project_tests(lab: Lab) -> Iterator[Round]:
    """All of them, on SQLite; once."""
    project = lab.install_once()
    started = time.perf_counter()
    done = generation.run(["uv", "run", "--offline", "pytest", "-q"], project, lab.user, seconds=300)
    if done.returncode:
        raise RuntimeError(done.stdout)
    yield {"seconds": time.perf_counter() - started}


# Size


@measure("packages in production, with PostgreSQL", "", ("packages",), at_most=20)
def packages(lab: Lab) -> Iterator[Round]:
    """What `uv sync --no-dev` installs."""
    yield {"packages": len(lab.packages)}


@measure("size of the production environment, its files", "MB", ("megabytes",), at_most=60)
def size(lab: Lab) -> Iterator[Round]:
    """As installed, without the bytecode that the first start adds."""
    yield {"megabytes": sum(lab.packages.values()) / 1e6}


@measure("size of the production environment as `du` counts it", "MB", ("megabytes",))
def size_on_disk(lab: Lab) -> Iterator[Round]:
    """In blocks of this file system, with directories: Django's 2,000 of translations above all."""
    yield {"megabytes": lab.on_disk() / 1e6}


@measure("size of the production environment with bytecode for all of it", "MB", ("megabytes",))
def size_compiled(lab: Lab) -> Iterator[Round]:
    """More than any start writes, as most modules are never imported."""
    files = [path for path in lab.compiled.rglob("*") if path.is_file() and not path.is_symlink()]
    yield {"megabytes": sum(path.stat().st_size for path in files) / 1e6}
