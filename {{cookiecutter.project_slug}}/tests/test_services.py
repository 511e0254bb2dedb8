"""config/services.py: a URL is taken as it is meant, or refused without being shown."""

from pathlib import Path

import pytest

from config import services
from config.env import InvalidError

BASE = services.BASE_DIR


@pytest.fixture
def clients(monkeypatch):
    """Let URLs be parsed whose client this project does not have; what needs the client is left out."""
    monkeypatch.setattr(services, "_postgresql_options", lambda: ({"sslmode", "pool", "host", "connect_timeout"}, {}))
    monkeypatch.setattr(services, "_mysql_options", lambda: ({"unix_socket"}, {}))


def test_a_relative_sqlite_path_starts_at_the_project():
    assert services.database("sqlite:///db.sqlite3")["NAME"] == BASE / "db.sqlite3"
    assert services.database("sqlite:////data/db.sqlite3")["NAME"] == Path("/data/db.sqlite3")


def test_sqlite_writers_wait_for_each_other():
    options = services.database("sqlite:///db.sqlite3?timeout=3")["OPTIONS"]
    assert options["transaction_mode"] == "IMMEDIATE"
    assert "journal_mode=WAL" in options["init_command"]
    assert options["timeout"] == 3


def test_a_password_is_decoded(clients):
    config = services.database("postgres://us%40er:p%23a%2Fs%3As%25@db.example:6432/name?sslmode=require", 60)
    assert (config["USER"], config["PASSWORD"]) == ("us@er", "p#a/s:s%")
    assert (config["HOST"], config["PORT"], config["NAME"]) == ("db.example", 6432, "name")
    assert config["OPTIONS"] == {"sslmode": "require"}
    assert (config["CONN_MAX_AGE"], config["CONN_HEALTH_CHECKS"]) == (60, True)


def test_a_socket_keeps_its_case(clients):
    config = services.database("postgres://user:pass@%2Frun%2FMySocket/name")
    assert config["HOST"] == "/run/MySocket"
    assert services.database("postgres:///name?host=/run/MySocket")["OPTIONS"]["host"] == "/run/MySocket"
    assert services.database("mysql:///name?unix_socket=/run/My.sock")["OPTIONS"]["unix_socket"] == "/run/My.sock"


def test_a_pool_keeps_no_other_connections(clients):
    config = services.database("postgres://user:pass@db/name?pool=true", 60)
    assert (config["OPTIONS"]["pool"], config["CONN_MAX_AGE"]) == (True, 0)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("sqlite://db.sqlite3", "three slashes"),
        ("sqlite:db.sqlite3", "three slashes"),
        ("sqlite:/db.sqlite3", "three slashes"),
        ("sqlite://:memory:", "port that cannot be read"),
        ("sqlite:///:memory:", "in memory"),
        ("sqlite:///", "in memory"),
        ("sqlite:///db.sqlite3?conn_max_age=60", "option that its client does not know (number 1 "),
        ("/db.sqlite3", "does not start with a scheme"),
        ("db.example", "does not start with a scheme"),
        ("oracle://user:s3cret@db/name", "unknown scheme"),
        ("postgres://user:s3cret@db:port/name", "port that cannot be read"),
        ("postgres://user:s3cret@db:99999/name", "port that cannot be read"),
        ("postgres://user:s3cret@db:/name", "no port"),
        ("postgres://user:s3cret@/name", "no host"),
        ("postgres:///name", "no host"),
        ("postgres://user:s3cret@db", "no database"),
        ("postgres://user:s3cret@db/", "no database"),
        ("postgres://user:s3cret@db/one/two", "a / in the name"),
        ("postgres://user:1#s3cret@db/name", "percent-encode"),
        ("postgres://user:1/s3cret@db/name", "percent-encode"),
        ("postgres://user:1?s3cret@db/name", "percent-encode"),
        ("postgres://user:s3cret@x@db/name", "percent-encode"),
        ("postgres://user:100%s3cret@db/name", "percent-encode"),
        ("postgres://user:s3cret [1]@db/name", "percent-encode"),
        ("postgres://user:s3crét@db/name", "percent-encode"),
        ("postgres://user:s3cret@db/name?conn_max_age=60", "option that its client does not know"),
        ("postgres://user:s3cret@db/name?s3cret", "option that its client does not know"),
        ("postgres://user:s3cret@db/name?pool=1", "not true or false"),
        ("postgres://user:s3cret@db/name?sslmode=required", "sslmode that is not one of"),
        ("postgres://user:s3cret@db/name?connect_timeout=soon", "connect_timeout that is not a whole number"),
        ("mysql://user:s3cret@db/name?charset", "option that its client does not know"),
    ],
)
def test_what_would_be_silently_wrong_is_refused(url, problem, clients):
    with pytest.raises(InvalidError) as refused:
        services.database(url)
    assert problem in str(refused.value)
    assert "s3cr" not in str(refused.value)


def test_a_missing_client_comes_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(services, "find_spec", lambda module: None)
    with pytest.raises(InvalidError, match=r'not installed: uv add "psycopg\[binary,pool\]"'):
        services.database("postgres://user:pass@db/name")
    with pytest.raises(InvalidError, match='not installed: uv add "pymysql"'):
        services.database("mysql://user:pass@db/name")


def test_the_certificate_of_a_cache_is_verified_unless_told_otherwise():
    assert "ssl_cert_reqs" not in services.cache("rediss://:pass@host:6379/0")["OPTIONS"]
    assert services.cache("rediss://:pass@host:6379/0", verify=False)["OPTIONS"]["ssl_cert_reqs"] == "none"
    assert "ssl_cert_reqs" not in services.cache("redis://:pass@host:6379/0", verify=False)["OPTIONS"]
