"""The servers that other tests rely on: they answer, they come back, they leave nothing."""

import os
import shutil
import smtplib
import subprocess
import sys
import time
from contextlib import closing
from email.message import EmailMessage
from pathlib import Path

import psutil
import psycopg
import pymysql
import pytest
import redis as redis_client
from botocore.exceptions import EndpointConnectionError
from servers import PASSWORD, SMTP, Redis, Server

MODULES = Path(__file__).parent


def processes_of(directory: Path) -> list[psutil.Process]:
    """Return the processes that work in `directory`, as all those of a server do."""
    return [
        process for process in psutil.process_iter(["cwd"]) if (process.info["cwd"] or "").startswith(str(directory))
    ]


def send(server: SMTP, subject: str) -> None:
    """Send a message as `server` wants it."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@example.com", "b@example.com", subject
    with server.client() as connection:
        if server.user:
            connection.login(server.user, server.password)
        connection.send_message(message)


def test_postgresql_keeps_its_data_over_a_restart(postgresql):
    url = postgresql.create_database()
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 'café' AS word")
    with postgresql.stopped(), pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT word FROM kept").fetchone() == ("café",)


def test_postgresql_stops_while_a_client_is_connected(postgresql):
    with psycopg.connect(postgresql.create_database()) as connection:
        with postgresql.stopped():
            assert postgresql.process.returncode == 0  # it was asked, not killed
            assert processes_of(postgresql.directory) == []
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")


def test_postgresql_wants_the_password(postgresql):
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgresql.create_database(), password="wrong")


def test_mariadb_keeps_its_data_over_a_restart(mariadb):
    name = mariadb.create_database().rsplit("/", 1)[1]
    where = {"host": mariadb.host, "port": mariadb.port, "user": mariadb.user, "database": name}

    def execute(statement: str) -> tuple | None:
        with closing(pymysql.connect(password=PASSWORD, autocommit=True, **where)) as connection:
            cursor = connection.cursor()
            cursor.execute(statement)
            return cursor.fetchone()

    execute("CREATE TABLE kept (word VARCHAR(9))")
    execute("INSERT INTO kept VALUES ('🐘')")
    with mariadb.stopped(), pytest.raises(pymysql.err.OperationalError):
        execute("SELECT 1")
    assert execute("SELECT word FROM kept") == ("🐘",)
    with pytest.raises(pymysql.err.OperationalError, match="Access denied"):
        pymysql.connect(password="wrong", **where)


@pytest.mark.parametrize("fixture", ["redis", "redis_tls"])
def test_redis_keeps_its_data_over_a_restart(fixture, request):
    server = request.getfixturevalue(fixture)
    with server.client() as client:
        client.set("kept", "yes")
        with server.stopped(), pytest.raises(redis_client.ConnectionError):
            client.get("kept")
        assert client.get("kept") == b"yes"


def test_redis_wants_the_password(redis):
    stranger = redis_client.Redis(host=redis.host, port=redis.port, retry=None)
    with stranger, pytest.raises(redis_client.AuthenticationError):
        stranger.ping()


def test_redis_over_tls_wants_its_certificate_trusted_and_its_own_user(redis_tls):
    stranger = redis_client.Redis.from_url(redis_tls.url())
    with stranger, pytest.raises(redis_client.ConnectionError, match="certificate verify failed"):
        stranger.ping()
    default_user = redis_client.Redis.from_url(
        redis_tls.url().replace("app:", "default:"), ssl_ca_certs=str(redis_tls.certificate)
    )
    with default_user, pytest.raises(redis_client.AuthenticationError):
        default_user.ping()


def test_memcached_comes_back_empty(memcached):
    with closing(memcached.client()) as client:
        client.set("kept", "no", noreply=False)
        assert client.get("kept") == b"no"
    with memcached.stopped(), pytest.raises(ConnectionRefusedError):
        memcached.ping()
    with closing(memcached.client()) as client:
        assert client.get("kept") is None


def test_s3_stores_objects(s3):
    bucket = s3.create_bucket().removeprefix("s3://").partition("?")[0]
    with closing(s3.client()) as client:
        client.put_object(Bucket=bucket, Key="a/é", Body=b"content")
        with closing(client.get_object(Bucket=bucket, Key="a/é")["Body"]) as body:
            assert body.read() == b"content"
        with s3.stopped(), pytest.raises(EndpointConnectionError):
            client.list_buckets()
        assert client.list_buckets()["Buckets"] == []


@pytest.mark.parametrize("fixture", ["smtp", "smtp_starttls", "smtps"])
def test_smtp_records_what_it_receives(fixture, request):
    server = request.getfixturevalue(fixture)
    server.clear()
    send(server, "Grüße")
    with server.stopped(), pytest.raises(ConnectionRefusedError):
        send(server, "to nobody")
    send(server, "again")
    assert [message["Subject"] for message in server.messages] == ["Grüße", "again"]


@pytest.mark.parametrize("fixture", ["smtp_starttls", "smtps"])
def test_smtp_wants_the_password(fixture, request):
    server = request.getfixturevalue(fixture)
    with server.client() as connection:
        with pytest.raises(smtplib.SMTPSenderRefused, match="Authentication required"):
            connection.sendmail("a@example.com", "b@example.com", "from a stranger")
        with pytest.raises(smtplib.SMTPAuthenticationError):
            connection.login(server.user, "wrong")


def test_smtp_wants_starttls(smtp_starttls):
    with smtplib.SMTP(smtp_starttls.host, smtp_starttls.port) as connection:
        assert connection.docmd("MAIL FROM:<a@example.com>")[0] == 530


def test_a_url_carries_any_password(redis_tls):
    assert redis_tls.url("/1", a="b") == (f"rediss://app:p%40ss%3Aw%2Frd%2C%3B%23%25@127.0.0.1:{redis_tls.port}/1?a=b")


def test_a_server_that_cannot_start_shows_its_log_and_leaves_nothing():
    server = Redis(user="no such syntax")
    with pytest.raises(RuntimeError, match="FATAL CONFIG FILE ERROR"):
        server.__enter__()
    assert not server.directory.exists()


def test_a_server_that_ignores_its_signal_is_killed(monkeypatch):
    monkeypatch.setattr("servers.SECONDS_TO_STOP", 0.1)

    class Stubborn(Server):
        def command(self):
            return ["sh", "-c", "trap '' TERM; touch ready; exec sleep 1000"]

        def ping(self):
            (self.directory / "ready").stat()

    with Stubborn() as server:
        assert len(processes_of(server.directory)) == 1
        server.stop()
        assert processes_of(server.directory) == []


def run_pytest(tmp_path: Path, test: str, *options: str, **environment: str):
    """Run a test file in a pytest of its own, without conftest.py; return what it said."""
    (tmp_path / "test_it.py").write_text(test)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-rs", *options],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{MODULES}:{MODULES.parent}", "PYTEST_ADDOPTS": ""} | environment,
        capture_output=True,
        text=True,
    )


def test_the_fixtures_leave_no_process_and_no_directory(tmp_path):
    test = """
def test_it(postgresql, mariadb, redis, redis_tls, memcached, s3, smtp, smtps):
    for server in (postgresql, mariadb, redis, redis_tls, memcached, s3, smtp, smtps):
        print("DIRECTORY", server.directory)
    assert False, "a failing test must clean up too"
"""
    lines = run_pytest(tmp_path, test, "-p", "servers").stdout.splitlines()
    directories = [Path(line.split()[1]) for line in lines if line.startswith("DIRECTORY ")]
    assert len(directories) == 8, "\n".join(lines)
    assert [process for path in directories for process in processes_of(path)] == []
    assert [path for path in directories if path.exists()] == []


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: the kernel does it")
def test_servers_end_when_pytest_is_killed(tmp_path):
    test = """
import os
def test_it(postgresql, redis, memcached, s3, smtp, mariadb):
    for server in (postgresql, redis, memcached, s3, smtp, mariadb):
        print("DIRECTORY", server.directory, flush=True)
    os.kill(os.getpid(), 9)
"""
    lines = run_pytest(tmp_path, test, "-p", "servers", "-s").stdout.splitlines()
    directories = [Path(line.split()[-1]) for line in lines if "DIRECTORY " in line]
    assert len(directories) == 6, "\n".join(lines)
    deadline = time.monotonic() + 20
    while any(processes_of(directory) for directory in directories):
        assert time.monotonic() < deadline, "a server outlived pytest"
        time.sleep(0.05)
    for directory in directories:
        shutil.rmtree(directory)


def test_a_missing_program_skips_and_says_how_to_install_it(tmp_path):
    test = "def test_it(memcached): pass"
    outcome = run_pytest(tmp_path, test, "-p", "servers", PATH=str(tmp_path))
    assert outcome.returncode == 0
    assert "needs memcached: apt-get install memcached" in outcome.stdout


@pytest.mark.parametrize("test", ["def test_it(): pytest.skip('why')", "pytest.importorskip('why')"])
def test_no_skips_makes_a_skip_a_failure(test, tmp_path):
    outcome = run_pytest(tmp_path, f"import pytest\n{test}", "-p", "no_skips", "--no-skips")
    assert outcome.returncode != 0
    assert "why" in outcome.stdout
    assert "--no-skips makes this a failure" in outcome.stdout


def test_no_skips_leaves_an_expected_failure_alone(tmp_path):
    test = "import pytest\n@pytest.mark.xfail\ndef test_it(): assert False"
    assert "1 xfailed" in run_pytest(tmp_path, test, "-p", "no_skips", "--no-skips").stdout
