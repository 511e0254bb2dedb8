"""Every rule for the URL of a backing service; some of them the project tests by itself."""

from pathlib import Path
from typing import Any

import pytest
from config import caches, databases, service_urls, services
from config.env import InvalidError
from django.core.mail.backends.smtp import EmailBackend
from tests.test_services import BASE, database


def mail(url: str) -> dict[str, Any]:
    return services.mail(url).setting


# What is wrong with URLs, and URLs with which this is wrong.
REFUSED = {
    databases.database: {
        "must start with sqlite:///": "sqlite://db.sqlite3 sqlite:db.sqlite3 sqlite:/db.sqlite3",
        "names no file": "sqlite:///:memory: sqlite:/// sqlite:///directory/",
        "start with a scheme": "/db.sqlite3 db.example",
        "unknown scheme": "oracle://user:s3cret@db/name",
        "port that cannot be read": "sqlite://:memory: postgres://user:s3cret@db:port/name "
        "postgres://user:s3cret@db:99999/name postgres://user:s3cret@db:5432,two:99999/name",
        "no port": "postgres://user:s3cret@db:/name postgres://user:s3cret@db:0/name",
        "no host": "postgres://user:s3cret@/name postgres:///name mysql:///name",
        "no database": "postgres://user:s3cret@db mysql://user:s3cret@db/",
        "percent-encode": "postgres://user:1#s3cret@db/name postgres://user:1/s3cret@db/name "
        "postgres://user:1?s3cret@db/name postgres://user:s3cret@x@db/name postgres://user:100%s3cret@db/name "
        "postgres://user:s3cret\t[1]@db/name postgres://user:s3crét@db/name",
        "pool that is not one of true, false": "postgres://user:s3cret@db/name?pool=1",
        "cursors that is not one of true, false": "postgres://user:s3cret@db/name?disable_server_side_cursors=1",
        "timeout that is not a whole number": "sqlite:///db.sqlite3?timeout=abc mysql://user@db/name?read_timeout=soon "
        "postgres://user:s3cret@db/name?connect_timeout=soon",
        "transaction_mode that is not one of": "sqlite:///db.sqlite3?transaction_mode=foo",
        "isolation_level that is not one of": "postgres://user:s3cret@db/name?isolation_level=foo "
        "mysql://user:s3cret@db/name?isolation_level=foo",
        "has a part of the address twice": "postgres://user:s3cret@db/name?dbname=other mysql://db/name?database=x "
        "postgres://user:s3cret@db/name?host=other postgres://user:s3cret@db/name?user=other",
        "ssl-mode that is not one of": "mysql://user:s3cret@db/name?ssl-mode=foo",
        "has an option ssl": "mysql://user:s3cret@db/name?ssl=true mysql://db/name?ssl=1&ssl-mode=VERIFY_CA",
        "needs a certificate": "mysql://user:s3cret@db/name?ssl-mode=VERIFY_CA",
    },
    caches.cache: {
        "unknown scheme": "cache.example:6379 mongodb://cache locmem://s3cret",
        "start with a scheme": "s3cret",
        "names no socket": "unix:// unix://s3cret/redis.sock",
        "no host": "redis:// redis://:s3cret@/0 valkey://",
        "port that cannot be read": "redis://:s3cret@cache:port/0",
        "database that is not one number": "redis://:s3cret@cache/name redis://cache/1?db=2",
        "percent-encode": "redis://:1#s3cret@cache/0 redis://:1/s3cret@cache/0",
        "option that its client": "redis://cache?db=s3cret redis://cache/0?s3cret=1 redis://cache/0?ssl_cert_reqs=none "
        "rediss://cache/0?ssl_cert_reqs=s3cret rediss://cache/0?ssl_cert_reqs=CERT_NONE",
        "without a host or a port": "memcached:// memcached://cache memcached://one:11211,two memcached://one:11211,",
        "more than hosts and ports": "memcached://user:s3cret@one:11211 memcached://:s3cret@one:11211 memcached://one:11211/s3cret",
    },
    services.mail: {
        "start with a scheme": "mail.example",
        "no host": "smtp:mail.example smtp:// smtp://ada:s3cret@",
        "unknown scheme": "smtp+ssl://ada:s3cret@mail.example",
        "percent-encode": "smtp://ada@example.com:s3cret@mail.example smtp://ada:1#s3cret@mail.example",
        "port that cannot be read": "smtp://mail.example:port",
        "unknown option": "smtp://mail.example?s3cret=true",
        "timeout that is not a whole number": "smtp://mail?timeout=0 smtp://mail?timeout=-5 smtp://mail?timeout=1_0",
        "port of another scheme": "smtp+tls://a:s3cret@mail:465 smtp://mail:465 smtps://a:s3cret@mail:587",
        "password without a user": "smtp://s3cret@mail.example smtp://:s3cret@mail.example",
        "names no directory": "file: file:/// file://s3cret/mail",
        "inside the project or contains it": "file:templates file:media",
    },
    services.uploads: {
        "start with a scheme": "media s3://bucket?endpoint=store.example",
        "names no directory": "file: file:media?s3cret",
        "inside the project or contains it": "file:. file:.. file:config file:static file:mail file:media/../templates "
        f"file:{BASE} file:{BASE}/.git file:{BASE.parent}",
        "unknown scheme": "gs://bucket",
        "no bucket": "s3:// s3://key:s3cret@bucket s3://Bucket",
        "bucket with a dot": "s3://my.bucket?region=eu-central-1",
        "unknown option": "s3://bucket?acl=s3cret",
        "endpoint that is not https://host": "s3://bucket?endpoint=ftp://store s3://bucket?endpoint=https:// "
        "s3://bucket?endpoint=https:store s3://bucket?endpoint=https://a/%3Fs3cret=1",
        "@ in the wrong place": "s3://bucket?endpoint=https://key:s3cret@store.example",
        "port that cannot be read": "s3://bucket?endpoint=https://store.example:99999",
    },
    services.tasks: {"is not one of immediate, database": "redis://:s3cret@queue"},
}


@pytest.mark.parametrize(
    ("read", "url", "problem"),
    [(read, url, why) for read, whys in REFUSED.items() for why, urls in whys.items() for url in urls.split(" ")],
)
def test_what_would_be_silently_wrong_is_refused(read, url, problem):
    with pytest.raises(InvalidError) as refused:
        read(url)
    assert problem in str(refused.value)
    assert "s3cr" not in str(refused.value)


def test_a_missing_client_comes_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(service_urls, "find_spec", lambda module: None)
    with pytest.raises(InvalidError, match=r'not installed: uv add "pymysql\[rsa\]"'):
        database("mysql://user:pass@db/name")
    with pytest.raises(InvalidError, match=r'not installed: uv add "django-storages\[s3\]"'):
        services.uploads("s3://bucket")


# Databases


def test_a_password_of_mysql_is_sent_as_utf_8():
    assert database("mysql://user:p%C3%A9@db/name")["PASSWORD"] == "pé".encode()  # PyMySQL would encode it as Latin-1


def test_a_socket_keeps_its_case():
    assert database("postgres://user:pass@%2Frun%2FMySocket/name")["HOST"] == "/run/MySocket"
    assert database("postgres:///name?host=/run/MySocket")["OPTIONS"]["host"] == "/run/MySocket"
    assert database("mysql:///name?unix_socket=/run/My.sock")["OPTIONS"]["unix_socket"] == "/run/My.sock"


def test_a_socket_of_cloud_sql_is_written_as_google_does():
    config = database("postgres://user:pass@//cloudsql/project:region:Instance/name?sslmode=disable")
    assert (config["HOST"], config["NAME"]) == ("/cloudsql/project:region:Instance", "name")
    assert database("mysql://user:pass@//cloudsql/p:r:i/name")["HOST"] == "/cloudsql/p:r:i"


def test_postgresql_on_several_hosts():
    config = database("postgres://user:a,b@one:6432,two,[::1]:7432/name?target_session_attrs=read-write")
    assert (config["USER"], config["PASSWORD"], config["NAME"]) == ("user", "a,b", "name")
    assert (config["HOST"], config["PORT"]) == ("one,two,::1", "6432,5432,7432")


def test_a_comma_in_a_password_is_not_a_second_host():
    config = database("postgres://us,er:pa,ss@one:6432/name")
    assert (config["USER"], config["PASSWORD"], config["HOST"], config["PORT"]) == ("us,er", "pa,ss", "one", 6432)


def test_a_pool_keeps_no_other_connections():
    config = database("postgres://user:pass@db/name?pool=true", 60)
    assert (config["OPTIONS"]["pool"], config["CONN_MAX_AGE"]) == (True, 0)


def test_the_label_of_postgresql_names_the_host_of_an_option_too():
    labels = [databases.database(f"postgres://{rest}").label for rest in ("user:pass@one/name", "/name?host=two")]
    assert labels == ["PostgreSQL at one", "PostgreSQL at two"]


def test_server_side_cursors_are_off_where_pgbouncer_needs_it():
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
def test_mysql_takes_the_options_that_its_providers_write(query, expected):
    options = database(f"mysql://user:pass@db/name?{query}")["OPTIONS"]
    assert {name: options[name] for name in options.keys() - {"connect_timeout", "init_command"}} == expected


# Caches


def test_caches_without_a_server_are_not_shared():
    assert [caches.cache(url).shared for url in ("locmem://", "dummy://")] == [False, False]


@pytest.mark.parametrize(
    ("url", "location", "label"),
    [
        ("rediss://:pass@cache.example?ssl_cert_reqs=none", "", "Redis at cache.example"),
        ("valkey://:pass@cache.example", "redis://:pass@cache.example", "Valkey at cache.example"),
    ],
)
def test_redis_and_its_kin(url, location, label):
    service = caches.cache(url)
    assert (service.setting["LOCATION"], service.label) == ([location or url], label)


def test_the_certificate_of_a_cache_is_verified_unless_told_otherwise():
    options = [caches.cache("rediss://host", verify).setting["OPTIONS"] for verify in (True, False)]
    assert [option.get("ssl_cert_reqs") for option in options] == [None, "none"]
    assert "ssl_cert_reqs" not in caches.cache("redis://host", verify=False).setting["OPTIONS"]


def test_a_cache_on_several_servers():
    service = caches.cache("memcached://one.example:11211,[::1]:11212")
    assert service.setting["LOCATION"] == ["one.example:11211", "[::1]:11212"]
    assert service.label == "Memcached at one.example, ::1"


# Mail


@pytest.mark.parametrize(("scheme", "port"), [("smtp", 25), ("smtp+tls", 587), ("smtps", 465)])
def test_mail_by_the_usual_port(scheme, port):
    assert EmailBackend(alias="default", **mail(f"{scheme}://mail.example")["OPTIONS"]).port == port


def test_mail_by_another_port():
    options = mail("smtp+tls://mail.example:2525?timeout=3")["OPTIONS"]
    assert (options["port"], options["timeout"], options["username"]) == (2525, 3, "")


def test_mail_without_a_server():
    assert mail("console://") == {"BACKEND": "django.core.mail.backends.console.EmailBackend"}
    assert mail("file:mail")["OPTIONS"] == {"file_path": BASE / "mail"}
    assert mail("file:///var/m%20il")["OPTIONS"] == {"file_path": Path("/var/m il")}


# Uploads


def test_uploads_on_disk():
    assert services.uploads("file:///data").path == Path("/data")


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket",
        "s3://bucket?region=eu-central-1",
        "s3://bucket?region=us-east-1",
        "s3://bucket?region=cn-north-1",
        "s3://my.bucket?region=auto&endpoint=https://store.example",
        "s3://bucket?region=auto&endpoint=http://[::1]:9000",
        "s3://bucket?region=auto&endpoint=https://a.supabase.co/storage/v1/s3",
    ],
)
def test_what_a_bucket_signs_is_at_the_address_that_the_policy_allows(url, monkeypatch):
    from storages.backends.s3 import S3Storage

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "key")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")  # the URL alone decides
    service = services.uploads(url)
    assert S3Storage(**service.setting["OPTIONS"]).url("a.png").startswith(service.url)
