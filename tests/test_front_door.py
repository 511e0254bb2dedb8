"""Caddy in front of gunicorn, as Caddyfile has it: slow clients, restarts under load, limits, HTTPS.

What it is there for is compared with the same gunicorn without it. RESTART_REQUESTS=20000 makes the restarts longer:

    RESTART_REQUESTS=20000 uv run pytest tests/test_front_door.py -n 0 -s -m slow
"""

import asyncio
import json
import os
import re
import signal
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from statistics import quantiles
from typing import Any

import psutil
import pytest
from deploys import build, migrate
from generation import (
    PRODUCTION,
    Project,
    Server,
    copy_project,
    original,
    project_python,
    run,
    user_environment,
    wait_until,
)
from ports import free_port
from servers import PATH, find_program

REQUESTS = int(os.environ.get("RESTART_REQUESTS", "2000"))
RATE = 150  # requests a second
ENVIRONMENT = PRODUCTION | {
    "ALLOWED_HOSTS": "www.example.com,localhost",
    "SECURE_SSL_REDIRECT": "false",
    "FORWARDED_ALLOW_IPS": "127.0.0.0/28",
}
HOST = {"Host": "www.example.com"}
FORM = b"word=" + b"a" * 1000

PAGES = """
import time

from django.http import HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt


@csrf_exempt
def echo(request):
    headers = {name: value for name, value in request.META.items() if name.startswith("HTTP_")}
    answer = {"headers": headers, "secure": request.is_secure(), "length": len(request.read())}
    response = JsonResponse(answer)
    response.set_cookie("taste", "sweet", secure=True)
    return response


@csrf_exempt
def wait(request, milliseconds):
    time.sleep(milliseconds / 1000)
    return HttpResponse("waited")


def large(request):
    return HttpResponse(b"a" * 1_000_000)


urlpatterns = [path("echo", echo), path("wait/<int:milliseconds>", wait), path("large", large)]
"""


def caddy_program() -> str:
    """Return the path of Caddy."""
    return find_program("caddy", "caddy, 2.11.4 or later (tests/unpack-debian.sh forky DIRECTORY caddy)")


class Caddy(Server):
    """Caddy with the project's Caddyfile, for every host name on a port of its own."""

    def __init__(self, project: Project, web: int, directory: Path, config: Path | None = None) -> None:
        """Start it in front of the port of gunicorn."""
        self.port = free_port()
        environment = user_environment(directory) | {
            "SITE_ADDRESS": f":{self.port}",
            "WEB_ADDRESS": f"127.0.0.1:{web}",
            "CADDY_ADMIN": f"unix/{directory}/admin",
        }
        command = [caddy_program(), "run", "--config", str(config or project.path / "Caddyfile")]
        super().__init__(command, directory, environment)
        self.wait_for("serving initial configuration")


@pytest.fixture(scope="module")
def project(
    shared: Path,
    template: Path,
    tmp_path_factory: pytest.TempPathFactory,
    virtual_environment: Callable[[str], Path],
) -> Iterator[Project]:
    """Return a project with some pages more, ready to serve."""
    source = original(shared, template, deploy="docker")
    project = copy_project(source, tmp_path_factory.mktemp("front_door"), virtual_environment(project_python()))
    (project.path / "pages/more.py").write_text(PAGES)
    with (project.path / "config/urls.py").open("a") as urls:
        urls.write("\nfrom pages import more\n\nurlpatterns += more.urlpatterns\n")
    build(project)
    migrate(project, **ENVIRONMENT)
    yield project
    project.close()


@pytest.fixture(scope="module")
def web(project: Project) -> Iterator["Web"]:
    """Return a gunicorn with one worker of four threads."""
    running = Web(project)
    yield running
    running.server.close()


@pytest.fixture(scope="module")
def caddy(project: Project, web: "Web", tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caddy]:
    """Return Caddy in front of it."""
    running = Caddy(project, web.port, tmp_path_factory.mktemp("caddy"))
    yield running
    running.close()


class Web:
    """gunicorn on a port that stays the same."""

    def __init__(self, project: Project, **variables: str) -> None:
        """Start it."""
        self.project = project
        self.port = free_port()
        self.variables = ENVIRONMENT | {"PORT": str(self.port)} | variables
        self.start()

    def restart(self) -> None:
        """Stop it and start it again, as systemd and Docker do."""
        assert self.server.stop(seconds=40) == 0, self.server.output
        self.start()

    def kill(self) -> None:
        """End all of its processes at once."""
        os.killpg(self.server.popen.pid, signal.SIGKILL)

    def start(self) -> None:
        """Start it again."""
        self.server = self.project.serve(**self.variables)


# Clients


class Connection:
    """A client's connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take both directions of it."""
        self.reader, self.writer = reader, writer
        self.ends = False  # says the server

    @property
    def usable(self) -> bool:
        """Whether another request may be sent."""
        return not self.ends and not self.reader.at_eof()

    @classmethod
    async def open(cls, port: int, *, receive: int | None = None) -> "Connection":
        """Connect; `receive` is the size of the kernel's buffer for what comes."""
        client = socket.socket()
        client.setblocking(False)
        if receive:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        try:
            await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port))
        except OSError:
            client.close()
            raise
        return cls(*await asyncio.open_connection(sock=client, limit=2**16 if receive is None else receive))

    async def request(self, method: str, path: str, body: bytes = b"", *, close: bool = False) -> str:
        """Send a request; return the status of its answer."""
        head = [f"{method} {path} HTTP/1.1", "Host: www.example.com", f"Content-Length: {len(body)}"]
        head += ["Connection: close"] if close else []
        self.writer.write("\r\n".join([*head, "", ""]).encode() + body)
        answer = await self.reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", answer)
        await self.reader.readexactly(int(length[1]) if length else 0)
        self.ends = b"connection: close" in answer.lower()
        return answer[9:12].decode()

    async def drip(self) -> None:
        """Send a byte a second for ever."""
        while True:
            await asyncio.sleep(1)
            self.writer.write(b"a")
            await self.writer.drain()

    def close(self) -> None:
        """Close it."""
        self.writer.close()


class Load:
    """Visitors who come at a steady pace, however slow the answers are: a quarter posts, half keep connections."""

    def __init__(
        self, port: int, *, rate: int = RATE, path: str = "/echo", patience: float = 40, keep: bool = True
    ) -> None:
        """Ask `port` for a path, `rate` times a second; `keep` no connections if a server is not to close one."""
        self.port, self.rate, self.path, self.patience, self.keep = port, rate, path, patience, keep
        self.answers: Counter[tuple[str, str]] = Counter()
        self.seconds: list[float] = []
        self.kept: list[Connection] = []
        self.pending = 0
        self.stopped = False
        self.beside = 0  # slow clients
        self.thread = threading.Thread(target=lambda: asyncio.run(self.run()))

    async def run(self) -> None:
        """Send requests until told to stop; wait for their answers."""
        loop = asyncio.get_running_loop()
        started, visits = loop.time(), []
        while not self.stopped:
            await asyncio.sleep(started + len(visits) / self.rate - loop.time())
            visits.append(asyncio.create_task(self.visit(len(visits))))
        await asyncio.gather(*visits)
        for connection in self.kept:
            connection.close()

    async def visit(self, number: int) -> None:
        """Send one request."""
        method, keep = "POST" if number % 4 == 0 else "GET", self.keep and number % 8 < 4
        loop = asyncio.get_running_loop()
        started, connection = loop.time(), None
        self.pending += 1
        try:
            async with asyncio.timeout(self.patience):
                while keep and self.kept and not connection:
                    connection = self.take()
                connection = connection or await Connection.open(self.port)
                answer = await connection.request(method, self.path, FORM if method == "POST" else b"")
        except (OSError, EOFError, TimeoutError) as error:
            answer, keep = type(error).__name__, False
        self.pending -= 1
        self.answers[method, answer] += 1
        self.seconds.append(loop.time() - started)
        if connection and keep and connection.usable:
            self.kept.append(connection)
        elif connection:
            connection.close()

    def take(self) -> Connection | None:
        """Return a connection that was kept, unless the server has closed it."""
        connection = self.kept.pop()
        if connection.usable:
            return connection
        connection.close()
        return None

    def lost(self, method: str = "") -> int:
        """How many requests were not answered well."""
        return sum(n for (used, answer), n in self.answers.items() if answer != "200" and method in used)

    @property
    def p99(self) -> float:
        """The seconds that 99 of 100 requests took at most."""
        return quantiles(self.seconds, n=100)[-1]

    def __enter__(self) -> "Load":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped = True
        self.thread.join()

    def wait_for(self, more: int) -> None:
        """Return after so many more answers."""
        target = self.answers.total() + more
        wait_until(lambda: self.answers.total() >= target, 120, lambda: str(self.answers))

    def __repr__(self) -> str:
        """Return what came out."""
        return f"{self.lost()} of {self.answers.total()} lost, slowest {max(self.seconds):.1f} s: {dict(self.answers)}"


# Slow clients: each says when it has begun to be slow

CLIENTS = 200
HEAD = b"Host: www.example.com\r\n"


async def drip_headers(connection: Connection, begun: Callable[[], None]) -> None:
    """Send a byte of the headers a second."""
    connection.writer.write(b"GET / HTTP/1.1\r\n" + HEAD + b"X-Slow: ")
    begun()
    await connection.drip()


async def drip_body(connection: Connection, begun: Callable[[], None]) -> None:
    """Send 40 kB of a body, then a byte a second."""
    connection.writer.write(b"POST /echo HTTP/1.1\r\n" + HEAD + b"Content-Length: 50000\r\n\r\n" + b"a" * 40_000)
    begun()
    await connection.drip()


async def read_slowly(connection: Connection, begun: Callable[[], None]) -> None:
    """Read a byte a second of an answer of 1 MB."""
    connection.writer.write(b"GET /large HTTP/1.1\r\n" + HEAD + b"\r\n")
    while await connection.reader.read(1):
        begun()
        await asyncio.sleep(1)


async def linger(connection: Connection, begun: Callable[[], None]) -> None:
    """Get an answer after which the server closes, and do not close."""
    await connection.request("GET", "/livez", close=True)
    begun()
    await asyncio.sleep(3600)


async def visit_beside(client: Callable[..., Any], port: int) -> Load:
    """Let other visitors come for 1.5 s while there are slow clients."""
    slow: set[asyncio.Task[None]] = set()
    begun: set[asyncio.Task[Any] | None] = set()

    async def be_slow() -> None:
        connection = await Connection.open(port, receive=4096)
        try:
            await client(connection, lambda: begun.add(asyncio.current_task()))
        finally:
            connection.close()

    for _ in range(CLIENTS):
        slow.add(asyncio.create_task(be_slow()))
    with suppress(TimeoutError):  # without Caddy they get in each other's way
        async with asyncio.timeout(5):
            while len(begun) < CLIENTS:
                await asyncio.sleep(0.02)
    with Load(port, rate=40, patience=1) as visitors:
        await asyncio.sleep(1.5)
        visitors.stopped = True
        await asyncio.to_thread(visitors.thread.join)
    visitors.beside = len(begun)
    for task in slow:
        task.cancel()
    await asyncio.gather(*slow, return_exceptions=True)
    return visitors


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize("client", [drip_headers, drip_body, read_slowly, linger], ids=lambda each: each.__name__)
def test_slow_clients_keep_nobody_waiting(client, web: Web, caddy: Caddy):
    behind = asyncio.run(visit_beside(client, caddy.port))
    print(f"{client.__name__} behind Caddy: {behind.beside} p99 {behind.p99:.3f} s, {behind}")
    assert behind.beside == CLIENTS
    assert behind.lost() == 0, behind
    assert behind.p99 < 0.5
    without = asyncio.run(visit_beside(client, web.port))
    print(f"{client.__name__} without: {without.beside} p99 {without.p99:.3f} s, {without}")
    # An answer of 1 MB fits into the buffers of the kernel.
    assert client is read_slowly or without.lost() or without.p99 > 0.5, without


# Restarts


@pytest.mark.slow
@pytest.mark.alone
def test_restarts_lose_no_request_behind_caddy(web: Web, caddy: Caddy):
    async def restart_meanwhile() -> str:
        """Restart while gunicorn has a connection that says nothing, and a request of 5 s; return its answer."""
        idle = await Connection.open(web.port)
        await idle.request("GET", "/livez")
        slow = await Connection.open(caddy.port)
        answer = asyncio.create_task(slow.request("GET", "/wait/5000"))
        await asyncio.sleep(0.1)
        await asyncio.to_thread(web.restart)
        idle.close()
        slow.close()
        return await answer

    with Load(caddy.port) as load:
        for _ in range(2):
            load.wait_for(REQUESTS // 10)
            web.restart()
        load.wait_for(REQUESTS // 10)
        assert asyncio.run(restart_meanwhile()) == "200"
        load.wait_for(max(REQUESTS - load.answers.total(), REQUESTS // 10))
    print(f"behind Caddy: {load}")
    assert load.lost("GET") == 0, load
    assert load.lost("POST") <= load.answers.total() / 4000, load


@pytest.mark.slow
@pytest.mark.alone
def test_restarts_lose_requests_without_caddy(web: Web):
    with Load(web.port) as load:
        for _ in range(3):
            load.wait_for(REQUESTS // 10)
            web.restart()
        load.wait_for(REQUESTS // 10)
    print(f"without: {load}")
    assert load.lost() > load.answers.total() / 20, load


@pytest.mark.slow
@pytest.mark.alone
def test_sigkill_costs_what_was_in_flight(web: Web, caddy: Caddy):
    with Load(caddy.port, path="/wait/20") as load:
        load.wait_for(100)
        before = load.pending
        web.kill()
        in_flight = max(before, load.pending)
        web.server.wait()
        web.start()
        load.wait_for(100)
    print(f"SIGKILL, {in_flight} in flight: {load}")
    assert load.lost() <= in_flight, load


# A socket that somebody else holds, as systemd does

# https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html
HOLD_SOCKET = """
import os, signal, socket, subprocess, sys

def stop(number, frame):
    global stopping
    stopping = number == signal.SIGTERM
    service.terminate()

stopping = False
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=4096)
os.dup2(listener.fileno(), 3)
while not stopping:
    command = ["sh", "-c", "LISTEN_PID=$$ LISTEN_FDS=1 exec gunicorn config.wsgi"]
    service = subprocess.Popen(command, pass_fds=[3])
    signal.signal(signal.SIGHUP, stop)
    signal.signal(signal.SIGTERM, stop)
    service.wait()
"""


@pytest.mark.slow
@pytest.mark.alone
def test_restarts_lose_no_request_while_the_socket_is_held(project: Project):
    variables = ENVIRONMENT | {"PORT": str(free_port())}  # which gunicorn.conf.py binds, if nobody holds a socket
    port = free_port()
    parent = project.start(sys.executable, "-c", HOLD_SOCKET, str(port), kind=Server, **variables)
    parent.port = port
    parent.wait_until_ready()
    with Load(port, keep=False) as load:
        for _ in range(3):
            load.wait_for(REQUESTS // 10)
            before = parent.children()
            parent.popen.send_signal(signal.SIGHUP)
            _, alive = psutil.wait_procs(before, 20)
            assert not alive, parent.tail
            parent.wait_until_ready()
        load.wait_for(REQUESTS // 10)
    assert parent.stop(seconds=40) == 0, parent.tail
    print(f"socket held: {load}")
    assert load.lost() == 0, load


# Limits


def talk(port: int, text: bytes) -> bytes:
    """Send bytes; return what is answered until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        with suppress(ConnectionError):  # refused in the middle
            connection.sendall(text)
        answer = b""
        with suppress(ConnectionError):
            while chunk := connection.recv(65536):
                answer += chunk
        return answer


def post(headers: str, body: bytes = b"") -> bytes:
    """Return a request that posts."""
    head = "POST /echo HTTP/1.1", "Host: www.example.com", "Connection: close", headers, "", ""
    return "\r\n".join(head).encode() + body


def paths(web: Web, end: str) -> list[str]:
    """Return the paths that gunicorn was asked for until `end`; None where it could not read one."""
    web.server.wait_for(f"GET {end} ")
    return [json.loads(line).get("path") for line in web.server.lines if '"gunicorn.' in line]


REFUSED = {
    "too long": (post("Content-Length: 10000001"), 413),
    "no length": (post("Transfer-Encoding: chunked", b"%x\r\n%s" % (10_100_000, b"a" * 10_050_000)), 411),
    "too many headers": (post("X: " + "a" * 25_000), 431),
    "two lengths": (post("Content-Length: 1\r\nContent-Length: 2", b"ab"), 400),
}


@pytest.mark.parametrize(("request_", "status"), REFUSED.values(), ids=REFUSED)
def test_gunicorn_does_not_see_what_caddy_refuses(request_, status, web: Web, caddy: Caddy, tmp_path: Path):
    start, end = f"/{tmp_path.name}-start", f"/{tmp_path.name}-end"
    caddy.get(start, HOST)
    answer = talk(caddy.port, request_)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer
    caddy.get(end, HOST)
    seen = paths(web, end)
    assert seen[seen.index(start) + 1 : seen.index(end)] == []


UNFINISHED = {
    "read_header 10s": b"GET / HTTP/1.1\r\n" + HEAD,
    "read_body 5m": b"POST /echo HTTP/1.1\r\n" + HEAD + b"Content-Length: 5\r\n\r\n1234",
    "idle 2m": b"GET /livez HTTP/1.1\r\n" + HEAD + b"\r\n",
}


@pytest.mark.parametrize(("limit", "request_"), UNFINISHED.items(), ids=UNFINISHED)
def test_a_client_that_does_not_finish_is_sent_away(limit, request_, project: Project, web: Web, tmp_path: Path):
    config = (project.path / "Caddyfile").read_text()
    assert limit in config
    shorter = tmp_path / "Caddyfile"
    shorter.write_text(config.replace(limit, f"{limit.split()[0]} 1s"))
    with closing(Caddy(project, web.port, tmp_path, config=shorter)) as caddy:
        talk(caddy.port, request_)  # returns when the connection is closed, or raises TimeoutError


def test_the_largest_body_that_is_allowed_arrives(caddy: Caddy):
    answer = caddy.request("POST", "/echo", HOST, b"a" * 9_999_999)
    assert json.loads(answer.text)["length"] == 9_999_999


def test_caddy_keeps_no_connection_to_gunicorn_open(web: Web, caddy: Caddy):
    def connected() -> list[Any]:
        found = [each for process in web.server.children() for each in process.net_connections("tcp")]
        return [each for each in found if each.status == psutil.CONN_ESTABLISHED]

    assert caddy.get("/livez", HOST).status == 200
    wait_until(lambda: not connected(), 5, lambda: str(connected()))


def test_clients_of_http_1_0_are_answered(caddy: Caddy):
    answer = talk(caddy.port, b"GET /livez HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.0 200 ")


def test_a_host_that_is_not_allowed_is_refused_by_django(caddy: Caddy):
    assert caddy.get("/", {"Host": "other.example.com"}).status == 400


def test_what_clients_say_about_themselves_is_replaced(caddy: Caddy):
    said = {"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "other.example.com"}
    answer = json.loads(caddy.get("/echo", HOST | said | {"X-Request-ID": "mine", "Script_Name": "/echo"}).text)
    got = answer["headers"]
    assert got["HTTP_X_FORWARDED_FOR"] == "127.0.0.1"
    assert got["HTTP_X_FORWARDED_PROTO"] == "http"
    assert got["HTTP_X_FORWARDED_HOST"] == "www.example.com"
    assert got["HTTP_X_REQUEST_ID"] == "mine"
    assert answer["secure"] is False


# HTTPS


class SecureCaddy(Caddy):
    """Caddy with a name, and ports and a certificate of its own for it: those for others need the network."""

    def __init__(self, project: Project, web: int, directory: Path) -> None:
        """Start it for https://localhost."""
        self.secure_port, plain_port = free_port(), free_port()
        adapt = [caddy_program(), "adapt", "--config", str(project.path / "Caddyfile")]
        variables = {"SITE_ADDRESS": "localhost", "WEB_ADDRESS": f"127.0.0.1:{web}"}
        result = run(adapt, directory, user_environment(directory) | variables)
        assert result.returncode == 0, result.stderr
        config = json.loads(result.stdout)
        http = config["apps"]["http"]
        (server,) = http["servers"].values()
        assert server["listen"] == [":443"]
        server["listen"] = [f"127.0.0.1:{self.secure_port}"]
        http |= {"http_port": plain_port, "https_port": self.secure_port}
        # Not among those that this machine trusts
        config["apps"]["pki"] = {"certificate_authorities": {"local": {"install_trust": False}}}
        (directory / "caddy.json").write_text(json.dumps(config))
        super().__init__(project, web, directory, config=directory / "caddy.json")
        self.wait_for("certificate obtained successfully")
        self.port = plain_port
        self.authority = directory / ".local/share/caddy/pki/authorities/local/root.crt"

    def curl(self, path: str, *options: str) -> str:
        """Return what curl prints of a page."""
        command = [find_program("curl", "curl"), "--silent", "--show-error", "--cacert", str(self.authority), *options]
        result = run([*command, f"https://localhost:{self.secure_port}{path}"], self.directory, {"PATH": PATH})
        assert result.returncode == 0, result.stderr
        return result.stdout


def test_a_site_with_a_name_speaks_https_and_http_2(project: Project, web: Web, tmp_path: Path):
    with closing(SecureCaddy(project, web.port, tmp_path)) as caddy:
        head, _, body = caddy.curl("/echo", "--http2", "--include").partition("\n\n")
        assert head.startswith("HTTP/2 200")
        assert json.loads(body)["secure"] is True
        assert "; Secure" in head
        assert "strict-transport-security: max-age=" in head
        assert caddy.curl("/livez", "--http1.1", "--include").startswith("HTTP/1.1 200")
        redirect = caddy.get("/echo?word", {"Host": "localhost"})
        assert (redirect.status, redirect.headers["Location"][:17]) == (308, "https://localhost")
        assert redirect.headers["Location"].endswith("/echo?word")


def test_cookies_come_back_to_http_localhost_and_to_no_other_plain_host(caddy: Caddy):
    assert "Secure" not in caddy.get("/echo", {"Host": "localhost"}).headers["Set-Cookie"]
    assert "Secure" in caddy.get("/echo", HOST).headers["Set-Cookie"]


# The files


@pytest.mark.parametrize("site", [":8000", "www.example.com", "example.com, www.example.com"])
def test_caddy_accepts_the_caddyfile(site, project: Project, tmp_path: Path):
    environment = user_environment(tmp_path) | {"SITE_ADDRESS": site}
    for command in (["validate", "--adapter", "caddyfile", "--config"], ["fmt", "--diff"]):
        result = run([caddy_program(), *command, str(project.path / "Caddyfile")], tmp_path, environment)
        assert result.returncode == 0, result.stderr
        assert "WARN" not in result.stderr


def composed(project: Project, **variables: str) -> dict[str, Any]:
    """Return compose.yaml as docker-compose understands it."""
    program = find_program("docker-compose", "docker-compose")
    environment = project.environment(**variables)
    result = run([program, "config", "--format", "json"], project.path, environment)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def published(service: dict[str, Any]) -> dict[str, str]:
    """Return the ports of a service and what they are on the host, without those that may be any."""
    ports = [port for port in service.get("ports", []) if "published" in port]
    return {f"{port['target']}/{port['protocol']}": f"{port.get('host_ip', '')}:{port['published']}" for port in ports}


def test_compose_has_caddy_in_front_of_web(project: Project):
    config = composed(project)
    caddy, web = config["services"]["caddy"], config["services"]["web"]
    assert "ports" not in web
    assert published(caddy) == {"8000/tcp": "127.0.0.1:8000"}
    assert caddy["environment"]["SITE_ADDRESS"] == ":8000"
    assert caddy["environment"]["WEB_ADDRESS"] == f"web:{web['environment']['PORT']}"
    on_front = {name for name, service in config["services"].items() if "front" in service["networks"]}
    assert on_front == {"caddy", "web"}
    assert caddy["networks"].keys() == {"front"}
    (subnet,) = config["networks"]["front"]["ipam"]["config"]
    assert web["environment"]["FORWARDED_ALLOW_IPS"] == subnet["subnet"]


def test_a_name_in_the_environment_makes_compose_a_site(project: Project):
    services = composed(project, SITE_ADDRESS="www.example.com")["services"]
    sites = {"80/tcp": ":80", "443/tcp": ":443", "443/udp": ":443"}
    assert published(services["caddy"]) == {"8000/tcp": "127.0.0.1:8000"} | sites
    assert services["caddy"]["environment"]["SITE_ADDRESS"] == "www.example.com"
    assert services["web"]["environment"]["ALLOWED_HOSTS"] == "www.example.com"


def test_systemd_accepts_the_units_and_finds_them_hardened(project: Project, tmp_path: Path):
    systemd = find_program("systemd-analyze", "systemd")
    (tmp_path / ".venv").symlink_to(project.virtual_environment)
    text = (project.path / "docs/deploy.md").read_text()
    units = re.findall(r"(?ms)^`/etc/systemd/system/(my_project-[^`]+)`[^\n]*\n\n```ini\n(.*?)^```", text)
    for name, content in units:
        (tmp_path / "units" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "units" / name).write_text(content.replace("/srv/my_project", str(tmp_path)))
    commands = dict(re.findall(r"(?m)^(\w+): (.+)$", (project.path / "Procfile").read_text()))
    services = {f"my_project-{name}.service": command for name, command in commands.items()}
    assert services.keys() <= {name for name, _ in units}
    environment = {"PATH": PATH, "SYSTEMD_UNIT_PATH": f"{tmp_path}/units:"}
    result = run([systemd, "verify", "--man=no", *services, "my_project-web.socket"], tmp_path, environment)
    assert (result.returncode, result.stderr) == (0, "")
    for name, command in services.items():
        assert f"ExecStart={tmp_path}/.venv/bin/{command}\n" in (tmp_path / "units" / name).read_text()
        result = run([systemd, "security", "--offline=yes", "--threshold=20", name], tmp_path, environment)
        assert result.returncode == 0, result.stdout[-200:]
