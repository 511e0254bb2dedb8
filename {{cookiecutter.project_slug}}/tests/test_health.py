"""/livez and /readyz, and the checks behind them."""

import pytest
from django.core.cache.backends.locmem import LocMemCache
from django.db import DatabaseError, connections
from django.db.backends.signals import connection_created

from config import health

PROBE = {"host": "10.0.0.1:8000"}  # a probe asks for an address


class Cache(LocMemCache):
    """A cache that counts its connections."""

    opened = closed = 0

    def get_many(self, *args, **kwargs):
        Cache.opened += 1
        return super().get_many(*args, **kwargs)

    def close(self, **kwargs):
        Cache.closed += 1


class BrokenCache(Cache):
    """A cache whose server is away."""

    def get_many(self, *args, **kwargs):
        super().get_many(*args, **kwargs)
        raise ConnectionError("no answer from cache.example")


@pytest.fixture
def set_cache(settings):
    """Return a function that attaches a cache and puts the sessions there."""

    def attach(backend: type[Cache], engine: str = "cache") -> None:
        Cache.opened = Cache.closed = 0
        settings.CACHES = {"default": {"BACKEND": f"{__name__}.{backend.__name__}"}}
        settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"

    return attach


def test_livez_answers_without_a_database(client):
    # Without the django_db mark pytest-django refuses every query.
    response = client.get("/livez", headers=PROBE)
    assert (response.status_code, response.text) == (200, "process: ok\n")


@pytest.mark.django_db(databases="__all__")
def test_readyz_asks_the_database(client, settings):
    settings.ALLOWED_HOSTS = ["www.example.com"]
    settings.SECURE_SSL_REDIRECT = True
    response = client.get("/readyz", headers=PROBE)
    assert (response.status_code, response.headers["Cache-Control"]) == (200, "no-store")
    assert "database: ok\n" in response.text
    assert "cache:" not in response.text


@pytest.mark.django_db(databases="__all__")
def test_readyz_names_a_database_that_is_not_there_or_empty(client, monkeypatch, tmp_path):
    # On SQLite that makes an empty file; other servers have no such database.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(connections["default"].settings_dict, "NAME", "mistyped.sqlite3")
    response = client.get("/readyz")
    assert response.status_code == 503
    assert "database: failed\n" in response.text
    with pytest.raises(DatabaseError):
        health.check_database()


@pytest.mark.parametrize("engine", ["cache", "cached_db"])
@pytest.mark.django_db(databases="__all__")
def test_readyz_asks_the_cache_when_sessions_live_there(engine, client, set_cache):
    set_cache(Cache, engine)
    response = client.get("/readyz")
    assert response.status_code == 200
    assert "cache: ok\n" in response.text
    set_cache(BrokenCache, engine)
    response = client.get("/readyz")
    assert response.status_code == 503
    assert "cache: failed\n" in response.text


@pytest.mark.django_db(databases="__all__")
def test_checks_close_their_connections(monkeypatch, set_cache, tmp_path):
    opened = []

    def remember(connection, **kwargs):
        opened.append(connection)

    connection_created.connect(remember)
    health.check_database()
    assert [wrapper.connection for wrapper in opened] == [None]
    set_cache(Cache)
    health.check_cache()
    assert (Cache.opened, Cache.closed) == (1, 1)
