"""The measures: each is a generator that takes one round after another and yields what it saw as a user would.

In a round the sites take turns, so that what disturbs the machine disturbs all of them; the result is the
median of the rounds' ratios (generated project by startproject, unless the measure says otherwise).
"""

import json
import os
import re
import resource
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Any

import psycopg

from tests import generation
from tests.benchmarks.lab import (
    GENERATED,
    HEADERS,
    LOGIN,
    STARTPROJECT,
    THREADS,
    Lab,
    Server,
    Site,
    Skipped,
    database_setting,
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
    def swing(self) -> tuple[float, float] | None:
        """The lowest and the highest ratio of a round."""
        ratios = [taken[self.of[0]] / taken[self.of[1]] for taken in self.rounds if self.is_ratio]
        return (min(ratios), max(ratios)) if len(ratios) > 1 else None

    def ratio_of(self, peer: str) -> float | None:
        """The median of the rounds' ratios of a peer, where it took part."""
        ratios = [taken[peer] / taken[self.of[1]] for taken in self.rounds if peer in taken and self.is_ratio]
        return statistics.median(ratios) if ratios else None

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
    **more: Any,
) -> Callable[[Callable[[Lab], Iterator[Round]]], Callable[[Lab], Iterator[Round]]]:
    """Add the decorated generator to the measures."""

    def add(take: Callable[[Lab], Iterator[Round]]) -> Callable[[Lab], Iterator[Round]]:
        MEASURES.append(Measure(name, unit, take, of, **more))
        return take

    return add


def in_turn(number: int, *sites: Any) -> list[Any]:
    """Return the sites, in reverse in every second round."""
    return list(reversed(sites)) if number % 2 else list(sites)


# Start


@measure(
    "exec to first 200",
    "s",
    at_most=1.08,
    price="django-tasks-db, which patches Django for its type hints, WhiteNoise's look at each file, and preloading.",
)
def first_page(lab: Lab) -> Iterator[Round]:
    """From the start of gunicorn to the login page."""
    return starts(lab, {site.name: site for site in lab.sites}, times=2)


def starts(lab: Lab, sites: dict[str, Site], times: int = 1, cpu: bool = False) -> Iterator[Round]:
    """Start sites in turn; yield the seconds until the first page, or those of the CPU."""
    for site in sites.values():  # the bytecode of the project's own modules is written
        with site.served():
            pass
    for number in lab.each_round(times):
        taken = {}
        for name in in_turn(number, *sites):
            with sites[name].served() as server:
                taken[name] = server.cpu_seconds() if cpu else server.seconds_to_start
        yield taken


# Memory, after at least 10 s of load and 5,000 requests: earlier, garbage collection has not yet touched the objects
# that the processes share.


def memory(lab: Lab, sites: dict[str, Site], workers: int, rounds: int) -> Iterator[Round]:
    """Memory of all processes, under load, which takes long but swings little."""
    for number in range(rounds):
        taken = {}
        for name in in_turn(number, *sites):
            with sites[name].served("--workers", str(workers)) as server:
                server.work(5 * lab.seconds, round(2500 * lab.seconds))
                taken[name] = server.memory()
        yield taken


def memory_of(workers: int, **goal: Any) -> None:
    """Add a measure of memory with so many workers."""

    @measure(f"memory under load, {workers} worker{'s'[: workers - 1]}", "MiB (PSS)", **goal)
    def take(lab: Lab) -> Iterator[Round]:
        return memory(lab, {site.name: site for site in lab.sites}, workers, 2)


memory_of(1, at_most=1.1, price="a master and a worker, which share the loaded project.")
memory_of(2)
memory_of(4, at_most=0.7)


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


def page(name: str, path: str, status: int = 200, **more: Any) -> None:
    """Add a measure of a page: the generated project logs each request as JSON, startproject logs none."""

    @measure(name, "requests a CPU second", **more)
    def take(lab: Lab) -> Iterator[Round]:
        with ExitStack() as stack:
            servers = {site.name: stack.enter_context(site.served()) for site in lab.sites}
            yield from loads(lab, servers, path, times=2, status=status)


PRICE = "a line of JSON, a request id and a Content-Security-Policy for each request, and a look for a static file."
page("login page", LOGIN, at_least=0.95, price=PRICE)
page("page of one word", "/plain/", at_least=0.8, price=PRICE)
page("page not found", "/nowhere/", 404, at_least=0.85, price=f"{PRICE} And a page in the site's own layout.")


def page_with_query(lab: Lab, seconds: int) -> Iterator[Round]:
    """Compare a page with a query with startproject's, which keeps connections for so many seconds."""
    site = lab.startproject
    database = database_setting(site.environment["DATABASE_URL"]) | {"CONN_MAX_AGE": seconds}
    kept = Site(**vars(site) | {"environment": site.environment | {"DATABASE": json.dumps(database)}})
    with kept.served() as bare, lab.generated.served() as ours:
        yield from loads(lab, {STARTPROJECT: bare, GENERATED: ours}, "/query/")


@measure("page with a query, startproject as it is: a connection a request", "requests a CPU second")
def page_with_new_connection(lab: Lab) -> Iterator[Round]:
    """The CPU of PostgreSQL, which starts a process for each connection, comes on top."""
    return page_with_query(lab, 0)


@measure("page with a query, startproject with CONN_MAX_AGE = 60", "requests a CPU second")
def page_with_kept_connection(lab: Lab) -> Iterator[Round]:
    """Both keep connections; ours also notices one that a restart of the database has closed."""
    return page_with_query(lab, 60)


# Threads and workers


def threads(what: str, path: str) -> None:
    """Add a measure of a page with 5 threads against the 4 of gunicorn.conf.py."""

    @measure(f"5 threads against 4, page that {what}", "requests a second", ("5", "4"))
    def take(lab: Lab) -> Iterator[Round]:
        with ExitStack() as stack:
            servers = {count: stack.enter_context(lab.generated.served("--threads", count)) for count in ("4", "5")}
            yield from loads(lab, servers, path, "per_second", connections=4 * THREADS)


threads("waits 50 ms", "/wait/")
threads("computes for 5 ms", "/compute/")
threads("computes for 5 ms, has a query and waits 10 ms", "/mixed/")


# Two processes of the server and wrk share two CPUs: 1.5 and not 2.
@measure(
    "2 workers against 1, login page",
    "requests a second",
    ("2", "1"),
    at_least=1.5,
    price="what loads them has its share of the same CPUs.",
)
def two_workers(lab: Lab) -> Iterator[Round]:
    """Another core is used."""
    if (os.cpu_count() or 1) < 2:
        raise Skipped("needs two CPUs")
    with ExitStack() as stack:
        servers = {count: stack.enter_context(lab.generated.served("--workers", count)) for count in ("2", "1")}
        yield from loads(lab, servers, LOGIN, "per_second", connections=4 * THREADS)


# Static files


def static_file(lab: Lab, status: int = 200) -> Iterator[Round]:
    """Load a hashed file and the first page, which names it, in turn."""
    with lab.generated.served() as server:
        page = server.get("/")[2].decode()
        found = re.search(r'"(/static/style\.[0-9a-f]{12}\.css)"', page)
        if found is None:
            raise RuntimeError(f"the first page names no hashed file:\n{page}")
        headers = {"Accept-Encoding": "br"}
        answer = server.get(found[1], HEADERS | headers)[1]
        if answer["Content-Encoding"] != "br":
            raise RuntimeError(f"{found[1]} comes as {answer['Content-Encoding']}")
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


@measure("hashed file, Brotli, against the first page", "requests a second", ("file", "first page"), at_least=1)
def static_brotli(lab: Lab) -> Iterator[Round]:
    """As browsers fetch it."""
    return static_file(lab)


@measure("hashed file, 304, against the first page", "requests a second", ("file", "first page"), at_least=1)
def static_not_modified(lab: Lab) -> Iterator[Round]:
    """As browsers ask again."""
    return static_file(lab, status=304)


# Stop


def stop(name: str, at_most: float, connected: bool) -> None:
    """Add a measure: from SIGTERM to the exit of an idle server."""

    @measure(f"SIGTERM to exit, {name}", "s", (GENERATED,), at_most=at_most)
    def take(lab: Lab) -> Iterator[Round]:
        for _ in lab.each_round():
            with lab.generated.served() as server, closing(server.connect()) as connection:
                if connected:
                    connection.request("GET", LOGIN, headers=HEADERS)
                    connection.getresponse().read()
                yield {GENERATED: server.stop()}


stop("no connection open", 1, connected=False)
stop("one connection kept alive", 3, connected=True)


# Tasks


@measure("tasks, PostgreSQL, against the library's own worker and settings", "tasks a second", at_least=0.95)
def tasks(lab: Lab) -> Iterator[Round]:
    """A kept connection against one for each task; each worker in its own project."""
    workers = {
        GENERATED: (lab.generated, ["python", "manage.py", "worker"]),
        STARTPROJECT: (lab.startproject, ["python", "manage.py", "db_worker"]),
    }
    sites = {}
    for name, (site, command) in workers.items():
        url = lab.postgresql.create_database()
        site = site.with_database(url, TASKS="database", DJANGO_SETTINGS_MODULE=site.settings)
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


def tasks_a_second(url: str, count: int) -> float:
    """Wait until the queue is empty, and empty the table; return how fast it went, by its times."""
    deadline = time.monotonic() + 60
    sql = "SELECT count(*), min(started_at), max(finished_at) FROM django_tasks_database_dbtaskresult"
    with psycopg.connect(url, autocommit=True) as connection:
        while (row := connection.execute(f"{sql} WHERE status = 'SUCCESSFUL'").fetchone()) and row[0] < count:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{row[0]} of {count} tasks ran in a minute")
            time.sleep(0.2)
        connection.execute("DELETE FROM django_tasks_database_dbtaskresult")
    _, started, finished = row
    return count / (finished - started).total_seconds()


# Generation


@measure("generation with the default answers", "s", ("seconds",), at_most=1)
def generation_time(lab: Lab) -> Iterator[Round]:
    """From a copy of the template."""
    for number in lab.each_round():
        started = time.perf_counter()
        lab.generate(lab.directory / f"generation{number}")
        yield {"seconds": time.perf_counter() - started}


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


# Growth: what 1,000 URLs or 40 apps add


GROWTH = {"1,000 URLs": {"urls": 1000}, "40 apps": {"apps": 40}}


def added(lab: Lab, what: str, take: Callable[[dict[str, Site]], Iterator[Round]]) -> Iterator[Round]:
    """Take rounds of both projects as they are and grown; yield the differences."""
    both = (lab.startproject, lab.generated)
    sites = {site.name: site for site in both} | {
        f"grown {site.name}": lab.grown(site, **GROWTH[what]) for site in both
    }
    for taken in take(sites):
        yield {site.name: taken[f"grown {site.name}"] - taken[site.name] for site in both}


def cpu_seconds(site: Site, *command: str) -> float:
    """Return the seconds of CPU that a command takes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    site.run(*command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def growth(what: str) -> None:
    """Add the measures of what so much more code adds."""

    @measure(f"{what} more: start", "s of CPU")
    def start(lab: Lab) -> Iterator[Round]:
        return added(lab, what, lambda sites: starts(lab, sites, cpu=True))

    @measure(f"{what} more: `manage.py check`", "s of CPU")
    def checks(lab: Lab) -> Iterator[Round]:
        def take(sites: dict[str, Site]) -> Iterator[Round]:
            for number in lab.each_round():
                yield {
                    name: cpu_seconds(sites[name], "python", "manage.py", "check") for name in in_turn(number, *sites)
                }

        return added(lab, what, take)

    @measure(f"{what} more: memory under load, 1 worker", "MiB (PSS)")
    def more_memory(lab: Lab) -> Iterator[Round]:
        return added(lab, what, lambda sites: memory(lab, sites, 1, 1))


for more in GROWTH:
    growth(more)


@measure("factor tests with 1,000 URLs and 40 apps, against without", "s", ("grown", "as generated"))
def factors(lab: Lab) -> Iterator[Round]:
    """They run in the user's own CI; once."""
    project = Site("development", lab.install_once(), "config.settings", "", [], lab.user | {"UV_OFFLINE": "1"})
    taken = {}
    for name, site in {"as generated": project, "grown": lab.grown(project, urls=1000, apps=40)}.items():
        site.run("uv", "run", "pytest", "-q", "tests/factors")  # the first run compiles, and is not counted
        started = time.perf_counter()
        site.run("uv", "run", "pytest", "-q", "tests/factors")
        taken[name] = time.perf_counter() - started
    yield taken


# Size


@measure("packages in production, with PostgreSQL", "", ("packages",), at_most=20)
def packages(lab: Lab) -> Iterator[Round]:
    """What `uv sync --no-dev` installs."""
    yield {"packages": len(lab.packages)}


@measure("size of the production environment, its files", "MB", ("megabytes",), at_most=60)
def size(lab: Lab) -> Iterator[Round]:
    """As installed, without the bytecode that the first start adds."""
    yield {"megabytes": sum(lab.packages.values()) / 1e6}
