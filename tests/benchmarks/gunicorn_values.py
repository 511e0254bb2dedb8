"""Each value of the generated gunicorn.conf.py next to its alternatives, on the generated project.

timeout and backlog are gunicorn's own. A page that takes long takes 2 s here, so that a round is short.
"""

import http.client
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from itertools import chain

from tests.benchmarks.lab import HEADERS, LOGIN, THREADS, Lab, Server
from tests.benchmarks.measures import Measure, Round, in_turn, loads, measure

VALUES: list[Measure] = []

CLASSES = {
    "gthread, 4 threads": ("--worker-class", "gthread", "--threads", "4"),
    "sync": ("--worker-class", "sync", "--threads", "1"),
}
THREAD_COUNTS = {str(count): ("--threads", str(count)) for count in (2, 4, 8, 16)}
KEEP_ALIVE = {f"{seconds} s": ("--keep-alive", str(seconds)) for seconds in (100, 2)}
TIMEOUT = {
    "gthread, timeout 1 s": ("--timeout", "1"),
    "sync, timeout 1 s": ("--timeout", "1", "--worker-class", "sync", "--threads", "1"),
}
GRACE = {"25 s": (), "1 s": ("--graceful-timeout", "1")}
BACKLOG = {str(length): ("--backlog", str(length)) for length in (2048, 16)}
CONNECTIONS = 256


def load_each(lab: Lab, options: dict[str, tuple[str, ...]], path: str) -> Iterator[Round]:
    """Load the project with each of some options in turn."""
    with ExitStack() as stack:
        servers = {name: stack.enter_context(lab.generated.served(*option)) for name, option in options.items()}
        yield from loads(lab, servers, path, "per_second", connections=4 * THREADS)


@measure("worker_class: page of one word", "requests a second", tuple(CLASSES), into=VALUES)
def fast_page_by_class(lab: Lab) -> Iterator[Round]:
    """What threads cost."""
    return load_each(lab, CLASSES, "/plain/")


@measure("worker_class: page that waits 50 ms", "requests a second", tuple(CLASSES), into=VALUES)
def waiting_page_by_class(lab: Lab) -> Iterator[Round]:
    """What threads bring."""
    return load_each(lab, CLASSES, "/wait/")


@measure("threads: login page", "requests a second", ("4", "2"), into=VALUES)
def login_page_by_threads(lab: Lab) -> Iterator[Round]:
    """Work for the CPU: one thread at a time has the interpreter."""
    return load_each(lab, THREAD_COUNTS, LOGIN)


@measure("threads: page that waits 50 ms", "requests a second", ("4", "2"), into=VALUES)
def waiting_page_by_threads(lab: Lab) -> Iterator[Round]:
    """Each thread is another request that waits."""
    return load_each(lab, THREAD_COUNTS, "/wait/")


@measure("threads: memory", "MiB (PSS)", ("4", "2"), into=VALUES)
def memory_by_threads(lab: Lab) -> Iterator[Round]:
    """Each thread has a stack, an arena and, with a database, a connection."""
    return memory(lab, THREAD_COUNTS)


# What is appended to gunicorn.conf.py.
PRELOAD = {"on": "", "off": "preload_app = False"}
READY = {"loads": "", "does nothing": "when_ready = lambda server: None"}
FREEZE = {
    "no": "",
    "gc.freeze() before the fork": "import gc\npre_fork = lambda server, worker: gc.freeze()",
}


def four_workers(lab: Lab, changes: dict[str, str]) -> dict[str, tuple[str, ...]]:
    """Return the options that run 4 workers with each change of gunicorn.conf.py."""
    directory = lab.generated.directory
    text = (directory / "gunicorn.conf.py").read_text()
    options = {}
    for number, (name, change) in enumerate(changes.items()):
        (directory / f"changed{number}.conf.py").write_text(f"{text}\n{change}\n")
        options[name] = ("--workers", "4", "--config", f"changed{number}.conf.py")
    return options


def memory(lab: Lab, options: dict[str, tuple[str, ...]]) -> Iterator[Round]:
    """Memory of all processes after some requests."""
    for number in lab.each_round():
        taken = {}
        for name in in_turn(number, *options):
            with lab.generated.served(*options[name]) as server:
                server.warm_up()
                taken[name] = server.memory()
        yield taken


@measure("preload_app: start of 4 workers", "s", ("on", "off"), into=VALUES)
def start_by_preload(lab: Lab) -> Iterator[Round]:
    """Until the first page."""
    options = four_workers(lab, PRELOAD)
    for number in lab.each_round():
        taken = {}
        for name in in_turn(number, *options):
            with lab.generated.served(*options[name]) as server:
                taken[name] = server.seconds_to_start
        yield taken


@measure("preload_app: memory of 4 workers", "MiB (PSS)", ("on", "off"), into=VALUES)
def memory_by_preload(lab: Lab) -> Iterator[Round]:
    """After some requests."""
    return memory(lab, four_workers(lab, PRELOAD))


@measure("when_ready: memory of 4 workers", "MiB (PSS)", tuple(READY), into=VALUES)
def memory_by_readiness(lab: Lab) -> Iterator[Round]:
    """What each worker would otherwise load with its first request."""
    return memory(lab, four_workers(lab, READY))


@measure("no gc.freeze: memory of 4 workers", "MiB (PSS)", tuple(FREEZE), into=VALUES)
def memory_by_freeze(lab: Lab) -> Iterator[Round]:
    """What keeping the garbage collector away from shared objects would save."""
    return memory(lab, four_workers(lab, FREEZE))


@measure(
    "keepalive: requests lost of 10, on connections idle for 3 s",
    "",
    tuple(KEEP_ALIVE),
    into=VALUES,
)
def lost_by_keep_alive(lab: Lab) -> Iterator[Round]:
    """A proxy that keeps connections longer than the server sends into closed ones."""
    with ExitStack() as stack:
        servers = {name: stack.enter_context(lab.generated.served(*option)) for name, option in KEEP_ALIVE.items()}
        for _ in lab.each_round():
            connections = {
                name: [stack.enter_context(closing(server.connect())) for _ in range(10)]
                for name, server in servers.items()
            }
            for connection in chain.from_iterable(connections.values()):
                connection.request("GET", "/livez")
                connection.getresponse().read()
            time.sleep(3)
            yield {name: 10 - sum(map(answers, kept)) for name, kept in connections.items()}


def answers(connection: http.client.HTTPConnection) -> bool:
    """Return whether a connection that was open still works, without opening another."""
    with suppress(OSError, http.client.HTTPException):
        if connection.sock:
            connection.auto_open = 0
            connection.request("GET", "/livez")
            return connection.getresponse().read() != b""
    return False


@measure("keepalive: SIGTERM to exit with a connection kept", "s", tuple(KEEP_ALIVE), into=VALUES)
def stop_by_keep_alive(lab: Lab) -> Iterator[Round]:
    """It is not waited for."""
    for number in lab.each_round():
        taken = {}
        for name in in_turn(number, *KEEP_ALIVE):
            served = lab.generated.served(*KEEP_ALIVE[name])
            with served as server, closing(server.connect()) as connection:
                connection.request("GET", LOGIN, headers=HEADERS)
                connection.getresponse().read()
                taken[name] = server.stop()
        yield taken


@measure(f"backlog: {CONNECTIONS} visitors at once, all answered after", "s", tuple(BACKLOG), into=VALUES)
def burst_by_backlog(lab: Lab) -> Iterator[Round]:
    """Who does not fit into the backlog tries again a second later."""
    with ExitStack() as stack, ThreadPoolExecutor(CONNECTIONS) as visitors:
        servers = {name: stack.enter_context(lab.generated.served(*option)) for name, option in BACKLOG.items()}
        for number in lab.each_round():
            taken = {}
            for name in in_turn(number, *servers):
                started = time.perf_counter()
                list(visitors.map(servers[name].get, ["/livez"] * CONNECTIONS))
                taken[name] = time.perf_counter() - started
            yield taken


def asked(server: Server, path: str) -> bool:
    """Return whether a page comes."""
    with suppress(OSError, http.client.HTTPException):
        return server.get(path)[0] == 200
    return False


@measure("timeout: pages of 2 s that came, of 4", "", tuple(TIMEOUT)[:1], into=VALUES)
def slow_pages_by_timeout(lab: Lab) -> Iterator[Round]:
    """With threads it is for a worker that hangs as a whole, not for a page; 30 s is gunicorn's own."""
    with ThreadPoolExecutor(4) as visitors:
        for number in lab.each_round():
            taken = {}
            for name in in_turn(number, *TIMEOUT):
                with lab.generated.served(*TIMEOUT[name]) as server:
                    taken[name] = sum(visitors.map(asked, [server] * 4, ["/slow/"] * 4))
            yield taken


@measure("graceful_timeout: pages of 2 s that came, of 4, asked for before SIGTERM", "", tuple(GRACE)[:1], into=VALUES)
def slow_pages_by_grace(lab: Lab) -> Iterator[Round]:
    """25 s leave the platform's 30 some for the rest of the exit."""
    with ThreadPoolExecutor(4) as visitors:
        for number in lab.each_round():
            taken = {}
            for name in in_turn(number, *GRACE):
                with lab.generated.served(*GRACE[name]) as server:
                    pages = [visitors.submit(asked, server, "/slow/") for _ in range(4)]
                    time.sleep(0.5)  # all four are being answered
                    server.stop()
                    taken[name] = sum(page.result() for page in pages)
            yield taken
