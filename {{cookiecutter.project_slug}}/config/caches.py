"""CACHE_URL becomes an entry of CACHES: https://docs.djangoproject.com/en/6.1/topics/cache/.

The clients of Redis and Memcached are installed, and imported only when the URL names them.
"""

import re
from typing import Any

from config.env import InvalidError
from config.service_urls import CONNECT_TIMEOUT, Service, parse_url

BACKENDS = "django.core.cache.backends"


def cache(url: str, verify: bool = True) -> Service:
    """Return the cache of locmem://, dummy://, memcached://host:port,host:port, redis://, valkey:// or unix://.

    rediss:// and valkeys:// use TLS; without `verify` any certificate is accepted. unix:///path.sock?db=0 is a socket
    of Redis. Raises InvalidError.
    """
    if url == "locmem://":
        return Service({"BACKEND": f"{BACKENDS}.locmem.LocMemCache"}, "memory of each process", shared=False)
    if url == "dummy://":
        return Service({"BACKEND": f"{BACKENDS}.dummy.DummyCache"}, "none", shared=False)
    if url.startswith("memcached://"):
        return _memcached(url)
    if parse_url(url).scheme in ("redis", "rediss", "valkey", "valkeys", "unix"):
        return _redis(url, verify)
    raise InvalidError("has an unknown scheme: redis, rediss, valkey, unix, memcached, locmem and dummy are known")


def _memcached(url: str) -> Service:
    hosts = url.removeprefix("memcached://").split(",")
    servers = [parse_url(f"memcached://{host}") for host in hosts]
    if any("@" in server.netloc or server.path or server.query for server in servers):
        raise InvalidError("has more than hosts and ports")
    if not all(server.hostname and server.port for server in servers):
        raise InvalidError("has a server without a host or a port")
    # A failed server is tried again after `dead_timeout` seconds; the client's default is 60.
    options = {"connect_timeout": CONNECT_TIMEOUT, "timeout": CONNECT_TIMEOUT, "dead_timeout": CONNECT_TIMEOUT}
    setting = {"BACKEND": f"{BACKENDS}.memcached.PyMemcacheCache", "LOCATION": hosts, "OPTIONS": options}
    return Service(setting, "Memcached at " + ", ".join(server.hostname or "" for server in servers))


def _redis(url: str, verify: bool) -> Service:
    from redis import ConnectionPool, RedisError

    kind = "Valkey" if url.startswith("valkey") else "Redis"
    url = re.sub("^valkey(s?):", r"redis\1:", url)  # Valkey speaks Redis's protocol
    parts = parse_url(url)
    if parts.scheme == "unix":
        if parts.hostname or not parts.path.strip("/"):
            raise InvalidError("names no socket: write unix:///path.sock")
    elif not parts.hostname:
        raise InvalidError("names no host")
    elif not re.fullmatch("/?|/[0-9]+", parts.path) or ("db=" in parts.query and parts.path.strip("/")):
        raise InvalidError("has a database that is not one number")  # the client would silently take another
    try:
        ConnectionPool.from_url(url).make_connection()  # parses the options, without connecting
    except (RedisError, TypeError, ValueError):
        raise InvalidError("has an option that its client does not know, or whose value it cannot read") from None
    options: dict[str, Any] = {"socket_connect_timeout": CONNECT_TIMEOUT, "socket_timeout": CONNECT_TIMEOUT}
    if parts.scheme == "rediss" and not verify:
        options["ssl_cert_reqs"] = "none"
    # A list: Django splits a string at , and ; which passwords may hold.
    setting = {"BACKEND": f"{BACKENDS}.redis.RedisCache", "LOCATION": [url], "OPTIONS": options}
    return Service(setting, f"{kind} at {parts.hostname or 'a socket'}")
