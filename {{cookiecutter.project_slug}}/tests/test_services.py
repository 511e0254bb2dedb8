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


def cache(url: str, **options: Any) -> dict[str, Any]:
    return caches.cache(url, **options).setting


def mail(url: str) -> dict[str, Any]:
    return services.mail(url).setting


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


def assert_refused(parse, url, problem):
    """Assert that the URL is refused for this problem, and that no part of it is shown."""
    with pytest.raises(InvalidError) as refused:
        parse(url)
    assert problem in str(refused.value)
    assert "s3cr" not in str(refused.value)


def test_a_relative_sqlite_path_starts_at_the_project():
    assert database("sqlite:///db.sqlite3")["NAME"] == BASE / "db.sqlite3"
    assert database("sqlite:////data/db.sqlite3")["NAME"] == Path("/data/db.sqlite3")


def test_sqlite_writers_wait_for_each_other():
    options = database("sqlite:///db.sqlite3?timeout=3")["OPTIONS"]
    assert options["transaction_mode"] == "IMMEDIATE"
    assert "journal_mode=WAL" in options["init_command"]
    assert options["timeout"] == 3


def test_a_password_is_decoded(clients):
    config = database("postgres://us%40er:p%23a%2Fs%3As%25@db.example:6432/name?sslmode=require", 60)
    assert (config["USER"], config["PASSWORD"]) == ("us@er", "p#a/s:s%")
    assert (config["HOST"], config["PORT"], config["NAME"]) == ("db.example", 6432, "name")
    assert config["OPTIONS"]["sslmode"] == "require"
    assert (config["CONN_MAX_AGE"], config["CONN_HEALTH_CHECKS"]) == (60, True)


def test_a_socket_keeps_its_case(clients):
    config = database("postgres://user:pass@%2Frun%2FMySocket/name")
    assert config["HOST"] == "/run/MySocket"
    assert database("postgres:///name?host=/run/MySocket")["OPTIONS"]["host"] == "/run/MySocket"
    assert database("mysql:///name?unix_socket=/run/My.sock")["OPTIONS"]["unix_socket"] == "/run/My.sock"


def test_a_pool_keeps_no_other_connections(clients):
    config = database("postgres://user:pass@db/name?pool=true", 60)
    assert (config["OPTIONS"]["pool"], config["CONN_MAX_AGE"]) == (True, 0)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("sqlite://db.sqlite3", "must start with sqlite:///"),
        ("sqlite:db.sqlite3", "must start with sqlite:///"),
        ("sqlite:/db.sqlite3", "must start with sqlite:///"),
        ("sqlite://:memory:", "port that cannot be read"),
        ("sqlite:///:memory:", "in memory"),
        ("sqlite:///", "in memory"),
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
        ("postgres://user:s3cret@db/name?pool=1", "not true or false"),
    ],
)
def test_what_would_be_silently_wrong_is_refused(url, problem, clients):
    assert_refused(databases.database, url, problem)


def test_a_missing_client_comes_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(service_urls, "find_spec", lambda module: None)
    with pytest.raises(InvalidError, match=r'not installed: uv add "psycopg\[binary,pool\]"'):
        database("postgres://user:pass@db/name")
    with pytest.raises(InvalidError, match=r'not installed: uv add "pymysql\[rsa\]"'):
        database("mysql://user:pass@db/name")
    with pytest.raises(InvalidError, match=r'not installed: uv add "django-storages\[s3\]"'):
        services.uploads("s3://bucket")


def test_a_password_of_mysql_is_encoded_as_the_server_does(clients):
    assert database("mysql://user:p%C3%A9@db/name")["PASSWORD"] == "pé".encode()


# Caches


def test_caches_without_a_server():
    assert cache("locmem://")["BACKEND"].endswith("LocMemCache")
    assert cache("dummy://")["BACKEND"].endswith("DummyCache")


def test_the_password_of_a_cache_may_hold_separators():
    url = "rediss://us%40er:p,a;s%2Fs@cache.example:6380/3?ssl_cert_reqs=none&socket_timeout=2"
    config = cache(url)
    assert config["BACKEND"] == "django.core.cache.backends.redis.RedisCache"
    assert config["LOCATION"] == [url]


def test_a_cache_on_several_servers():
    config = cache("memcached://one.example:11211,[::1]:11212")
    assert config["LOCATION"] == ["one.example:11211", "[::1]:11212"]


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("cache.example:6379", "unknown scheme"),
        ("s3cret", "does not start with a scheme"),
        ("valkey://cache", "unknown scheme"),
        ("locmem://s3cret", "unknown scheme"),
        ("redis://", "no host"),
        ("redis://:s3cret@/0", "no host"),
        ("redis://:s3cret@cache:port/0", "port that cannot be read"),
        ("redis://:s3cret@cache/name", "database that is not a number"),
        ("redis://:1#s3cret@cache/0", "percent-encode"),
        ("redis://:1/s3cret@cache/0", "percent-encode"),
        ("redis://cache/0?db=s3cret", "option that its client"),
        ("redis://cache/0?s3cret=1", "option that its client"),
        ("redis://cache/0?ssl_cert_reqs=none", "option that its client"),
        ("memcached://", "without a host or a port"),
        ("memcached://cache", "without a host or a port"),
        ("memcached://one:11211,two", "without a host or a port"),
        ("memcached://one:11211,", "without a host or a port"),
        ("memcached://user:s3cret@one:11211", "more than hosts and ports"),
        ("memcached://one:11211/s3cret", "more than hosts and ports"),
    ],
)
def test_a_cache_that_would_be_silently_wrong_is_refused(url, problem):
    assert_refused(caches.cache, url, problem)


# Mail


@pytest.mark.parametrize(
    ("scheme", "port", "encryption"),
    [("smtp", 25, {}), ("smtp+tls", 587, {"use_tls": True}), ("smtps", 465, {"use_ssl": True})],
)
def test_mail_by_a_server(scheme, port, encryption):
    config = mail(f"{scheme}://ada%40example.com:p%40s%2Fs%25@mail.example")
    assert config["BACKEND"] == "django.core.mail.backends.smtp.EmailBackend"
    who = {"username": "ada@example.com", "password": "p@s/s%"}
    assert config["OPTIONS"] == {"host": "mail.example", "port": port, "timeout": 10, **who, **encryption}
    assert mail(f"{scheme}://mail.example:2525?timeout=3")["OPTIONS"].items() >= {
        ("port", 2525),
        ("timeout", 3),
        ("username", ""),
    }


def test_mail_without_a_server():
    assert mail("console://") == {"BACKEND": "django.core.mail.backends.console.EmailBackend"}
    assert mail("file:mail")["OPTIONS"] == {"file_path": BASE / "mail"}
    assert mail("file:///var/m%20il")["OPTIONS"] == {"file_path": Path("/var/m il")}


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("mail.example", "does not start with a scheme"),
        ("smtp:mail.example", "no host"),
        ("smtp://", "no host"),
        ("smtp://ada:s3cret@", "no host"),
        ("smtp+ssl://ada:s3cret@mail.example", "unknown scheme"),
        ("smtp://ada@example.com:s3cret@mail.example", "percent-encode"),
        ("smtp://ada:1#s3cret@mail.example", "percent-encode"),
        ("smtp://ada:1/s3cret@mail.example", "percent-encode"),
        ("smtp://mail.example:port", "port that cannot be read"),
        ("smtp://mail.example/s3cret", "path after the host"),
        ("smtp://mail.example?tls=true", "unknown option"),
        ("smtp://mail.example?timeout=0", "timeout that is not a number"),
        ("smtp://mail.example?timeout=soon", "timeout that is not a number"),
        ("file:", "names no directory"),
        ("file:///", "names no directory"),
        ("file://s3cret/mail", "names no directory"),
    ],
)
def test_mail_that_would_be_silently_wrong_is_refused(url, problem):
    assert_refused(services.mail, url, problem)


# Uploads


def test_uploads_on_disk():
    service = services.uploads("file:media")
    assert (service.path, service.url) == (BASE / "media", "/media/")
    assert services.uploads("file:///var/media").path == Path("/var/media")


def test_uploads_in_a_bucket(clients):
    service = services.uploads("s3://bucket/some/prefix?endpoint=https://store.example:9000&region=eu-central-1")
    assert service.setting["BACKEND"] == "storages.backends.s3.S3Storage"
    options = service.setting["OPTIONS"]
    assert (options["bucket_name"], options["location"]) == ("bucket", "some/prefix")
    assert (options["endpoint_url"], options["region_name"]) == ("https://store.example:9000", "eu-central-1")
    assert service.url == "https://store.example:9000/bucket/"
    assert services.uploads("s3://bucket?region=eu-west-1").url == "https://bucket.s3.eu-west-1.amazonaws.com/"


@pytest.mark.skipif(not find_spec("boto3"), reason="needs boto3, which this project does not have")
@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket",
        "s3://bucket?region=eu-central-1",
        "s3://bucket?region=us-east-1",
        "s3://bucket?region=cn-north-1",
        "s3://my.bucket?region=auto&endpoint=https://store.example",
    ],
)
def test_what_a_bucket_signs_is_at_the_address_that_the_policy_allows(url, monkeypatch):
    from storages.backends.s3 import S3Storage

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "key")
    for name in ("AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    service = services.uploads(url)
    assert S3Storage(**service.setting["OPTIONS"]).url("a.png").startswith(service.url)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("media", "does not start with a scheme"),
        ("file:", "names no directory"),
        ("file:media?s3cret", "names no directory"),
        ("gs://bucket", "unknown scheme"),
        ("s3://", "no bucket"),
        ("s3://key:s3cret@bucket", "no bucket"),
        ("s3://Bucket", "no bucket"),
        ("s3://my.bucket?region=eu-central-1", "bucket with a dot"),
        ("s3://bucket?acl=s3cret", "unknown option"),
        ("s3://bucket?endpoint=store.example", "endpoint that is not"),
        ("s3://bucket?endpoint=https://key:s3cret@store.example", "@ in the wrong place"),
    ],
)
def test_uploads_that_would_be_silently_wrong_are_refused(url, problem):
    assert_refused(services.uploads, url, problem)


# Tasks


def test_tasks():
    assert services.tasks("immediate").setting["BACKEND"] == "django.tasks.backends.immediate.ImmediateBackend"
    assert services.tasks("database").setting["BACKEND"] == "django_tasks_db.DatabaseBackend"
    assert_refused(services.tasks, "redis://:s3cret@queue", "is not one of immediate, database")


def test_the_certificate_of_a_cache_is_verified_unless_told_otherwise():
    assert "ssl_cert_reqs" not in cache("rediss://:pass@host:6379/0")["OPTIONS"]
    assert cache("rediss://:pass@host:6379/0", verify=False)["OPTIONS"]["ssl_cert_reqs"] == "none"
    assert "ssl_cert_reqs" not in cache("redis://:pass@host:6379/0", verify=False)["OPTIONS"]
