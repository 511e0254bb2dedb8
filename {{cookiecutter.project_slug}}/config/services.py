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


def database(url: str, base_dir: Path, conn_max_age: int = 0) -> dict[str, Any]:
    """Return the entry of DATABASES for sqlite:///path, postgres://… or mysql://… .

    A relative SQLite path starts at `base_dir`; connections are kept for `conn_max_age` seconds, checked before each
    request. Raises InvalidError.
    """
    parts = split(url)
    if parts.scheme == "sqlite":
        return {**_sqlite(url, parts, base_dir), "CONN_MAX_AGE": conn_max_age}
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


def _sqlite(url: str, parts: SplitResult, base_dir: Path) -> dict[str, Any]:
    if not url.startswith("sqlite:///"):  # dj-database-url makes sqlite://db.sqlite3 a database in memory
        raise InvalidError("has not the three slashes of a file's URL, or four for an absolute path")
    if parts.path in ("", "/") or parts.path.endswith("/") or "memory:" in parts.path:
        raise InvalidError("names no file: a database in memory is lost with its process")
    check_options(parts, SQLITE_OPTIONS)
    config = dj_database_url.parse(url)
    config["NAME"] = base_dir / config["NAME"]
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
    # PyMySQL: mysqlclient has no wheels for Linux, so it needs a compiler wherever the project is installed.
    need("pymysql", "pymysql")
    import pymysql

    pymysql.install_as_MySQLdb()
    known = set(signature(pymysql.connect).parameters)
    return known | {"isolation_level", "ssl-ca"}, {"connect_timeout": CONNECT_TIMEOUT}


VENDORS = {"sqlite3": "SQLite", "postgresql": "PostgreSQL", "mysql": "MySQL"}


def describe(settings: Any) -> dict[str, str]:
    """Return what the environment attached, name by name, without user names or passwords."""
    database = settings.DATABASES["default"]
    vendor = VENDORS[database["ENGINE"].rpartition(".")[2]]
    if vendor == "SQLite":
        return {"database": f"{vendor}, {Path(database['NAME']).name}"}
    return {"database": f"{vendor} at {database['HOST'] or 'a socket'}"}
