"""DATABASE_URL becomes an entry of DATABASES: https://docs.djangoproject.com/en/6.1/ref/databases/."""

from typing import Any
from urllib.parse import SplitResult, unquote

import dj_database_url

from config.env import InvalidError
from config.service_urls import BASE_DIR, CONNECT_TIMEOUT, Service, parse_url, require_client


def database(url: str, conn_max_age: int = 0) -> Service:
    """Return the database of sqlite:///path, postgres://… or mysql://….

    Connections are kept for `conn_max_age` seconds and checked before each request. Raises InvalidError.
    """
    parts = parse_url(url)
    if parts.scheme == "sqlite":
        return _sqlite(url, parts, conn_max_age)
    if parts.scheme in ("postgres", "postgresql"):
        require_client("psycopg", "psycopg[binary,pool]")
        return Service(_postgresql(url, parts, conn_max_age), _label("PostgreSQL", parts))
    if parts.scheme == "mysql":
        require_client("pymysql", "pymysql[rsa]")
        return Service(_mysql(url, parts, conn_max_age), _label("MySQL", parts))
    raise InvalidError("has an unknown scheme: sqlite, postgres and mysql are known")


def _sqlite(url: str, parts: SplitResult, conn_max_age: int) -> Service:
    if not url.startswith("sqlite:///"):  # dj-database-url makes sqlite://db.sqlite3 a database in memory
        raise InvalidError("must start with sqlite:/// (relative to the project) or sqlite://// (absolute)")
    if parts.path in ("", "/") or parts.path.endswith("/") or "memory:" in parts.path:
        raise InvalidError("names no file: a database in memory is lost with its process")
    config: dict[str, Any] = {**dj_database_url.parse(url, conn_max_age=conn_max_age)}
    config["NAME"] = path = BASE_DIR / config["NAME"]
    # https://docs.djangoproject.com/en/6.1/ref/databases/#sqlite-notes: WAL lets readers read while one writes, and
    # IMMEDIATE makes a writer wait for its turn. With Django's defaults four writers lose hundreds of writes in 4 s.
    defaults = {"timeout": 20, "transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL"}
    config["OPTIONS"] = {**defaults, **config.get("OPTIONS", {})}
    return Service(config, "SQLite", path=path)


def _postgresql(url: str, parts: SplitResult, conn_max_age: int) -> dict[str, Any]:
    # The last is in milliseconds: a query to a host that is gone ends then, not after 15 minutes of TCP.
    config = _server(url, parts, conn_max_age, {"connect_timeout": CONNECT_TIMEOUT, "tcp_user_timeout": 15_000})
    pool = config["OPTIONS"].get("pool", False)
    if not isinstance(pool, bool):
        raise InvalidError("has a pool option that is not true or false")
    if pool:
        config["CONN_MAX_AGE"] = 0  # Django refuses a pool of persistent connections
    return config


def _mysql(url: str, parts: SplitResult, conn_max_age: int) -> dict[str, Any]:
    # PyMySQL, which passes all tests on MariaDB: mysqlclient has no wheel for Linux, and without a compiler, pkg-config
    # and the headers of MariaDB it cannot be installed.
    import pymysql

    pymysql.install_as_MySQLdb()
    # Django stores times in UTC and compares them with the server's own, which would be in the server's zone.
    utc = {"init_command": "SET time_zone = '+00:00'"}
    config = _server(url, parts, conn_max_age, {"connect_timeout": CONNECT_TIMEOUT, **utc})
    if not config["PASSWORD"].isascii():
        config["PASSWORD"] = config["PASSWORD"].encode()  # PyMySQL would encode it as Latin-1
    return config


def _server(url: str, parts: SplitResult, conn_max_age: int, defaults: dict[str, Any]) -> dict[str, Any]:
    """Return the entry of a database that is a server, with `defaults` for the options of its client."""
    config: dict[str, Any] = {**dj_database_url.parse(url, conn_max_age=conn_max_age, conn_health_checks=True)}
    options = config["OPTIONS"] = {**defaults, **config.get("OPTIONS", {})}
    if not config["HOST"] and not options.keys() & {"host", "service", "unix_socket"}:
        raise InvalidError("names no host")
    if not config["NAME"] and "service" not in options:
        raise InvalidError("names no database")
    if "/" in config["NAME"]:
        raise InvalidError("has a / in the name of the database: percent-encode special characters (/ is %2F)")
    if config["HOST"].startswith("/"):  # a socket: urllib lower-cases hosts, and paths have case
        config["HOST"] = unquote(parts.netloc.rpartition("@")[2].partition(":")[0])
    return config


def _label(kind: str, parts: SplitResult) -> str:
    socket = not parts.hostname or parts.hostname.startswith("%2f")
    return kind if socket else f"{kind} at {parts.hostname}"
