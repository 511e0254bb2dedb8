"""Recipes that attach services work: on real databases, and with a listener that takes what is sent."""

import gzip
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from deploys import DEPLOY, migrate, shown
from generation import Project, Server, original, wait_until
from pages import apply_recipe, check_everything, take
from servers import NOBODY, PostgreSQL, find_program

from tests.ports import free_port

pytestmark = pytest.mark.recipes
WithRecipe = Callable[..., Project]


@pytest.mark.parametrize("name", ["other-buckets", "postgres-in-development", "second-database", "traces"])
def test_the_project_is_green_with_the_recipe(with_recipe: WithRecipe, name: str) -> None:
    check_everything(with_recipe(name))


def collect_static(project: Project) -> None:
    """Build, which a server needs."""
    done = project.manage("collectstatic", "--noinput", "-v", "0", **DEPLOY, SECOND_DATABASE_URL="sqlite:///2.sqlite3")
    assert done.returncode == 0, done.stderr


@contextmanager
def collector(received: list[bytes]) -> Iterator[HTTPServer]:
    """Take what exporters send."""

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def test_spans_of_both_processes_arrive_and_a_dead_collector_delays_no_stop(with_recipe: WithRecipe) -> None:
    project = with_recipe("traces")
    collect_static(project)
    example = (project.path / ".env.example").read_text()
    lines = [line.removeprefix("# ").split("=") for line in example.splitlines() if line.startswith("# OTEL_")]
    deploy = {**DEPLOY, **dict(lines), "DJANGO_SETTINGS_MODULE": "config.settings", "TASKS": "database"}
    migrate(project, **DEPLOY)
    received: list[bytes] = []
    with collector(received) as server:
        deploy |= {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{server.server_port}"}
        deploy |= {"OTEL_BSP_SCHEDULE_DELAY": "100", "PORT": str(free_port()), "WEB_CONCURRENCY": "2"}
        commands = dict(line.split(": ") for line in (project.path / "Procfile").read_text().splitlines())
        web = project.start(*commands["web"].split(), kind=Server, **deploy | {"OTEL_SERVICE_NAME": "the-web"})
        web.port = int(deploy["PORT"])
        worker = project.start(*commands["worker"].split(), **deploy | {"OTEL_SERVICE_NAME": "the-worker"})
        web.wait_until_ready()
        assert web.get("/admin/login/").status == 200

        def arrived() -> bool:
            page = any(b"the-web" in body and b"admin/login" in body for body in received)
            return page and any(b"the-worker" in body and b"SELECT" in body for body in received)

        wait_until(arrived, 30, lambda: f"spans of both in {received}\n{web.tail}\n{worker.tail}")
    assert web.get("/admin/login/").status == 200
    for process in (web, worker):
        started = time.monotonic()
        assert process.stop() == 0
        assert time.monotonic() - started < 10


def test_a_second_database_has_its_rows_and_readyz_names_it_when_it_is_down(with_recipe: WithRecipe) -> None:
    project = with_recipe("second-database", database="postgresql")
    collect_static(project)
    router = project.path / "config/routers.py"
    before = router.read_text()
    router.write_text(before.replace("set[str] = set()", 'set[str] = {"jobs"}'))
    try:
        with PostgreSQL() as first, PostgreSQL() as second:
            urls = {"DATABASE_URL": first.create_database(), "SECOND_DATABASE_URL": second.create_database()}
            deploy = {**DEPLOY, **urls, "SESSION_COOKIE_SECURE": "false"}
            migrate(project, **deploy)
            made = "Heartbeat.objects.create(worker_id='ada', seen_at=timezone.now()).worker_id"
            assert shown(project, made, **deploy) == "ada"
            assert shown(project, "Heartbeat.objects.using('second').count()", **deploy) == "1"
            tables = shown(project, "connection.introspection.table_names()", **deploy)
            assert "accounts_user" in tables
            assert "jobs_heartbeat" not in tables
            server = project.serve(**deploy)
            assert server.get("/readyz").text == "database: ok\nsecond database: ok\n"
            with second.stopped():
                answer = server.get("/readyz")
                assert (answer.status, answer.text) == (503, "database: ok\nsecond database: failed\n")
            assert server.get("/readyz").status == 200
            server.stop()
    finally:
        router.write_text(before)


@pytest.mark.parametrize(
    ("url", "storage", "origin"),
    [
        ("gs://bucket/uploads", "GoogleCloudStorage", "https://storage.googleapis.com/bucket/"),
        ("azure://account/container", "AzureStorage", "https://account.blob.core.windows.net/container/"),
    ],
)
def test_a_bucket_of_another_kind_is_attached_by_its_url(
    with_recipe: WithRecipe, url: str, storage: str, origin: str
) -> None:
    # Without an account nothing can be stored: this is what the project decides by itself.
    project, deploy = with_recipe("other-buckets"), {**DEPLOY, "STORAGE_URL": url}
    attached = "__import__('django.core.files.storage', fromlist=['']).default_storage.__class__.__name__"
    assert shown(project, attached, **deploy) == storage
    assert origin in shown(project, "settings.SECURE_CSP['img-src']", **deploy)


@pytest.mark.parametrize("url", ["gs://", "azure://account", "ftp://bucket"])
def test_a_malformed_bucket_is_refused_by_name(with_recipe: WithRecipe, url: str) -> None:
    result = with_recipe("other-buckets").manage("check", **DEPLOY, STORAGE_URL=url)
    assert result.returncode == 3
    assert "STORAGE_URL" in result.stderr


def test_honcho_brings_postgresql_up_and_a_second_start_finds_the_rows(shared: Path, template: Path) -> None:
    find_program("pg_isready", "postgresql")
    place = Path(tempfile.mkdtemp())  # not below pytest's directory, where only root looks
    project = take(original(shared, template), place)
    try:
        apply_recipe(project, "postgres-in-development")
        project.set_dotenv(PORT=str(free_port()))
        dotenv = project.path / ".env"
        dotenv.write_text(dotenv.read_text().replace(":5433/", f":{free_port()}/"))
        if os.geteuid() == 0:  # PostgreSQL refuses root
            place.chmod(0o755)
            os.chown(project.path, NOBODY["user"], NOBODY["group"])
            as_nobody = "postgres: setpriv --reuid=65534 --regid=65534 --clear-groups sh"
            project.edit("Procfile.dev", "postgres: sh", as_nobody)
        for count in ("0", "1"):
            honcho = project.start("honcho", "start", kind=Server)
            honcho.port = int(project.dotenv["PORT"])
            honcho.wait_until_ready("/readyz", 60)
            rows = shown(project, "(connection.vendor, User.objects.count())", **project.dotenv)
            assert rows == f"('postgresql', {count})"
            shown(project, f"User.objects.create_user('ada{count}')", **project.dotenv)
            honcho.stop()
    finally:
        project.close()
        shutil.rmtree(place)
