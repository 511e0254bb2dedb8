"""A URL becomes a backing service's setting.

The code makes no distinction between local and third-party services (https://12factor.net/backing-services):
each is a URL in the environment. A URL that a library would silently take for something else is refused here.
"""

import re
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import dj_database_url

from config.env import InvalidError

BASE_DIR = Path(__file__).resolve().parent.parent

# Seconds until a service that does not answer counts as unreachable.
CONNECT_TIMEOUT = 5


def split(url: str) -> SplitResult:
    """Return the parts of a URL.

    Raises InvalidError for what urllib.parse takes apart in the wrong place without a word: a `#`, `/`, `?` or `@` of a
    password that is not percent-encoded ends up in the host, the path or nowhere.
    """
    escape = "percent-encode special characters in the user name and password (@ is %40, # is %23, / is %2F)"
    if not re.match(r"[a-z][a-z0-9+.-]*:", url):
        raise InvalidError("does not start with a scheme such as the one of the example")
    if re.search(r"%(?![0-9A-Fa-f]{2})|[^!-~]|[#<>\"\\^`{|}]", url):
        raise InvalidError(f"has a character that a URL cannot hold: {escape}")
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  the property raises for a port that is no number
    except ValueError:
        raise InvalidError(f"has a host or port that cannot be read: {escape}") from None
    if "@" in parts.path or "@" in parts.query or parts.netloc.count("@") > 1:
        raise InvalidError(f"has an @ in the wrong place: {escape}")
    if parts.netloc.endswith(":") or parts.port == 0:
        raise InvalidError("has no port after the colon")
    return parts


def need(module: str, package: str) -> None:
    """Raise InvalidError, with the command that helps, unless `module` can be imported."""
    if find_spec(module) is None:
        raise InvalidError(f'needs a client that is not installed: uv add "{package}"')


def check_options(parts: SplitResult, known: set[str]) -> None:
    """Raise InvalidError for an option after the `?` that is not in `known`, by number: its name may be secret."""
    for number, (name, _) in enumerate(parse_qsl(parts.query, keep_blank_values=True), start=1):
        if name not in known:
            raise InvalidError(f"has an option that its client does not know (number {number} after the ?)")


# What https://docs.python.org/3/library/sqlite3.html#sqlite3.connect and Django's SQLite backend take.
SQLITE_OPTIONS = {"cached_statements", "check_same_thread", "init_command", "timeout", "transaction_mode"}


SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


def database(url: str, conn_max_age: int = 0) -> dict[str, Any]:
    """Return the entry of DATABASES for sqlite:///path, postgres://… or mysql://… .

    A relative SQLite path starts at the project's directory. Connections are kept for `conn_max_age` seconds, checked
    before each request. Raises InvalidError.
    """
    parts = split(url)
    if parts.scheme == "sqlite":
        return {**_sqlite(url, parts), "CONN_MAX_AGE": conn_max_age}
    if parts.scheme in ("postgres", "postgresql"):
        known, defaults = _postgresql_options()
    elif parts.scheme == "mysql":
        known, defaults = _mysql_options()
    else:
        raise InvalidError("has an unknown scheme: sqlite, postgres and mysql are known")
    check_options(parts, known)
    config = dj_database_url.parse(url, conn_max_age=conn_max_age, conn_health_checks=True)
    options = config["OPTIONS"] = {**defaults, **config.get("OPTIONS", {})}
    if not config["HOST"] and not options.keys() & {"host", "service", "unix_socket"}:
        raise InvalidError("names no host")
    if not config["NAME"] and "service" not in options:
        raise InvalidError("names no database")
    if "/" in config["NAME"]:
        raise InvalidError("has a / in the name of the database: percent-encode special characters (/ is %2F)")
    if parts.scheme == "mysql" and not config["PASSWORD"].isascii():
        config["PASSWORD"] = config["PASSWORD"].encode()  # PyMySQL would encode it as Latin-1
    if config["HOST"].startswith("/"):  # a socket: urllib lower-cases hosts, and paths have case
        config["HOST"] = unquote(parts.netloc.rpartition("@")[2].partition(":")[0])
    if "pool" in options:
        if not isinstance(options["pool"], bool):
            raise InvalidError("has a pool option that is not true or false")
        if options["pool"]:
            config["CONN_MAX_AGE"] = 0  # Django refuses a pool of persistent connections
    if options.get("sslmode", "prefer") not in SSL_MODES:
        raise InvalidError(f"has an sslmode that is not one of {', '.join(SSL_MODES)}")
    for name in ("connect_timeout", "tcp_user_timeout", "port", "read_timeout", "write_timeout"):
        if not isinstance(options.get(name, 0), int) or isinstance(options.get(name), bool):
            raise InvalidError(f"has a {name} that is not a whole number")
    return config


def _sqlite(url: str, parts: SplitResult) -> dict[str, Any]:
    if not url.startswith("sqlite:///"):  # dj-database-url makes sqlite://db.sqlite3 a database in memory
        raise InvalidError("has not the three slashes of a file's URL, or four for an absolute path")
    if parts.path in ("", "/") or parts.path.endswith("/") or "memory:" in parts.path:
        raise InvalidError("names no file: a database in memory is lost with its process")
    check_options(parts, SQLITE_OPTIONS)
    config = dj_database_url.parse(url)
    config["NAME"] = BASE_DIR / config["NAME"]
    # https://docs.djangoproject.com/en/6.1/ref/databases/#sqlite-notes: WAL lets readers read while one writes, and
    # IMMEDIATE makes a writer wait for its turn. With Django's defaults four writers lose hundreds of writes in 4 s.
    defaults = {"timeout": 20, "transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL"}
    config["OPTIONS"] = {**defaults, **config.get("OPTIONS", {})}
    return config


def _postgresql_options() -> tuple[set[str], dict[str, Any]]:
    need("psycopg", "psycopg[binary,pool]")
    from psycopg.pq import Conninfo

    known = {option.keyword.decode() for option in Conninfo.get_defaults()}
    of_django = {"pool", "isolation_level", "assume_role", "server_side_binding", "currentSchema"}
    # Milliseconds without an acknowledgement: a host that went away ends a query then, not after 15 minutes of TCP.
    return known | of_django, {"connect_timeout": CONNECT_TIMEOUT, "tcp_user_timeout": 15_000}


def _mysql_options() -> tuple[set[str], dict[str, Any]]:
    # PyMySQL, which passes all tests on MariaDB: mysqlclient has no wheel for Linux, and without a compiler, pkg-config
    # and the headers of MariaDB it cannot be installed.
    need("pymysql", "pymysql[rsa]")
    import pymysql

    pymysql.install_as_MySQLdb()
    known = set(signature(pymysql.connect).parameters)
    # Django stores times in UTC and compares them with the server's own, which would be in the server's zone.
    utc = {"init_command": "SET time_zone = '+00:00'"}
    return known | {"isolation_level", "ssl-ca"}, {"connect_timeout": CONNECT_TIMEOUT, **utc}


def cache(url: str, verify: bool = True) -> dict[str, Any]:
    """Return the entry of CACHES for locmem://, dummy://, redis://…, rediss://… or memcached://host:port,host:port.

    Without `verify` the certificate of rediss:// may be anyone's. The clients of Redis and Memcached are installed and
    imported only when named. Raises InvalidError.
    """
    if url in ("locmem://", "dummy://"):
        name = {"locmem://": "locmem.LocMemCache", "dummy://": "dummy.DummyCache"}[url]
        return {"BACKEND": f"django.core.cache.backends.{name}"}
    if url.startswith("memcached://"):
        hosts = url.removeprefix("memcached://").split(",")
        servers = [split(f"memcached://{host}") for host in hosts]
        if any(server.username or server.path or server.query for server in servers):
            raise InvalidError("has more than hosts and ports")
        if not all(server.hostname and server.port for server in servers):
            raise InvalidError("has a server without a host or a port")
        # A server that failed is tried again after as many seconds, and not after the client's 60.
        options = {"connect_timeout": CONNECT_TIMEOUT, "timeout": CONNECT_TIMEOUT, "dead_timeout": CONNECT_TIMEOUT}
        backend = "django.core.cache.backends.memcached.PyMemcacheCache"
        return {"BACKEND": backend, "LOCATION": hosts, "OPTIONS": options}
    parts = split(url)
    if parts.scheme not in ("redis", "rediss"):
        raise InvalidError("has an unknown scheme: redis, rediss, memcached, locmem and dummy are known")
    if not parts.hostname:
        raise InvalidError("names no host")
    if not re.fullmatch("/?|/[0-9]+", parts.path):  # redis takes any other word for database 0
        raise InvalidError("has a database that is not a number")
    from redis.connection import URL_QUERY_ARGUMENT_PARSERS, parse_url

    tls = {"ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname", "ssl_min_version"}
    known = {name for name in URL_QUERY_ARGUMENT_PARSERS if not name.startswith("ssl_")} | {"client_name"}
    check_options(parts, known | tls if parts.scheme == "rediss" else known)
    try:
        parse_url(url)
    except ValueError:
        raise InvalidError("has an option whose value its client cannot read") from None
    options = {"socket_connect_timeout": CONNECT_TIMEOUT, "socket_timeout": CONNECT_TIMEOUT}
    if parts.scheme == "rediss" and not verify:
        options["ssl_cert_reqs"] = "none"
    return {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": [url],  # a list: Django splits a string at , and ; which passwords may hold
        "OPTIONS": options,
    }


SMTP = {"smtp": (25, {}), "smtp+tls": (587, {"use_tls": True}), "smtps": (465, {"use_ssl": True})}


def mail(url: str) -> dict[str, Any]:
    """Return the entry of MAILERS for console://, file:///directory, smtp://…, smtp+tls://… or smtps://….

    smtp+tls is STARTTLS, on port 587 unless another is named; smtps is TLS from the start, on 465. Raises
    InvalidError.
    """
    backend = "django.core.mail.backends.{}.EmailBackend"
    if url == "console://":
        return {"BACKEND": backend.format("console")}
    if url.startswith("file:"):
        return {"BACKEND": backend.format("filebased"), "OPTIONS": {"file_path": directory(url)}}
    parts = split(url)
    if parts.scheme not in SMTP:
        raise InvalidError("has an unknown scheme: smtp, smtp+tls, smtps, file and console are known")
    if not parts.hostname:
        raise InvalidError("names no host")
    if parts.path not in ("", "/"):
        raise InvalidError("has a path after the host")
    check_options(parts, {"timeout"})
    port, encryption = SMTP[parts.scheme]
    timeout = dict(parse_qsl(parts.query)).get("timeout", "10")  # without one a dead server holds a thread for ever
    if not re.fullmatch("[1-9][0-9]{0,3}", timeout):
        raise InvalidError("has a timeout that is not a number of seconds")
    options = {
        "host": parts.hostname,
        "port": parts.port or port,
        "username": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "timeout": int(timeout),
        **encryption,
    }
    return {"BACKEND": backend.format("smtp"), "OPTIONS": options}


def tasks(name: str) -> dict[str, Any]:
    """Return the entry of TASKS for immediate (in the process that asks) or database (the worker runs them)."""
    if name not in ("immediate", "database"):
        raise InvalidError("is not one of immediate, database")
    return {
        "BACKEND": "django_tasks_db.DatabaseBackend"
        if name == "database"
        else "django.tasks.backends.immediate.ImmediateBackend",
        "QUEUES": [],  # any
    }


def storage(url: str) -> dict[str, Any]:
    """Return the entry of STORAGES for file:directory, or s3://bucket/prefix?endpoint=https://host&region=name.

    The credentials are those that every tool for S3 reads, AWS_ACCESS_KEY_ID and so on. Raises InvalidError.
    """
    if url.startswith("file:"):
        options = {"location": directory(url), "base_url": "/media/"}
        return {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": options}
    parts = split(url)
    if parts.scheme != "s3":
        raise InvalidError("has an unknown scheme: file and s3 are known")
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", parts.netloc):
        raise InvalidError("names no bucket")
    check_options(parts, {"endpoint", "region"})
    query = dict(parse_qsl(parts.query))
    endpoint = query.get("endpoint")
    if endpoint and not re.fullmatch(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?/?", endpoint):
        raise InvalidError("has an endpoint that is not https://host")
    if "." in parts.netloc and not endpoint:
        raise InvalidError("names a bucket with a dot, which Amazon's certificates do not cover")
    need("storages", "django-storages[s3]")
    need("botocore", "django-storages[s3]")
    from botocore.config import Config

    # Path style where an endpoint is named: its certificate covers one host, not one for each bucket. Amazon's own are
    # in the bucket's region, where `origin` below has them too.
    style = {"addressing_style": "path" if endpoint else "virtual", "us_east_1_regional_endpoint": "regional"}
    client = Config(s3=style, signature_version="s3v4", connect_timeout=CONNECT_TIMEOUT, retries={"mode": "standard"})
    options = {
        "bucket_name": parts.netloc,
        "location": unquote(parts.path.strip("/")),
        "endpoint_url": endpoint,
        "region_name": query.get("region"),
        "client_config": client,
        "file_overwrite": False,  # as on disk: a second upload of the same name gets another
    }
    return {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options}


def directory(url: str) -> Path:
    """Return the directory of file:relative (to the project) or file:///absolute; raise InvalidError."""
    parts = split(url)
    if parts.netloc or parts.query or not parts.path.strip("/"):
        raise InvalidError("names no directory: write file:relative or file:///absolute")
    return BASE_DIR / unquote(parts.path)


def origin(storage: dict[str, Any] | None) -> list[str]:
    """Return the origin that browsers fetch uploads from, for the Content-Security-Policy, unless it is this site."""
    if not storage or "bucket_name" not in storage["OPTIONS"]:
        return []
    options = storage["OPTIONS"]
    region = f".{options['region_name']}" if options["region_name"] else ""
    amazon = f"https://{options['bucket_name']}.s3{region}.amazonaws.com{'.cn' if region.startswith('.cn-') else ''}"
    return [(options["endpoint_url"] or amazon).rstrip("/")]


def describe(settings: Any) -> dict[str, str]:
    """Return what the environment attached, name by name, without user names, passwords or paths."""
    database, cache = settings.DATABASES["default"], settings.CACHES["default"]
    mail, storage = settings.MAILERS["default"], settings.STORAGES["default"]
    hosts = [urlsplit(server).hostname or server for server in cache.get("LOCATION", [])]
    return {
        "database": _describe(database["ENGINE"], database.get("HOST")),
        "cache": _describe(cache["BACKEND"], ", ".join(hosts)),
        "mail": _describe(mail["BACKEND"], mail.get("OPTIONS", {}).get("host")),
        "uploads": _describe(storage["BACKEND"], storage["OPTIONS"].get("bucket_name")),
        "tasks": _describe(settings.TASKS["default"]["BACKEND"]),
    }


WORDS = {
    "django.db.backends.sqlite3": "SQLite",
    "django.db.backends.postgresql": "PostgreSQL",
    "django.db.backends.mysql": "MySQL",
    "django.core.cache.backends.locmem.LocMemCache": "memory of each process",
    "django.core.cache.backends.dummy.DummyCache": "none",
    "django.core.cache.backends.redis.RedisCache": "Redis",
    "django.core.cache.backends.memcached.PyMemcacheCache": "Memcached",
    "django.core.mail.backends.console.EmailBackend": "printed",
    "django.core.mail.backends.filebased.EmailBackend": "files",
    "django.core.mail.backends.smtp.EmailBackend": "SMTP",
    "django.core.files.storage.FileSystemStorage": "disk",
    "storages.backends.s3.S3Storage": "S3",
    "django.tasks.backends.immediate.ImmediateBackend": "in the web process, at once",
    "django_tasks_db.DatabaseBackend": "in the worker, by way of the database",
}


def _describe(backend: str, place: str | None = None) -> str:
    word = WORDS.get(backend, backend)
    return f"{word} at {place}" if place else word
