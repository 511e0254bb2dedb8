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
NEEDS_BOTO = pytest.mark.skipif(not find_spec("boto3"), reason="needs boto3, which this project does not have")


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
        valid = dict.fromkeys(("is_valid_endpoint_url", "is_valid_ipv6_endpoint_url"), bool)
        monkeypatch.setitem(sys.modules, "botocore.utils", SimpleNamespace(**valid))


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


def test_a_socket_of_cloud_sql_is_written_as_google_does(clients):
    config = database("postgres://user:pass@//cloudsql/project:region:Instance/name?sslmode=disable")
    assert (config["HOST"], config["NAME"]) == ("/cloudsql/project:region:Instance", "name")
    assert database("mysql://user:pass@//cloudsql/p:r:i/name")["HOST"] == "/cloudsql/p:r:i"


def test_postgresql_on_several_hosts(clients):
    config = database("postgres://user:a,b@one:6432,two,[::1]:7432/name?target_session_attrs=read-write")
    assert (config["USER"], config["PASSWORD"], config["NAME"]) == ("user", "a,b", "name")
    assert (config["HOST"], config["PORT"]) == ("one,two,::1", "6432,5432,7432")


def test_server_side_cursors_are_off_where_pgbouncer_needs_it(clients):
    config = database("postgres://user:pass@db/name?disable_server_side_cursors=true")
    assert config["DISABLE_SERVER_SIDE_CURSORS"] is True
    assert "disable_server_side_cursors" not in config["OPTIONS"]
    assert database("postgres://user:pass@db/name")["DISABLE_SERVER_SIDE_CURSORS"] is False


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {"ssl_disabled": False}),
        ("ssl-mode=DISABLED", {"ssl_disabled": True}),
        ("ssl-mode=REQUIRED", {"ssl": {"verify_mode": "none"}, "ssl_disabled": False}),
        ("ssl-mode=REQUIRED&ssl-ca=/ca", {"ssl": {"ca": "/ca"}, "ssl_disabled": False}),
        ("ssl-mode=VERIFY_CA&ssl-ca=/ca", {"ssl": {"ca": "/ca", "check_hostname": False}, "ssl_disabled": False}),
        ("ssl-mode=verify_identity&ssl-ca=/ca", {"ssl": {"ca": "/ca"}, "ssl_disabled": False}),
        ("reconnect=true", {"ssl_disabled": False}),
    ],
)
def test_mysql_takes_the_options_that_its_providers_write(query, expected, clients):
    options = database(f"mysql://user:pass@db/name?{query}")["OPTIONS"]
    assert {name: options[name] for name in options.keys() - {"connect_timeout", "init_command"}} == expected


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
        ("postgres://user:1#s3cret@db/name", "percent-encode"),
        ("postgres://user:1/s3cret@db/name", "percent-encode"),
        ("postgres://user:1?s3cret@db/name", "percent-encode"),
        ("postgres://user:s3cret@x@db/name", "percent-encode"),
        ("postgres://user:100%s3cret@db/name", "percent-encode"),
        ("postgres://user:s3cret [1]@db/name", "percent-encode"),
        ("postgres://user:s3crét@db/name", "percent-encode"),
        ("sqlite:///db.sqlite3?timeout=s3cret", "timeout that is not a whole number"),
        ("sqlite:///db.sqlite3?transaction_mode=s3cret", "transaction_mode that is not one of"),
        ("postgres://user:s3cret@db/name?connect_timeout=soon", "connect_timeout that is not a whole number"),
        ("postgres://user:s3cret@db/name?isolation_level=foo", "isolation_level that is not one of"),
        ("postgres://user:s3cret@db/name?dbname=other", "option for what stands before the ?"),
        ("postgres://user:s3cret@db/name?user=other", "option for what stands before the ?"),
        ("postgres://user:s3cret@db/name?host=other", "option for what stands before the ?"),
        ("postgres://user:s3cret@db:5432,two:99999/name", "port that cannot be read"),
        ("postgres://user:s3cret@db/name?disable_server_side_cursors=1", "that is not one of true, false"),
        ("mysql://user:s3cret@db/name?database=other", "option for what stands before the ?"),
        ("mysql://user:s3cret@db/name?isolation_level=foo", "isolation_level that is not one of"),
        ("mysql://user:s3cret@db/name?read_timeout=soon", "read_timeout that is not a whole number"),
        ("mysql://user:s3cret@db/name?ssl-mode=foo", "ssl-mode that is not one of"),
        ("mysql://user:s3cret@db/name?ssl-mode=VERIFY_CA", "needs a certificate"),
        ("postgres://user:s3cret@db/name?pool=1", "a value of pool that is not one of true, false"),
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


@pytest.mark.parametrize(
    ("url", "location", "label"),
    [
        ("redis://:pass@cache.example/1", "redis://:pass@cache.example/1", "Redis at cache.example"),
        ("valkey://:pass@cache.example", "redis://:pass@cache.example", "Valkey at cache.example"),
        ("valkeys://:pass@cache.example/2", "rediss://:pass@cache.example/2", "Valkey at cache.example"),
        ("unix://:pass@/run/Redis.sock?db=3", "unix://:pass@/run/Redis.sock?db=3", "Redis at a socket"),
    ],
)
def test_kin_of_redis(url, location, label):
    service = caches.cache(url)
    assert (service.setting["LOCATION"], service.label, service.shared) == ([location], label, True)


def test_a_cache_on_several_servers():
    config = cache("memcached://one.example:11211,[::1]:11212")
    assert config["LOCATION"] == ["one.example:11211", "[::1]:11212"]


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("cache.example:6379", "unknown scheme"),
        ("s3cret", "does not start with a scheme"),
        ("mongodb://cache", "unknown scheme"),
        ("unix://", "names no socket"),
        ("unix://s3cret/redis.sock", "names no socket"),
        ("locmem://s3cret", "unknown scheme"),
        ("redis://", "no host"),
        ("redis://:s3cret@/0", "no host"),
        ("redis://:s3cret@cache:port/0", "port that cannot be read"),
        ("redis://:s3cret@cache/name", "database that is not one number"),
        ("redis://:1#s3cret@cache/0", "percent-encode"),
        ("redis://:1/s3cret@cache/0", "percent-encode"),
        ("redis://cache?db=s3cret", "option that its client"),
        ("redis://cache/1?db=2", "database that is not one number"),
        ("rediss://cache/0?ssl_cert_reqs=s3cret", "option that its client"),
        ("rediss://cache/0?ssl_cert_reqs=CERT_NONE", "option that its client"),
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
        ("smtp+tls://ada:s3cret@mail.example:465", "port of another scheme"),
        ("smtp://mail.example:465", "port of another scheme"),
        ("smtps://ada:s3cret@mail.example:587", "port of another scheme"),
        ("smtp://s3cret@mail.example", "user without a password"),
        ("smtp://:s3cret@mail.example", "password without a user"),
        ("file:templates", "directory of the code"),
        ("file:media", "directory of the code"),
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


@NEEDS_BOTO
@pytest.mark.parametrize("endpoint", ["http://[::1]:9000", "http://minio:9000", "https://a.supabase.co/storage/v1/s3"])
def test_endpoints_of_other_stores(endpoint):
    service = services.uploads(f"s3://bucket?endpoint={endpoint}&region=auto")
    assert (service.setting["OPTIONS"]["endpoint_url"], service.url) == (endpoint, f"{endpoint}/bucket/")


@NEEDS_BOTO
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
        ("s3://bucket?endpoint=store.example", "does not start with a scheme"),
        ("s3://bucket?endpoint=ftp://store.example", "endpoint that is not https://host"),
        ("s3://bucket?endpoint=https://key:s3cret@store.example", "@ in the wrong place"),
        pytest.param("s3://bucket?endpoint=http://s3cret_1:9000", "endpoint that its client refuses", marks=NEEDS_BOTO),
        ("s3://bucket?endpoint=https://store.example:99999", "port that cannot be read"),
        ("s3://bucket?endpoint=https://store.example/%3Fs3cret=1", "endpoint that is not https://host"),
        ("file:.", "directory of the code"),
        ("file:..", "directory of the code"),
        ("file:config", "directory of the code"),
        ("file:static", "directory of the code"),
        ("file:mail", "directory of the code"),
        ("file:media/../templates", "directory of the code"),
        (f"file:{BASE}", "directory of the code"),
        (f"file:{BASE}/.git", "directory of the code"),
        (f"file:{BASE.parent}", "directory of the code"),
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
