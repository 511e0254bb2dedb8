"""What other tests rely on: servers that leave nothing, ports of one's own, tests that run alone, skips that count."""

import os
import re
import shutil
import smtplib
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import pytest
import redis as redis_client
from generation import processes_in, wait_until
from servers import Redis, Server

from tests.ports import RANGE, free_port

MODULES = Path(__file__).parent
FIXTURES = ["postgresql", "mariadb", "redis", "redis_tls", "memcached", "s3", "smtp", "smtps"]


def enter_smtp(server: Any) -> None:
    """Log in with another password."""
    with server.client() as connection:
        connection.login(server.user, "wrong")


def enter_mysql(server: Any) -> None:
    """Connect with another password."""
    with closing(pymysql.connect(host=server.host, port=server.port, user=server.user, password="wrong")):
        pass


# How a stranger tries to enter, and what they are told: a server that let everybody in would show no wrong URL.
STRANGERS: dict[str, tuple[Callable[[Any], object], type[Exception]]] = {
    "postgresql": (lambda s: psycopg.connect(s.url("/postgres"), password="wrong"), psycopg.OperationalError),
    "mariadb": (enter_mysql, pymysql.err.OperationalError),
    "redis": (lambda s: redis_client.Redis(port=s.port).ping(), redis_client.AuthenticationError),
    "redis_tls": (lambda s: redis_client.Redis.from_url(s.url()).ping(), redis_client.ConnectionError),
    "smtp_starttls": (enter_smtp, smtplib.SMTPAuthenticationError),
    "smtps": (enter_smtp, smtplib.SMTPAuthenticationError),
}


@pytest.mark.parametrize("fixture", STRANGERS)
@pytest.mark.filterwarnings("ignore:unclosed")
def test_a_stranger_is_refused(fixture, request):
    enter, error = STRANGERS[fixture]
    server = request.getfixturevalue(fixture)
    server.ping()
    with pytest.raises(error):
        enter(server)


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
        assert len(processes_in(server.directory)) == 1
        server.stop()
        assert processes_in(server.directory) == []


def run_pytest(tmp_path: Path, test: str, *options: str, **environment: str):
    """Run a test file in a pytest of its own, without conftest.py; return what it said."""
    (tmp_path / "test_it.py").write_text(test)
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options],
        cwd=tmp_path,
        env=variables | {"PYTHONPATH": f"{MODULES}:{MODULES.parent}"} | environment,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("end", ["assert False", "os.kill(os.getpid(), 9)"], ids=["failed", "killed"])
def test_servers_end_with_the_tests_however_those_end(end, tmp_path):
    test = f"""
import os
import pytest
def test_it(request):
    for name in {FIXTURES}:
        try:
            print("DIRECTORY", request.getfixturevalue(name).directory, flush=True)
        except pytest.skip.Exception as reason:
            print("DIRECTORY", "not here:", reason, flush=True)
    {end}
"""
    lines = run_pytest(tmp_path, test, "-p", "servers", "-s").stdout.splitlines()
    words = [line.partition("DIRECTORY ")[2] for line in lines if "DIRECTORY " in line]
    assert len(words) == len(FIXTURES), "\n".join(lines)
    directories = [Path(word) for word in words if not word.startswith("not here:")]
    assert directories
    wait_until(lambda: not any(map(processes_in, directories)), 20, lambda: "a server outlived pytest")
    if "kill" in end:  # nobody was there to remove them
        for directory in directories:
            shutil.rmtree(directory)
    assert [path for path in directories if path.exists()] == []


def test_a_missing_program_skips_and_says_once_how_to_install_it(tmp_path):
    test = "def test_one(memcached): pass\ndef test_two(memcached): pass"
    outcome = run_pytest(tmp_path, test, "-p", "servers", "-p", "skips", PATH=str(tmp_path))
    assert outcome.returncode == 0
    assert re.findall(".*skipped.*", outcome.stdout)[:-1] == ["2 skipped, needs memcached: apt-get install memcached"]


@pytest.mark.parametrize("test", ["def test_it(): pytest.skip('why')", "pytest.importorskip('why')"])
def test_no_skips_makes_a_skip_a_failure(test, tmp_path):
    outcome = run_pytest(tmp_path, f"import pytest\n{test}", "-p", "skips", "--no-skips")
    assert outcome.returncode != 0
    assert "why" in outcome.stdout
    assert "--no-skips makes this a failure" in outcome.stdout


def test_no_skips_leaves_an_expected_failure_alone(tmp_path):
    test = "import pytest\n@pytest.mark.xfail\ndef test_it(): assert False"
    assert "1 xfailed" in run_pytest(tmp_path, test, "-p", "skips", "--no-skips").stdout


def test_nothing_runs_beside_a_test_that_is_marked_alone(tmp_path):
    test = """
import pathlib, pytest, time
@pytest.fixture(autouse=True)
def running(request):
    me = pathlib.Path(__file__).with_name("running " + request.node.name)
    me.touch()
    yield
    me.unlink()
@pytest.mark.parametrize("number", range(30))
def test_it(number):
    time.sleep(0.02)
    others = len(list(pathlib.Path(__file__).parent.glob("running*")))
    assert others <= 2
@pytest.mark.alone
@pytest.mark.parametrize("number", range(6))
def test_alone(number):
    for _ in range(10):
        time.sleep(0.005)
        assert len(list(pathlib.Path(__file__).parent.glob("running*"))) == 1
"""
    outcome = run_pytest(tmp_path, test, "-p", "alone", "-n", "2", "--dist=worksteal", "-W", "ignore")
    assert "36 passed" in outcome.stdout, outcome.stdout


def test_each_process_has_ports_of_its_own(tmp_path):
    test = """
from tests.ports import free_port
def test_it():
    print("PORTS", *[free_port() for _ in range(30)])
"""
    ours = {free_port() for _ in range(30)}
    outcome = run_pytest(tmp_path, test, "-s")
    theirs = {int(port) for port in outcome.stdout.partition("PORTS ")[2].splitlines()[0].split()}
    assert len(ours) == len(theirs) == 30
    assert {port // RANGE for port in ours} & {port // RANGE for port in theirs} == set()
