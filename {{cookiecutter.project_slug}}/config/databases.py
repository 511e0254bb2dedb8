"""DATABASE_URL becomes an entry of DATABASES: https://docs.djangoproject.com/en/6.1/ref/databases/.

Options are checked at start: clients misunderstand some of them, and reject others only at the first connection.
"""

import re
from typing import Any
from urllib.parse import SplitResult, quote, unquote

import dj_database_url

from config.env import InvalidError
from config.service_urls import BASE_DIR, CONNECT_TIMEOUT, Service, parse_url, require_client

# Options that would override a part of the URL, or be overridden by it.
REPEATED = {"dbname", "database", "db", "user", "password", "passwd"}


def database(url: str, conn_max_age: int = 0) -> Service:
    """Return the database of sqlite:///path, postgres://… or mysql://….

    Connections are kept for `conn_max_age` seconds and checked before each request. Raises InvalidError.
    """
    # Google's Cloud SQL writes a socket's path as the host: …@//cloudsql/project:region:instance/name
    url = re.sub(r"^(\w+://[^/]*@)/(/[^?]+)/", lambda found: f"{found[1]}{quote(found[2], safe='')}/", url)
    # PostgreSQL tries several hosts in turn: …@one:5432,two:5432/name
    more = re.match(r"postgres(?:ql)?://(?:[^/@]*@)?+[^/@,]+((?:,[^/@,]+)+)", url)
    others = [parse_url(f"postgres://{host}") for host in more[1].split(",")[1:]] if more else []
    url = url[: more.start(1)] + url[more.end(1) :] if more else url
    parts = parse_url(url)
    if parts.scheme == "sqlite":
        return _sqlite(url, parts, conn_max_age)
    if parts.scheme in ("postgres", "postgresql"):
        return _postgresql(url, [parts, *others], conn_max_age)
    if parts.scheme == "mysql":
        return _mysql(url, parts, conn_max_age)
    raise InvalidError("has an unknown scheme: sqlite, postgres and mysql are known")


def _sqlite(url: str, parts: SplitResult, conn_max_age: int) -> Service:
    if not url.startswith("sqlite:///"):  # dj-database-url makes sqlite://db.sqlite3 a database in memory
        raise InvalidError("must start with sqlite:/// (relative to the project) or sqlite://// (absolute)")
    if parts.path.endswith("/") or "memory:" in parts.path:
        raise InvalidError("names no file: a database in memory is lost with its process")
    # https://docs.djangoproject.com/en/6.1/ref/databases/#sqlite-notes: WAL lets readers read while one writes, and
    # IMMEDIATE makes a writer wait for its turn. With Django's defaults four writers lose hundreds of writes in 4 s.
    defaults = {"timeout": 20, "transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL"}
    config = _parse(url, conn_max_age, defaults)
    _check(config["OPTIONS"], "transaction_mode", ("deferred", "immediate", "exclusive"))
    config["NAME"] = (BASE_DIR / config["NAME"]).resolve()
    return Service(config, "SQLite", path=config["NAME"])


def _postgresql(url: str, hosts: list[SplitResult], conn_max_age: int) -> Service:
    require_client("psycopg", "psycopg[binary,pool]")
    # tcp_user_timeout is in milliseconds: a query to a host that is gone fails after 15 s, not after 15 minutes.
    config = _parse(url, conn_max_age, {"connect_timeout": CONNECT_TIMEOUT, "tcp_user_timeout": 15_000})
    _check_server(config, hosts[0])
    if len(hosts) > 1:
        config["HOST"] = ",".join(host.hostname or "" for host in hosts)
        config["PORT"] = ",".join(str(host.port or 5432) for host in hosts)
    options = config["OPTIONS"]
    _check(options, "isolation_level", ("1", "2", "3", "4"))  # psycopg.IsolationLevel
    for name in ("pool", "disable_server_side_cursors"):  # the second is needed behind PgBouncer
        _check(options, name, ("true", "false"))
    config["DISABLE_SERVER_SIDE_CURSORS"] = options.pop("disable_server_side_cursors", False)
    if options.get("pool"):
        config["CONN_MAX_AGE"] = 0  # Django refuses a pool of persistent connections
    host = config["HOST"] or options.get("host") or "a socket"
    return Service(config | {"ENGINE": "config.postgresql"}, f"PostgreSQL at {host}")


def _mysql(url: str, parts: SplitResult, conn_max_age: int) -> Service:
    # PyMySQL passes all tests on MariaDB. mysqlclient has no wheel for Linux: it needs a compiler and headers.
    require_client("pymysql", "pymysql[rsa]")
    import pymysql

    pymysql.install_as_MySQLdb()
    # Django stores times in UTC, and its Now() is the server's clock in the time zone of the session.
    config = _parse(url, conn_max_age, {"connect_timeout": CONNECT_TIMEOUT, "init_command": "SET time_zone = '+00:00'"})
    _check_server(config, parts)
    options = config["OPTIONS"]
    _check(options, "isolation_level", ("read uncommitted", "read committed", "repeatable read", "serializable"))
    _check(options, "ssl-mode", ("disabled", "preferred", "required", "verify_ca", "verify_identity"))
    if not isinstance(options.get("ssl", {}), dict):  # dj-database-url makes a dictionary of ssl-ca
        raise InvalidError("has an option ssl: write ssl-mode=REQUIRED")
    mode = options.pop("ssl-mode", "preferred").lower()
    if mode.startswith("verify") and "ssl" not in options:
        raise InvalidError("has an ssl-mode that needs a certificate: add &ssl-ca=/path")
    if mode == "verify_ca":
        options["ssl"]["check_hostname"] = False
    if mode == "required":
        options.setdefault("ssl", {"verify_mode": "none"})
    options["ssl_disabled"] = mode == "disabled"
    options.pop("reconnect", None)  # ClearDB adds it; Django connects again in any case
    if not config["PASSWORD"].isascii():
        config["PASSWORD"] = config["PASSWORD"].encode()  # PyMySQL would encode it as Latin-1
    return Service(config, f"MySQL at {config['HOST'] or 'a socket'}")


def _parse(url: str, conn_max_age: int, defaults: dict[str, Any]) -> dict[str, Any]:
    """Return the entry of a database, with `defaults` for the options of its client."""
    parsed = dj_database_url.parse(url, conn_max_age=conn_max_age, conn_health_checks=True)
    config: dict[str, Any] = {**parsed, "OPTIONS": {**defaults, **parsed.get("OPTIONS", {})}}
    for name, value in config["OPTIONS"].items():
        if name.endswith("timeout") and type(value) is not int:
            raise InvalidError(f"has a {name} that is not a whole number")
    return config


def _check_server(config: dict[str, Any], parts: SplitResult) -> None:
    options = config["OPTIONS"].keys()
    if not config["HOST"] and not options & {"host", "service", "unix_socket"}:
        raise InvalidError("names no host")
    if not config["NAME"] and "service" not in options:
        raise InvalidError("names no database")
    if options & REPEATED or (config["HOST"] and "host" in options) or (config["PORT"] and "port" in options):
        raise InvalidError("has a part of the address twice: remove the option after the ?")
    if config["HOST"].startswith("/"):  # a socket: urllib lower-cases hosts, and paths have case
        config["HOST"] = unquote(parts.netloc.rpartition("@")[2].partition(":")[0])


def _check(options: dict[str, Any], name: str, known: tuple[str, ...]) -> None:
    if name in options and str(options[name]).lower() not in known:
        raise InvalidError(f"has a value of {name} that is not one of {', '.join(known)}")
