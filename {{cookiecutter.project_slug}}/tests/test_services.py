"""The URL of a backing service is taken as it is meant, or refused without being shown."""

import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from config import caches, databases, service_urls, services
from config.env import InvalidError

BASE = service_urls.BASE_DIR


def database(url: str, conn_max_age: int = 0) -> dict[str, Any]:
    return databases.database(url, conn_max_age).setting


@pytest.fixture
def clients(monkeypatch):
    """Let URLs be read whose client this project does not have."""
    for module in (databases, services):
        monkeypatch.setattr(module, "require_client", lambda module, package: None)
    if not find_spec("pymysql"):
        monkeypatch.setitem(sys.modules, "pymysql", SimpleNamespace(install_as_MySQLdb=lambda: None))
    if not find_spec("botocore"):
        for name in ("botocore", "botocore.config"):
            monkeypatch.setitem(sys.modules, name, SimpleNamespace(Config=dict))


@pytest.mark.parametrize(
    ("read", "url", "problem"),
    [
        (databases.database, "db.sqlite3", "does not start with a scheme"),
        (databases.database, "sqlite://db.sqlite3", "must start with sqlite:///"),
        (databases.database, "postgres://user:1#s3cret@db/name", "percent-encode"),
        (databases.database, "postgres://user:s3cret@/name", "names no host"),
        (databases.database, "mysql://user:s3cret@db/", "names no database"),
        (databases.database, "postgres://user:s3cret@db/name?pool=1", "pool that is not one of true, false"),
        (caches.cache, "mongodb://:s3cret@cache", "unknown scheme"),
        (caches.cache, "redis://:s3cret@cache/0?ssl_cert_reqs=s3cret", "option that its client does not know"),
        (services.mail, "smtp+tls://ada:s3cret@mail:465", "port of another scheme"),
        (services.mail, "smtp://s3cret@mail", "user without a password"),
        (services.uploads, "file:.", "inside the project or contains it"),
        (services.uploads, "s3://key:s3cret@bucket", "names no bucket"),
        (services.tasks, "redis://:s3cret@queue", "is not one of immediate, database"),
    ],
)
def test_what_would_be_silently_wrong_is_refused(read, url, problem, clients):
    with pytest.raises(InvalidError) as refused:
        read(url)
    assert problem in str(refused.value)
    assert "s3cret" not in str(refused.value)


def test_a_missing_client_comes_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(service_urls, "find_spec", lambda module: None)
    with pytest.raises(InvalidError, match=r'not installed: uv add "psycopg\[binary,pool\]"'):
        database("postgres://user:pass@db/name")


def test_a_relative_sqlite_path_starts_at_the_project():
    assert database("sqlite:///db.sqlite3")["NAME"] == BASE / "db.sqlite3"
    assert database("sqlite:////data/db.sqlite3")["NAME"] == Path("/data/db.sqlite3")


def test_sqlite_writers_wait_for_each_other():
    options = database("sqlite:///db.sqlite3?timeout=3")["OPTIONS"]
    assert (options["transaction_mode"], options["timeout"]) == ("IMMEDIATE", 3)
    assert "journal_mode=WAL" in options["init_command"]


def test_a_database_on_a_server(clients):
    config = database("postgres://us%40er:p%23a%2Fs%3As%25@db.example:6432/name?sslmode=require", 60)
    assert (config["USER"], config["PASSWORD"]) == ("us@er", "p#a/s:s%")
    assert (config["HOST"], config["PORT"], config["NAME"]) == ("db.example", 6432, "name")
    assert config["OPTIONS"]["sslmode"] == "require"
    assert (config["CONN_MAX_AGE"], config["CONN_HEALTH_CHECKS"]) == (60, True)


@pytest.mark.parametrize(
    ("url", "location", "label"),
    [
        ("redis://us%40er:p,a;s%2Fs@cache.example:6380/3?socket_timeout=2", "", "Redis at cache.example"),
        ("valkeys://:pass@cache.example/2", "rediss://:pass@cache.example/2", "Valkey at cache.example"),
        ("unix://:pass@/run/Redis.sock?db=3", "", "Redis at a socket"),
    ],
)
def test_redis_and_its_kin(url, location, label):
    service = caches.cache(url)
    assert service.setting["BACKEND"] == "django.core.cache.backends.redis.RedisCache"
    assert (service.setting["LOCATION"], service.label, service.shared) == ([location or url], label, True)


@pytest.mark.parametrize(
    ("scheme", "encryption"), [("smtp", {}), ("smtp+tls", {"use_tls": True}), ("smtps", {"use_ssl": True})]
)
def test_mail_by_a_server(scheme, encryption):
    options = services.mail(f"{scheme}://ada%40example.com:p%40s%2Fs%25@mail.example").setting["OPTIONS"]
    who = {"username": "ada@example.com", "password": "p@s/s%"}
    assert options == {"host": "mail.example", "port": None, "timeout": 10, **who, **encryption}


def test_uploads_on_disk():
    service = services.uploads("file:media")
    assert (service.path, service.url) == (BASE / "media", "/media/")


def test_uploads_in_a_bucket(clients):
    service = services.uploads("s3://bucket/some/prefix?endpoint=https://store.example:9000&region=eu-central-1")
    options = service.setting["OPTIONS"]
    assert (options["bucket_name"], options["location"]) == ("bucket", "some/prefix")
    assert (options["endpoint_url"], options["region_name"]) == ("https://store.example:9000", "eu-central-1")
    assert service.url == "https://store.example:9000/bucket/"
