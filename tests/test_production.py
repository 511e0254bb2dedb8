"""Production is a matter of environment: DEBUG absent, files collected, a real gunicorn."""

import gzip
import http.client
import json
import re
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest
from deploys import build
from generation import (
    PRODUCTION,
    Project,
    Response,
    Server,
    Visitor,
    copy_project,
    free_port,
    once,
    original,
    processes_in,
    project_python,
    run,
    user_environment,
    wait_until,
)

HOST = {"Host": "www.example.com"}
# What a proxy that ends TLS sends.
HTTPS = {**HOST, "X-Forwarded-Proto": "https"}
# What a probe sends: an address for a name, and no TLS.
PROBE = {"Host": "10.0.0.1:8000"}
SUPERUSER = {
    "DJANGO_SUPERUSER_USERNAME": "ada",
    "DJANGO_SUPERUSER_EMAIL": "ada@example.com",
    "DJANGO_SUPERUSER_PASSWORD": "a-long-password",
}
# A form's token is as good as the cookie's when both are the same 32 characters.
TOKEN = "a" * 32
FORM = f"csrfmiddlewaretoken={TOKEN}".encode()
# Pages that log, fail and count, put in front of the one that is there.
ODD_PAGES = """    if "log" in request.GET:
        __import__("logging").getLogger("pages").info("from the app")
    if "fail" in request.GET:
        raise RuntimeError("several\\nlines")
    if "frozen" in request.GET:
        from django.http import HttpResponse
        return HttpResponse(str(__import__("gc").get_freeze_count()))
    context = {}
"""


@pytest.fixture(scope="module")
def new_project(
    shared: Path,
    template: Path,
    virtual_environment: Callable[[str], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[], Project]]:
    """Return a function: a project built and released, with a superuser; its processes end."""
    environment = virtual_environment(project_python())

    def release(directory: Path) -> None:
        project = build(copy_project(original(shared, template), directory, environment))
        project.edit("pages/views.py", "    context = {}\n", ODD_PAGES)
        for command in (["migrate"], ["createsuperuser"]):
            more = {**SUPERUSER} if command == ["createsuperuser"] else {}
            options = ["--noinput"] if more else []
            result = project.manage(*command, *options, **PRODUCTION, **more)
            assert result.returncode == 0, result.stdout + result.stderr

    projects: list[Project] = []

    def get() -> Project:
        built = once(shared / "built", release) / "my_project"
        place = tmp_path_factory.mktemp("production") / "copy"
        projects.append(copy_project(built, place, environment))
        return projects[-1]

    yield get
    for project in projects:
        project.close()


@pytest.fixture
def project(new_project: Callable[[], Project]) -> Iterator[Project]:
    """Return a project of the test's own."""
    project = new_project()
    yield project
    project.close()


@pytest.fixture(scope="module")
def server(new_project: Callable[[], Project]) -> Server:
    """Return a server in the documented environment, for tests that only ask."""
    return new_project().serve(**PRODUCTION)


@pytest.fixture(scope="module")
def other_server(new_project: Callable[[], Project]) -> Server:
    """Return a server that has everything else than the other: lines of text, every switch turned, any proxy."""
    return new_project().serve(**PRODUCTION, **TURNED, LOG_FORMAT="text", FORWARDED_ALLOW_IPS="*")


class SecureVisitor(Visitor):
    """A visitor who comes through a proxy that ends TLS."""

    headers: ClassVar = {**HTTPS, "Referer": "https://www.example.com/"}


def test_it_runs_without_the_development_packages(project: Project):
    environment = user_environment(project.home)
    result = run(["uv", "sync", "--no-dev"], project.path, environment)
    assert result.returncode == 0, result.stderr
    project.virtual_environment = project.path / ".venv"
    assert not (project.path / ".venv/bin/honcho").exists()
    assert project.serve(**PRODUCTION).get("/", HTTPS).status == 200


# Static files


def stylesheet(server: Server) -> str:
    """Return the address of the first page's stylesheet."""
    page = server.get("/", HTTPS)
    assert page.status == 200
    link = re.search(r'<link rel="stylesheet" href="([^"]+)"', page.text)
    assert link, page.text
    return link[1]


def test_static_files_have_hashed_names_and_stay_in_caches_for_ever(server: Server):
    path = stylesheet(server)
    assert re.fullmatch(r"/static/style\.[0-9a-f]{12}\.css", path)
    answer = server.get(path, HTTPS)
    assert (answer.status, answer.headers.get_content_type()) == (200, "text/css")
    assert "immutable" in answer.headers["Cache-Control"]
    assert "public" in answer.headers["Cache-Control"]
    age = re.search(r"max-age=(\d+)", answer.headers["Cache-Control"])
    assert age
    assert int(age[1]) >= 31536000
    assert server.get("/static/style.css", HTTPS).status == 404  # kept under one name alone


def test_pages_that_name_no_icon_get_the_one_with_a_hash(server: Server):
    answer = server.get("/favicon.ico", HTTPS)
    assert answer.status == 302
    assert re.fullmatch(r"/static/favicon\.[0-9a-f]{12}\.svg", answer.headers["Location"])


def test_static_files_are_compressed_for_those_who_can_read_it(server: Server):
    path = stylesheet(server)
    plain = server.get(path, HTTPS)
    packed = server.get(path, {**HTTPS, "Accept-Encoding": "gzip"})
    best = server.get(path, {**HTTPS, "Accept-Encoding": "gzip, deflate, br"})
    assert plain.headers["Content-Encoding"] is None
    assert packed.headers["Content-Encoding"] == "gzip"
    assert best.headers["Content-Encoding"] == "br"
    assert gzip.decompress(packed.body) == plain.body
    assert len(best.body) < len(packed.body) < len(plain.body)
    assert "Accept-Encoding" in best.headers["Vary"]


def test_a_static_file_that_has_not_changed_is_not_sent_again(server: Server):
    path = stylesheet(server)
    modified = server.get(path, HTTPS).headers["Last-Modified"]
    again = server.get(path, {**HTTPS, "If-Modified-Since": modified})
    assert (again.status, again.body) == (304, b"")


def test_error_pages_tell_nothing(server: Server):
    for path, status in (("/nowhere", 404), ("/?fail", 500)):
        page = server.get(path, HTTPS)
        assert page.status == status
        assert "<h1>" in page.text
        assert "RuntimeError" not in page.text
        assert "urlpatterns" not in page.text
    assert stylesheet(server) in server.get("/nowhere", HTTPS).text


def test_the_process_ends_at_start_without_static_files(project: Project):
    shutil.rmtree(project.path / "staticfiles")
    server = project.start("gunicorn", "config.wsgi", kind=Server, **PRODUCTION, PORT=str(free_port()))
    assert server.wait() != 0
    # WhiteNoise has warned before.
    assert server.stderr[-1] == "The static files are not collected. Run: python manage.py collectstatic --noinput"
    assert "Traceback" not in server.output


def test_the_first_page_shows_nothing_of_the_deploy(server: Server):
    page = server.get("/", HTTPS).text
    assert "SQLite" not in page
    assert ".env" not in page


# Security


def observe(server: Server) -> dict[str, Any]:
    """Return what a browser sees of each protection."""
    plain, page = server.get("/", HOST), server.get("/", HTTPS)
    visitor = SecureVisitor(server)
    login = visitor.get("/admin/login/")
    entered = visitor.submit("/admin/login/", username="ada", password="a-long-password")
    assert entered.status == 302, entered.text

    def is_secure(response: Response, name: str) -> bool:
        cookies = response.headers.get_all("Set-Cookie", [])
        (cookie,) = (cookie for cookie in cookies if cookie.startswith(f"{name}="))
        return "; Secure" in cookie

    def is_strict(policy: str | None) -> bool | None:
        return policy and "default-src 'self';" in policy and not re.search(r"unsafe|\*|data:", policy)

    return {
        "redirect": (plain.status, plain.headers["Location"]),
        "hsts": page.headers["Strict-Transport-Security"],
        "csrf cookie": is_secure(login, "csrftoken"),
        "session cookie": is_secure(entered, "sessionid"),
        "csp": is_strict(page.headers["Content-Security-Policy"]),
    }


PROTECTED = {
    "redirect": (301, "https://www.example.com/"),
    "hsts": "max-age=3600",
    "csrf cookie": True,
    "session cookie": True,
    "csp": True,
}


TURNED = {
    "SECURE_SSL_REDIRECT": "false",
    "CSRF_COOKIE_SECURE": "false",
    "SESSION_COOKIE_SECURE": "false",
    "SECURE_CSP": "false",
    "SECURE_HSTS_SECONDS": "60",
    "SECURE_HSTS_INCLUDE_SUBDOMAINS": "true",
    "SECURE_HSTS_PRELOAD": "true",
}


def test_every_protection_is_on_unless_it_is_turned_off(server: Server, other_server: Server):
    assert observe(server) == PROTECTED
    assert observe(other_server) == {
        "redirect": (200, None),
        "hsts": "max-age=60; includeSubDomains; preload",
        "csrf cookie": False,
        "session cookie": False,
        "csp": None,
    }


def test_only_named_proxies_are_believed(project: Project, server: Server, other_server: Server):
    by_default, by_star = server.get("/", HTTPS), other_server.get("/", HTTPS)
    assert (by_default.status, by_star.headers["Strict-Transport-Security"] is not None) == (200, True)
    stranger = project.serve(**PRODUCTION, FORWARDED_ALLOW_IPS="10.9.8.7,10.9.9.0/24")
    answer = stranger.get("/", HTTPS)
    assert (answer.status, answer.headers["Location"]) == (301, "https://www.example.com/")


def test_a_blank_list_of_proxies_is_none(project: Project):
    assert project.serve(**PRODUCTION, FORWARDED_ALLOW_IPS="").get("/", HTTPS).status == 200


@pytest.mark.parametrize("name", ["SCRIPT_NAME", "PATH_INFO", "SCRIPT-NAME"])
def test_a_client_cannot_change_the_path(name, other_server: Server):
    page = other_server.get("/", HTTPS | {name: "/x"})
    assert (page.status, 'href="/static/' in page.text) == (200, True)
    assert other_server.get("/x/admin/login/", HTTPS | {name: "/x"}).status == 404


def test_other_hosts_are_refused(server: Server):
    assert server.get("/", {**HTTPS, "Host": "elsewhere.example"}).status == 400


# Health


def test_probes_are_answered_before_host_checks_and_redirects(server: Server):
    for path, text in (("/livez", "process: ok\n"), ("/readyz", "database: ok\n")):
        answer = server.get(path, PROBE)
        assert (answer.status, answer.text) == (200, text)
    assert server.get("/", PROBE).status == 400


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Keep a process and those below it from running, as a host does that drops packets."""
    top = psutil.Process(pid)
    processes = [top, *top.children(recursive=True)]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):  # one that woke up may end the next
                process.resume()


@pytest.mark.slow
@pytest.mark.alone
def test_readyz_fails_within_seconds_while_the_database_hangs(project: Project, postgresql: Any):
    environment = PRODUCTION | {"DATABASE_URL": postgresql.create_database(), "WEB_THREADS": "4"}
    for command in (["migrate"], ["createsuperuser", "--noinput"]):
        more = SUPERUSER if command[0] == "createsuperuser" else {}
        assert project.manage(*command, **environment, **more).returncode == 0
    server = project.serve(**environment)

    def log_in() -> int:
        return SecureVisitor(server).submit("/admin/login/", username="ada", password="a-long-password").status

    assert log_in() == 302  # leaves a connection open, which hangs with the rest
    assert server.get("/readyz", PROBE).status == 200
    with frozen(postgresql.process.pid):
        began = time.monotonic()
        answer = server.get("/readyz", PROBE)
        assert time.monotonic() - began < 4
        assert (answer.status, answer.text) == (503, "database: failed\n")
        assert server.get("/livez", PROBE).status == 200

        # Ask so often that the threads would all wait, if each question were passed on.
        until = time.monotonic() + 3

        def ask() -> set[int]:
            found = set()
            while time.monotonic() < until:
                found.add(server.get("/readyz", PROBE).status)
            return found

        with ThreadPoolExecutor(12) as pool:
            asking = [pool.submit(ask) for _ in range(12)]
            slowest = 0.0
            while time.monotonic() < until:
                began = time.monotonic()
                assert server.get("/", HTTPS).status == 200
                slowest = max(slowest, time.monotonic() - began)
            assert set().union(*(future.result() for future in asking)) == {503}
        assert slowest < 4
    wait_until(lambda: server.get("/readyz", PROBE).status == 200, 10, lambda: server.tail)
    assert log_in() == 302


# Events


FIELDS = {"time", "level", "logger", "process", "request_id", "message"}


def events(server: Server) -> list[dict[str, Any]]:
    """Return the events so far; every line is one."""
    assert server.stderr == []
    return [json.loads(line) for line in server.stdout]


def lines_of(server: Server, answer: Response) -> list[str]:
    """Return the lines of a request, once its last one is there."""
    identity = answer.headers["X-Request-ID"]
    server.wait_for(f"(gunicorn.access.*{identity}|{identity}.*gunicorn.access)")
    return [line for line in server.stdout if identity in line]


def test_every_event_is_a_line_of_json_in_one_time_zone(project: Project):
    server = project.serve(**PRODUCTION, TIME_ZONE="Asia/Tokyo")
    assert server.get("/?log", HTTPS).status == 200
    assert server.get("/?fail", HTTPS).status == 500
    assert server.stop() == 0
    found = events(server)
    assert all(event.keys() >= FIELDS for event in found)
    assert all(re.fullmatch(r"2\d{3}-\d\d-\d\dT[\d:.]+\+00:00", event["time"]) for event in found)
    times = [event["time"] for event in found]
    assert times[-1][:13] == times[0][:13] or times[-1] > times[0]
    messages = [event["message"] for event in found]
    assert "from the app" in messages
    assert any("Starting gunicorn" in message for message in messages)
    assert any("Handling signal: term" in message for message in messages)
    assert any("Shutting down" in message for message in messages)
    (error,) = (event for event in found if event["level"] == "ERROR")
    assert "RuntimeError: several\nlines" in error["exc_info"]
    assert error["exc_info"].startswith("Traceback")
    access = [event for event in found if event["logger"] == "gunicorn.access"]
    assert sorted(event["status"] for event in access if event["path"] == "/") == [200, 500]
    assert len({event["process"] for event in found}) == 2
    outside = [event["logger"] for event in found if event["request_id"] == "-"]
    assert set(outside) == {"gunicorn.error"}


SENT = "a.B_c-" + "9" * 122


@pytest.mark.parametrize(
    ("path", "headers", "loggers"),
    [
        ("/?log&fail", {**HTTPS, "X-Request-ID": SENT}, ["pages", "django.request", "gunicorn.access"]),
        ("/?log&fail", HTTPS, ["pages", "django.request", "gunicorn.access"]),
        ("/?log", {**HTTPS, "X-Request-ID": SENT + "9"}, ["pages", "gunicorn.access"]),
        ("/?log", {**HTTPS, "X-Request-ID": 'x" level="CRITICAL'}, ["pages", "gunicorn.access"]),
        ("/static/missing.css", HTTPS, ["gunicorn.access"]),
        ("/livez", PROBE, ["gunicorn.access"]),
        ("/", HOST, ["gunicorn.access"]),
        ("/", PROBE, ["django.security.DisallowedHost", "gunicorn.access"]),
    ],
    ids=["sent", "made", "too long", "odd", "static", "probe", "redirect", "refused host"],
)
def test_a_request_has_one_id_in_all_its_lines_and_its_response(path, headers, loggers, server: Server):
    answer = server.get(path, headers)
    identity = answer.headers["X-Request-ID"]
    assert identity == SENT if headers.get("X-Request-ID") == SENT else re.fullmatch(r"[0-9a-f]{32}", identity)
    found = [json.loads(line) for line in lines_of(server, answer)]
    assert [event["logger"] for event in found] == loggers
    assert {event["request_id"] for event in found} == {identity}


def test_two_requests_have_two_ids(server: Server):
    assert len({server.get("/livez", PROBE).headers["X-Request-ID"] for _ in range(20)}) == 20


TEXT_LINE = r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00 (DEBUG|INFO|WARNING|ERROR|CRITICAL) [\w.]+ \[[\w.-]+\] "


def test_text_is_for_people(other_server: Server):
    lines = lines_of(other_server, other_server.get("/?log", HTTPS))
    assert all(re.match(TEXT_LINE, line) for line in lines)
    assert [line.split()[2] for line in lines] == ["pages", "gunicorn.access"]


def test_the_level_counts_for_every_logger(project: Project):
    server = project.serve(**PRODUCTION, LOG_LEVEL="warning")
    assert server.get("/?log", HTTPS).status == 200
    assert server.get("/?fail", HTTPS).status == 500
    assert server.stop() == 0
    assert {event["level"] for event in events(server)} == {"ERROR"}


def send_raw(server: Server, request: bytes) -> bytes:
    """Send bytes that no client would; return whatever comes back."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


FORGED = "2026-01-01T00:00:00.000+00:00 CRITICAL forged [-] all is lost"
ATTACKS = [
    f"GET /%0A{FORGED.replace(' ', '%20')} HTTP/1.1\r\nHost: www.example.com\r\n".encode(),
    b"GET /%0D%0A%7B%22level%22:%22CRITICAL%22%7D HTTP/1.1\r\nHost: www.example.com\r\n",
    b"GET /%1B[2J%E2%80%A8forged HTTP/1.1\r\nHost: www.example.com\r\n",
    b"GET /\x1b[2J\x0bforged HTTP/1.1\r\nHost: www.example.com\r\n",
    b"GET /caf\xc3\xa9\xe2\x80\xa8forged HTTP/1.1\r\nHost: www.example.com\r\n",
    f"GET / HTTP/1.1\r\nHost: www.example.com\n{FORGED}\r\n".encode(),
    b"GET / HTTP/1.1\r\nHost: \x1b[31mforged\r\n",
    f"GET / HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: x\\n{FORGED}\r\n".encode(),
    f"GET / HTTP/1.1\r\nHost: www.example.com\r\nReferer: x\x0b{FORGED}\r\n".encode(),
    f"GET / HTTP/1.1\r\nHost: www.example.com\r\nX-Request-ID: x%0A{FORGED}\r\n".encode(),
    f"G\x0b{FORGED} / HTTP/1.1\r\nHost: www.example.com\r\n".encode(),
]


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_a_request_cannot_forge_a_line(log_format, server: Server, other_server: Server):
    attacked = server if log_format == "json" else other_server
    before = len(attacked.stdout)
    for attack in ATTACKS:
        for proxy in (b"", b"X-Forwarded-Proto: https\r\n"):
            assert b"500 " not in send_raw(attacked, attack + proxy + b"\r\n")[:16]
    lines_of(attacked, attacked.get("/livez", PROBE))
    for line in attacked.stdout[before:]:
        assert line.isprintable(), repr(line)
        if log_format == "json":
            assert json.loads(line).keys() >= FIELDS
        else:
            assert re.match(TEXT_LINE, line) and " forged [" not in line[:60], line
    assert attacked.stderr == []


def snapshot(*directories: Path) -> dict[Path, tuple[int, int]]:
    """Return every file and directory with its size and time, bytecode and SQLite's apart."""
    return {
        path: (path.stat().st_size, path.stat().st_mtime_ns)
        for directory in directories
        for path in [directory, *directory.rglob("*")]
        if "__pycache__" not in path.parts and not path.name.startswith("db.sqlite3")
    }


def test_nothing_is_written_to_disk(project: Project, tmp_path: Path):
    # SQLite makes files beside the database, and their directory changes: put it apart.
    shutil.move(project.path / "db.sqlite3", tmp_path / "db.sqlite3")
    temporary = project.home / "tmp"
    temporary.mkdir()
    before = snapshot(project.path, project.home)
    server = project.serve(
        **PRODUCTION | {"DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3"},
        WEB_CONCURRENCY="2",
        PYTHONDONTWRITEBYTECODE="1",
        TMPDIR=str(temporary),
    )
    visitor = SecureVisitor(server)
    visitor.submit("/admin/login/", username="ada", password="a-long-password")
    for path in ("/", "/admin/", "/?fail", "/nowhere", "/readyz", stylesheet(server)):
        visitor.get(path)
    assert snapshot(project.path, project.home) == before
    assert server.stop() == 0
    assert snapshot(project.path, project.home) == before


# Signals


def begin_request(server: Server) -> socket.socket:
    """Send the beginning of a request; return its connection once a worker waits for the rest."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    head = [
        "POST /?log HTTP/1.1",
        *(f"{name}: {value}" for name, value in HTTPS.items()),
        "Referer: https://www.example.com/",
        f"Cookie: csrftoken={TOKEN}",
        "Content-Type: application/x-www-form-urlencoded",
        f"Content-Length: {len(FORM)}",
        "Expect: 100-continue",  # gunicorn answers it when it hands the request to the application
    ]
    connection.sendall("\r\n".join(head).encode() + b"\r\n\r\n")
    assert b"100 Continue" in connection.recv(1000)
    return connection


def is_refused(server: Server) -> bool:
    """Say whether the kernel refuses a new connection."""
    try:
        socket.create_connection(("127.0.0.1", server.port), timeout=10).close()
    except ConnectionRefusedError:
        return True
    return False


def who_answers(server: Server) -> set[int]:
    """Ask once more; return the processes that have answered so far."""
    server.get("/livez")
    return {event["process"] for event in events(server) if event["logger"] == "gunicorn.access"}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_that_stops_refuses_connections_while_it_still_answers(workers, project: Project):
    server = project.serve(**PRODUCTION, WEB_CONCURRENCY=str(workers))
    # A worker that is just starting misses the signal.
    wait_until(lambda: len(who_answers(server)) == workers, 20, lambda: server.tail)
    with begin_request(server) as connection:
        server.popen.terminate()
        wait_until(lambda: is_refused(server), 10, lambda: server.tail)
        connection.sendall(FORM)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    assert server.wait() == 0
    assert processes_in(project.path) == []


def test_clients_that_have_connected_before_the_end_are_answered(project: Project):
    server = project.serve(**PRODUCTION)
    (worker,) = server.children()
    worker.suspend()
    waiting = []
    for _ in range(20):
        connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: www.example.com\r\nConnection: close\r\n\r\n")
        waiting.append(connection)
    server.popen.terminate()
    server.wait_for("Handling signal: term")
    worker.resume()
    for connection in waiting:
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        connection.close()
    assert server.wait() == 0


@pytest.mark.alone
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_an_idle_server_stops_within_seconds(number, project: Project):
    server = project.serve(**PRODUCTION)
    with closing(http.client.HTTPConnection("127.0.0.1", server.port)) as waiting:
        waiting.request("GET", "/livez")
        assert waiting.getresponse().read() == b"process: ok\n"
        began = time.monotonic()
        assert server.stop(number) == 0
        assert time.monotonic() - began < 4  # the connection kept alive costs two of them
    assert "Traceback" not in server.output
    assert processes_in(project.path) == []


def test_more_processes_come_by_environment_alone(project: Project):
    server = project.serve(**PRODUCTION, WEB_CONCURRENCY="3")
    wait_until(lambda: len(server.children()) == 3, 10, lambda: server.tail)
    listening = [
        connection.laddr.ip
        for connection in psutil.Process(server.popen.pid).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert listening == ["0.0.0.0"]  # noqa: S104


# What is loaded before the fork


def test_what_the_processes_share_stays_shared(server: Server):
    assert int(server.get("/?frozen", HTTPS).text) > 10_000  # objects that garbage collection leaves alone


def test_a_form_renderer_of_the_templates_does_not_end_the_process(project: Project):
    with (project.path / "config/settings.py").open("a") as settings:
        settings.write(
            '\nFORM_RENDERER = "django.forms.renderers.TemplatesSetting"\nINSTALLED_APPS += ["django.forms"]\n'
        )
    assert project.serve(**PRODUCTION).get("/admin/login/", HTTPS).status == 200


# Development


def test_an_edit_of_any_module_counts(project: Project):
    server = project.serve(**project.dotenv | {"PORT": str(free_port())})
    assert server.get("/").status == 200  # every module is imported
    files = [file for file in (project.path / "config").glob("*.py") if file.name != "static.py"]  # production's
    for file in files:
        with file.open("a") as code:
            code.write(f'\nprint("new {file.stem}.")\n')

    def is_new() -> bool:
        files[0].touch()  # again and again: gunicorn's first look at the files may come after the edit
        server.get("/")
        return all(f"new {file.stem}." in server.lines for file in files)

    wait_until(is_new, 20, lambda: server.tail)
