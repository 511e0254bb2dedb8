"""CACHE_URL attaches a cache, SESSION_ENGINE puts sessions there, /readyz counts it then."""

from collections.abc import Callable
from html import escape
from urllib.parse import quote

import pytest
from deploys import DEPLOY, add_story, build, create_superuser, is_logged_in, log_in, migrate, shell
from generation import Project, Server, wait_until
from servers import PASSWORD, Memcached, Redis

Generate = Callable[..., Project]

ROUND_TRIP = (
    "from django.core.cache import cache; "
    "[cache.set(f'key{n}', 'välue') for n in range(50)]; "
    "print(set(cache.get_many([f'key{n}' for n in range(50)]).values()))"
)


def kept(project: Project, url: str) -> bool:
    """Say whether a cache keeps what it is given."""
    result = shell(project, ROUND_TRIP, **DEPLOY, CACHE_URL=url)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip() == "{'välue'}"


def test_redis_with_a_password_of_separators_and_a_database(redis, generate: Generate):
    assert {",", ";", "/", "@", "#", "%"} < {*PASSWORD}
    assert kept(generate(), redis.url("/3"))
    with redis.client() as client:
        assert client.info("keyspace")["db3"]["keys"] == 50


def test_redis_over_a_socket_and_by_the_name_of_valkey(generate: Generate):
    with Redis() as server:
        socket = f"unix://:{quote(PASSWORD, '')}@{server.directory}/socket?db=4"
        assert kept(generate(), socket)
        assert kept(generate(), server.url("/5").replace("redis://", "valkey://"))
        with server.client() as client:
            assert {"db4", "db5"} <= client.info("keyspace").keys()


def test_redis_with_tls_and_a_user(redis_tls, generate: Generate):
    assert redis_tls.user
    project, trusted = generate(), {"ssl_ca_certs": str(redis_tls.certificate)}
    assert kept(project, redis_tls.url("/0", **trusted))
    stranger = shell(project, ROUND_TRIP, **DEPLOY, CACHE_URL=redis_tls.url("/0"))
    assert "certificate verify failed" in stranger.stderr
    assert PASSWORD not in stranger.stderr
    trusting = shell(project, ROUND_TRIP, **DEPLOY, CACHE_URL=redis_tls.url("/0"), CACHE_TLS_VERIFY="false")
    assert trusting.stdout.strip() == "{'välue'}", trusting.stderr


def test_memcached_on_two_servers(memcached, generate: Generate):
    with Memcached() as other:
        url = f"memcached://127.0.0.1:{memcached.port},127.0.0.1:{other.port}"
        assert kept(generate(), url)
        for server in (memcached, other):
            client = server.client()
            assert int(client.stats()[b"curr_items"]) > 5
            client.close()


def test_caches_without_a_server(generate: Generate):
    project = generate()
    assert kept(project, "locmem://")
    assert not kept(project, "dummy://")


@pytest.mark.parametrize(
    ("variables", "imported"),
    [
        ({}, set()),
        ({"CACHE_URL": "redis://127.0.0.1/0"}, {"redis"}),
        ({"CACHE_URL": "memcached://127.0.0.1:11211"}, {"pymemcache"}),
        ({"STORAGE_URL": "s3://bucket"}, {"boto3", "botocore", "storages"}),
        ({"DATABASE_URL": "postgres://user:password@127.0.0.1/name"}, {"psycopg"}),
        ({"DATABASE_URL": "mysql://user:password@127.0.0.1/name"}, {"pymysql"}),
    ],
)
def test_a_client_is_imported_only_when_it_is_named(variables, imported, generate: Generate):
    clients = ["redis", "pymemcache", "boto3", "botocore", "storages", "psycopg", "pymysql"]
    # What a web process has loaded once it has answered.
    code = (
        "import sys; from django.core.cache import cache; from django.test import Client; "
        "from django.core.files.storage import default_storage; str(default_storage); "
        "default_storage.exists; cache.get; Client().get('/nowhere'); "
        f"print(sorted(set({clients}) & set(sys.modules)))"
    )
    result = shell(build(generate()), code, **DEPLOY | {"ALLOWED_HOSTS": "*", "LOG_LEVEL": "error"} | variables)
    assert result.stdout.strip() == str(sorted(imported)), result.stderr


# Sessions


@pytest.mark.parametrize(("engine", "cache"), [("cached_db", "redis"), ("cache", "redis"), ("cache", "memcached")])
def test_a_session_is_valid_in_every_web_process(engine, cache, request, generate: Generate):
    server = request.getfixturevalue(cache)
    url = server.url("/1") if cache == "redis" else server.url()
    project = build(generate())
    deploy = {**DEPLOY, "CACHE_URL": url, "SESSION_ENGINE": engine}
    migrate(project, **deploy)
    create_superuser(project, **deploy)
    one, two = project.serve(**deploy), project.serve(**deploy)
    ada = log_in(one)
    assert is_logged_in(ada, one)
    assert is_logged_in(ada, two)
    rows = "from django.contrib.sessions.models import Session; print(Session.objects.count())"
    assert shell(project, rows, **deploy).stdout.strip() == ("0" if engine == "cache" else "1")


# Reachability


def wait_until_ready(server: Server) -> None:
    """Return when the server says that it is ready."""
    wait_until(lambda: server.get("/readyz").status == 200, 20, lambda: server.output)


@pytest.mark.parametrize("cache", ["redis", "memcached"])
def test_a_cache_that_is_down_is_named_where_sessions_live_in_it(cache, request, generate: Generate):
    server = request.getfixturevalue(cache)
    url = server.url("/1") if cache == "redis" else server.url()
    project = build(generate())
    migrate(project, **DEPLOY)
    with server.stopped():
        without = project.serve(**DEPLOY, CACHE_URL=url)
        web = [project.serve(**DEPLOY, CACHE_URL=url, SESSION_ENGINE="cache") for _ in range(2)]
        assert without.get("/readyz").text == "database: ok\n"
        for process in web:
            answer = process.get("/readyz")
            assert (answer.status, answer.text) == (503, "database: ok\ncache: failed\n")
            assert process.get("/livez").status == 200
            assert PASSWORD not in process.output
    for process in web:
        wait_until_ready(process)


def test_the_first_page_names_the_cache_and_not_its_password(redis, generate: Generate):
    page = generate().serve(**DEPLOY, DEBUG="true", CACHE_URL=redis.url("/1")).get("/").text
    assert "Redis at 127.0.0.1" in page
    assert quote(PASSWORD, "") not in page
    assert escape(PASSWORD) not in page


def test_asking_often_leaves_no_connections_behind(redis, generate: Generate):
    project = build(generate())
    migrate(project, **DEPLOY)
    web = project.serve(**DEPLOY, CACHE_URL=redis.url("/1"), SESSION_ENGINE="cache")
    for _ in range(60):
        assert web.get("/readyz").status == 200
    with redis.client() as client:
        assert len(client.client_list()) < 30  # other tests' processes have some


def test_a_story_counts_in_one_cache(redis, generate: Generate):
    project = add_story(build(generate()))
    deploy = {**DEPLOY, "CACHE_URL": redis.url("/5")}
    web = [project.serve(**deploy) for _ in range(2)]
    assert [web[n % 2].get("/count").text for n in range(4)] == ["1", "2", "3", "4"]
