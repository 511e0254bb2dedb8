"""DATABASE_URL attaches a database: SQLite, PostgreSQL, MySQL or MariaDB, to the same code."""

import json
import re
import socket
import socketserver
import ssl
import string
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote

import pymysql
import pytest
from deploys import DEPLOY, add_story, build, migrate, shell
from generation import Project, Server, wait_until
from servers import PASSWORD, DatabaseServer, MariaDB, PostgreSQL, create_certificate

Generate = Callable[..., Project]

DATABASES = ["postgresql", "mariadb"]

CONNECT = "from django.db import connection; connection.ensure_connection(); "


def attach(url: str) -> dict[str, str]:
    """Return the variable that attaches a database."""
    return {"DATABASE_URL": url}


@pytest.fixture(params=DATABASES)
def server(request: pytest.FixtureRequest) -> DatabaseServer:
    """Each server in turn."""
    return request.getfixturevalue(request.param)


class LocalPostgreSQL(PostgreSQL):
    """PostgreSQL that listens on a socket in its directory too."""

    def command(self) -> list[str]:
        return [*super().command(), f"--unix_socket_directories={self.directory}"]


@pytest.fixture(scope="module")
def local_postgresql() -> Iterator[PostgreSQL]:
    """PostgreSQL with a socket."""
    with LocalPostgreSQL() as server:
        yield server


class MariaDBWithTLS(MariaDB):
    """MariaDB with a certificate that nobody knows, as hosted databases have."""

    def prepare(self) -> None:
        super().prepare()
        self.certificate, self.key = create_certificate(self.directory)

    def command(self) -> list[str]:
        return [*super().command(), f"--ssl-cert={self.certificate}", f"--ssl-key={self.key}"]


class Encrypted(socketserver.ThreadingTCPServer):
    """Speaks TLS for a PostgreSQL that does not, as the proxy of a hosted database does.

    https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-SSL
    """

    daemon_threads = True

    def __init__(self, server: PostgreSQL, directory: Path) -> None:
        self.target = (server.host, server.port)
        self.certificate, key = create_certificate(directory)
        self.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.tls.load_cert_chain(self.certificate, key)
        super().__init__((server.host, 0), None)  # type: ignore[arg-type]
        Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Accept the request for TLS, which every client begins with; then pass on what comes."""
        assert request.recv(8) == struct.pack("!ii", 8, 80877103)
        request.sendall(b"S")
        with (
            suppress(ConnectionError, ssl.SSLError),
            self.tls.wrap_socket(request, server_side=True) as client,
            socket.create_connection(self.target) as target,
        ):
            Thread(target=self.pass_on, args=(target, client), daemon=True).start()
            self.pass_on(client, target)

    def pass_on(self, source: socket.socket, target: socket.socket) -> None:
        """Copy what one side says to the other, until one of them has gone."""
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)


def as_root(mariadb: MariaDB, statement: str) -> None:
    """Run a statement that the application's user may not."""
    where = f"{mariadb.directory}/data/socket"
    with closing(pymysql.connect(unix_socket=where, user="root")) as connection:
        connection.cursor().execute(statement)


# The suite


# On SQLite it runs for every answer: test_generation.py.
@pytest.mark.slow
@pytest.mark.parametrize("database", DATABASES)
def test_the_generated_suite_passes_on_every_server(database, request, generate: Generate):
    url = request.getfixturevalue(database).create_database()
    project = generate(database={"mariadb": "mysql"}.get(database, database))
    result = project.run("pytest", "-q", "-rs", DATABASE_URL=url, seconds=300)
    assert result.returncode == 0, result.stdout
    skipped = re.findall(r"(?m)^SKIPPED .*", result.stdout)
    assert [line for line in skipped if "uv.lock" not in line and "storages" not in line] == []


# The ways to a server


def test_a_user_and_a_password_of_all_characters(server, generate: Generate):
    place = server.create_database().partition("@")[2]
    name, password = f"o@h/{place[-6:]}", string.punctuation + " \N{SNOWMAN}"
    literal = password.replace("'", "''")
    if isinstance(server, MariaDB):
        literal = literal.replace("\\", "\\\\")
        as_root(server, f"GRANT ALL ON *.* TO '{name}'@'%' IDENTIFIED BY '{literal}'")
    else:
        server.execute(f"CREATE ROLE \"{name}\" LOGIN PASSWORD '{literal}'")
    url = f"{server.scheme}://{quote(name, '')}:{quote(password, '')}@{place}"
    project = generate()
    right = shell(project, CONNECT, **DEPLOY | attach(url))
    assert right.returncode == 0, right.stderr
    wrong = shell(project, CONNECT, **DEPLOY | attach(url.replace("%40h", "%40g")))
    assert "OperationalError" in wrong.stderr
    assert password not in wrong.stderr


@pytest.mark.parametrize(
    "form",
    [
        "{user}@{quoted}:{port}/{name}",
        "{user}@/{name}?host={directory}&port={port}",
        "{user}@/{directory}/{name}?port={port}",  # as Google writes it for Cloud SQL
    ],
)
def test_postgresql_over_a_socket(form, local_postgresql, generate: Generate):
    url = "postgres://" + form.format(
        user=f"app:{quote(PASSWORD, '')}",
        directory=local_postgresql.directory,
        quoted=quote(str(local_postgresql.directory), ""),
        port=local_postgresql.port,
        name=local_postgresql.create_database().rpartition("/")[2],
    )
    where = CONNECT + "print(connection.connection.info.host)"
    result = shell(generate(), where, **DEPLOY | attach(url))
    assert result.stdout.strip() == str(local_postgresql.directory), result.stderr


def test_postgresql_is_the_first_of_several_hosts_that_answers(postgresql, generate: Generate):
    url = postgresql.create_database().replace(f"@{postgresql.host}:", f"@{postgresql.host}:1,{postgresql.host}:")
    result = shell(generate(), CONNECT + "print(connection.connection.info.port)", **DEPLOY | attach(url))
    assert result.stdout.strip() == str(postgresql.port), result.stderr


def test_mysql_takes_the_options_of_its_providers(mariadb, generate: Generate):
    project, url = generate(), mariadb.create_database()
    encrypted = CONNECT + "cursor = connection.cursor(); cursor.execute(\"SHOW STATUS LIKE 'Ssl_cipher'\"); "
    encrypted += "print(bool(cursor.fetchone()[1]))"
    assert shell(project, encrypted, **DEPLOY | attach(f"{url}?reconnect=true")).stdout.strip() == "False"
    refused = shell(project, encrypted, **DEPLOY | attach(f"{url}?ssl-mode=REQUIRED"))
    assert "SSL" in refused.stderr, "this server has no TLS, which is required"
    with MariaDBWithTLS() as server:
        result = shell(project, encrypted, **DEPLOY | attach(f"{server.create_database()}?ssl-mode=REQUIRED"))
        assert result.stdout.strip() == "True", result.stderr


def test_mysql_over_a_socket(mariadb, generate: Generate):
    as_root(mariadb, f"GRANT ALL ON *.* TO app@localhost IDENTIFIED BY '{PASSWORD}'")
    name = mariadb.create_database().rpartition("/")[2]
    url = f"mysql://app:{quote(PASSWORD, '')}@/{name}?unix_socket={mariadb.directory}/data/socket"
    where = CONNECT + "print(connection.connection.host_info)"
    result = shell(generate(), where, **DEPLOY | attach(url))
    assert result.stdout.strip() == "Localhost via UNIX socket", result.stderr


def test_postgresql_over_tls(postgresql, tmp_path, generate: Generate):
    project, url = generate(), postgresql.create_database()
    encrypted = CONNECT + "print(connection.connection.pgconn.ssl_in_use)"
    with Encrypted(postgresql, tmp_path) as proxy:
        behind = url.replace(f":{postgresql.port}/", f":{proxy.server_address[1]}/")
        (tmp_path / "other").mkdir()
        right, wrong = proxy.certificate, create_certificate(tmp_path / "other")[0]
        for option, expected in (
            ("sslmode=require", "True"),
            (f"sslmode=verify-full&sslrootcert={right}", "True"),
            (f"sslmode=verify-full&sslrootcert={wrong}", ""),
        ):
            result = shell(project, encrypted, **DEPLOY | attach(f"{behind}?{option}"))
            assert result.stdout.strip() == expected, result.stderr
        proxy.shutdown()
    refused = shell(project, encrypted, **DEPLOY | attach(f"{url}?sslmode=require"))
    assert "server does not support SSL" in refused.stderr


# Connections that are kept


def start(project: Project, variables: dict[str, str]) -> Server:
    """Return a web process with one thread, on a migrated database."""
    deploy = {**DEPLOY, "WEB_THREADS": "1", **variables}
    migrate(add_story(build(project)), **deploy)
    return project.serve(**deploy)


def connection_of(server: Server) -> tuple[int, int]:
    """Return which process of a web server answered, by which connection to the database."""
    response = server.get("/status")
    assert response.status == 200, server.output
    status = json.loads(response.text)
    return status["process"], status["connection"]


KEPT = [{}, {"DATABASE_CONN_MAX_AGE": "600"}]


@pytest.mark.parametrize("pool", ["", "?pool=true"])
@pytest.mark.parametrize("variables", KEPT)
def test_after_the_server_killed_all_connections_the_next_request_succeeds(
    pool, variables, postgresql, generate: Generate
):
    url = postgresql.create_database()
    web = start(generate(), variables | attach(url + pool))
    first = connection_of(web)
    assert pool or connection_of(web) == first
    name = url.rpartition("/")[2]
    # A pool waits 1, 2 and 4 s between its dead connections, so once is enough.
    for _ in range(1 if pool else 3):
        # 5 s for each to end: a connection that ends during a request fails it, whatever was checked before.
        postgresql.execute(
            f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'"  # noqa: S608
        )
        assert connection_of(web) != first


def test_the_same_on_mysql(mariadb, generate: Generate):
    web = start(generate(), attach(mariadb.create_database()))
    first = connection_of(web)
    assert connection_of(web) == first
    mariadb.execute(f"KILL {first[1]}")
    assert connection_of(web) != first


def test_a_restart_of_the_server_is_over_with_it(server, generate: Generate):
    web = start(generate(), attach(server.create_database()))
    connection_of(web)
    with server.stopped():
        assert web.get("/status").status == 500
        assert web.get("/readyz").text == "database: failed\n"
    connection_of(web)
    assert web.get("/readyz").status == 200


@pytest.mark.alone
def test_a_host_that_drops_packets_or_never_answers_costs_a_request_five_seconds(generate: Generate):
    project = add_story(build(generate()))
    with ExitStack() as stack:
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        # Linux drops what comes after its queue is full.
        stack.enter_context(socket.create_connection(full.getsockname()))
        places = [("postgres", full), ("mysql", full), ("postgres", silent)]
        urls = [f"{scheme}://app:s3cret@127.0.0.1:{host.getsockname()[1]}/name" for scheme, host in places]
        webs = [project.serve(**DEPLOY | attach(url)) for url in urls]
        with ThreadPoolExecutor() as pool:
            assert max(pool.map(lambda web: took(web, "/readyz", 503), webs)) < 4
            seconds = list(pool.map(lambda web: took(web, "/status", 500), webs))
            assert all(4 < each < 9 for each in seconds), seconds
            assert max(pool.map(lambda web: took(web, "/livez", 200), webs)) < 1
    assert not any("s3cret" in web.output for web in webs)


def took(web: Server, path: str, status: int) -> float:
    """Return the seconds that a page took, which had this status."""
    began = time.monotonic()
    assert web.get(path).status == status
    return time.monotonic() - began


def test_a_mysql_that_accepts_and_says_nothing_is_asked_again(generate: Generate):
    project = build(generate())
    with socket.create_server(("127.0.0.1", 0)) as silent:
        web = project.serve(**DEPLOY | attach(f"mysql://app:s3cret@127.0.0.1:{silent.getsockname()[1]}/name"))
        assert web.get("/readyz").status == 503
        first, _ = silent.accept()
        silent.setblocking(False)

        def comes_again() -> object:
            web.get("/readyz")
            with suppress(BlockingIOError):
                return silent.accept()[0]

        wait_until(comes_again, 20, lambda: web.output).close()
        first.close()


def test_mysql_tells_the_time_as_django_stores_it(mariadb, generate: Generate):
    mariadb.execute("SET GLOBAL time_zone = '+05:00'")
    try:
        now = (
            "from django.db.models.functions import Now; from django.utils import timezone; "
            "from accounts.models import User; User.objects.create(); "
            "then = User.objects.annotate(now=Now()).get().now; "
            "print(abs((then - timezone.now()).total_seconds()) < 60)"
        )
        project = generate()
        deploy = DEPLOY | attach(mariadb.create_database())
        migrate(project, **deploy)
        result = shell(project, now, **deploy)
        assert result.stdout.strip() == "True", result.stderr
    finally:
        mariadb.execute("SET GLOBAL time_zone = 'SYSTEM'")
