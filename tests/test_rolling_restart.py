"""A rolling restart loses no request: drained first, or behind a balancer that tries again what is refused.

REQUESTS=20000 uv run pytest -m slow -s tests/test_rolling_restart.py prints what the documentation says.
"""

import http.client
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from deploys import build
from generation import PRODUCTION, Project, Server, free_port, user_environment, wait_until
from servers import find_program

pytestmark = [pytest.mark.slow, pytest.mark.alone]

VISITORS = 8
PAUSE = 0.015  # seconds from one request of a visitor to the next: 533 requests a second
AT_LEAST = 200  # requests a second
ENOUGH = int(os.environ.get("REQUESTS", "2000"))
INSTANCES = ("one", "two", "three")
ENVIRONMENT = PRODUCTION | {"SECURE_SSL_REDIRECT": "false", "WEB_CONCURRENCY": "2", "LOG_LEVEL": "warning"}

HAPROXY = """
global
    stats socket {directory}/admin level admin
defaults
    mode http
    http-reuse never
    {retries}
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend balancer
    bind 127.0.0.1:{port}
    default_backend web
backend web
    balance roundrobin
    option httpchk GET /readyz
    default-server check inter 200ms fall 2 rise 1
"""


# No second try hides a lost request; or one is made when the kernel refused the connection, and at no other time.
NEVER = "retries 0"
WHEN_REFUSED = "retries 3\n    retry-on conn-failure\n    option redispatch 1"


class Balancer(Server):
    """HAProxy in front of instances: asks each for /readyz."""

    def __init__(self, directory: Path, ports: dict[str, int], retries: str) -> None:
        """Balance between the ports, by name."""
        self.port = free_port()
        self.admin = directory / "admin"
        config = HAPROXY.format(directory=directory, port=self.port, retries=retries)
        config += "".join(f"    server {name} 127.0.0.1:{p}\n" for name, p in ports.items())
        (directory / "haproxy.cfg").write_text(config)
        program = find_program("haproxy", "haproxy")
        super().__init__([program, "-f", "haproxy.cfg"], directory, user_environment(directory))
        wait_until(self.admin.exists, 10, lambda: self.output)

    def tell(self, command: str) -> str:
        """Send a command: https://docs.haproxy.org/2.6/management.html#9.3."""
        with closing(socket.socket(socket.AF_UNIX)) as client:
            client.connect(str(self.admin))
            client.sendall(f"{command}\n".encode())
            return b"".join(iter(lambda: client.recv(65536), b"")).decode()

    def server(self, name: str) -> dict[str, str]:
        """Return the statistics of an instance."""
        header, *lines = self.tell("show stat").removeprefix("# ").splitlines()
        rows = (dict(zip(header.split(","), line.split(","), strict=False)) for line in lines)
        return next(row for row in rows if (row.get("pxname"), row.get("svname")) == ("web", name))

    def wait_until_up(self, name: str) -> None:
        """Return when the checks of an instance say that it is ready."""
        wait_until(lambda: self.server(name)["status"] == "UP", 60, lambda: self.tell("show stat"))

    def drain(self, name: str) -> None:
        """Take an instance out, and wait until it has nothing left to do; as preStop does."""
        self.tell(f"set server web/{name} state drain")
        wait_until(lambda: self.server(name)["scur"] == "0", 30, lambda: self.tell("show stat"))

    def undrain(self, name: str) -> None:
        """Let an instance have requests again."""
        self.tell(f"set server web/{name} state ready")


class Load:
    """Visitors that send requests at a steady pace, on connections that they keep."""

    def __init__(self, port: int) -> None:
        """Send to `port`."""
        self.port = port
        self.answers: Counter[str] = Counter()
        self.lock = threading.Lock()
        self.stopped = threading.Event()
        self.threads = [threading.Thread(target=self.visit) for _ in range(VISITORS)]

    def visit(self) -> None:
        """Send requests until told to stop."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        due = time.monotonic()
        while not self.stopped.wait(max(0.0, due - time.monotonic())):
            due = max(due + PAUSE, time.monotonic() - 1)
            try:
                connection.request("GET", "/", headers={"Host": "www.example.com"})
                response = connection.getresponse()
                response.read()
                answer = str(response.status)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                answer = type(error).__name__
            with self.lock:
                self.answers[answer] += 1
        connection.close()

    @property
    def failed(self) -> int:
        """How many requests were not answered well."""
        return self.answers.total() - self.answers["200"]

    def __enter__(self) -> "Load":
        self.started = time.monotonic()
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        for thread in self.threads:
            thread.join()
        self.rate = self.answers.total() / (time.monotonic() - self.started)

    def wait_for(self, more: int) -> None:
        """Return after so many more requests."""
        target = self.answers.total() + more
        wait_until(lambda: self.answers.total() >= target, 120, lambda: str(self.answers))


class Site:
    """A balancer and the instances behind it."""

    def __init__(self, project: Project, directory: Path, retries: str) -> None:
        """Start them all."""
        self.project = project
        self.ports = {name: free_port() for name in INSTANCES}
        self.instances = {name: self.start(name) for name in INSTANCES}
        self.balancer = Balancer(directory, self.ports, retries)
        for name in INSTANCES:
            self.balancer.wait_until_up(name)

    def start(self, name: str) -> Server:
        """Start an instance on its port, and wait until it answers."""
        return self.project.serve(**ENVIRONMENT, PORT=str(self.ports[name]))

    def replace(self, name: str, *, drain: bool) -> None:
        """End an instance as a platform does and start another in its place."""
        if drain:
            self.balancer.drain(name)
        instance = self.instances[name]
        assert instance.stop(seconds=40) == 0, instance.output
        self.instances[name] = self.start(name)
        self.balancer.undrain(name)
        self.balancer.wait_until_up(name)

    def replace_all(self, *, drain: bool) -> "Load":
        """Replace one instance after the other under load, until there were requests enough."""
        with Load(self.balancer.port) as load:
            while load.answers.total() < ENOUGH:
                for name in INSTANCES:
                    self.replace(name, drain=drain)
                    load.wait_for(AT_LEAST)
        return load


@pytest.fixture
def released(generate: Callable[..., Project]) -> Project:
    """Return a project that is ready to serve."""
    project = build(generate())
    assert project.manage("migrate", **PRODUCTION).returncode == 0
    return project


@pytest.fixture
def new_site(released: Project, tmp_path: Path) -> Iterator[Callable[[str], Site]]:
    """Return a function: three instances behind a balancer that tries again as it says."""
    sites: list[Site] = []

    def start(retries: str) -> Site:
        sites.append(Site(released, tmp_path, retries))
        return sites[-1]

    yield start
    for site in sites:
        site.balancer.close()


def report(name: str, load: Load) -> None:
    """Print what the README says."""
    answers = f"{load.failed} of {load.answers.total()} failed"
    print(f"{name}: {answers} at {load.rate:.0f}/s: {dict(load.answers)}")


def test_draining_each_instance_before_its_restart_loses_no_request(new_site: Callable[[str], Site]):
    load = new_site(NEVER).replace_all(drain=True)
    report("drained", load)
    assert load.failed == 0, load.answers


def test_without_draining_nothing_is_lost_but_refused(new_site: Callable[[str], Site]):
    load = new_site(WHEN_REFUSED).replace_all(drain=False)
    report("terminated", load)
    assert load.failed == 0, load.answers


def test_without_the_listeners_closed_requests_are_lost(released: Project, new_site: Callable[[str], Site]):
    # The control: the balancer hides none of what gunicorn's own worker loses.
    released.edit("gunicorn.conf.py", "worker_class = Worker", 'worker_class = "gthread"')
    load = new_site(WHEN_REFUSED).replace_all(drain=False)
    report("terminated, gunicorn's own worker", load)
    assert load.failed > 0
