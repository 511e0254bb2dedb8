"""Every service is swapped by the environment alone, under the same code."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from deploys import (
    DEPLOY,
    add_story,
    build,
    create_superuser,
    git,
    hand_in,
    is_logged_in,
    json_lines,
    log_in,
    migrate,
    shell,
)
from generation import Project, Server, wait_until
from servers import PASSWORD, SMTP, PostgreSQL

Generate = Callable[..., Project]


def greeted(project: Project, deploy: dict[str, str], smtp: SMTP) -> Callable[[], list[str]]:
    """Return a function: the addresses that a deploy's mail went to, sorted: files have no order."""

    def read() -> list[str]:
        if deploy["EMAIL_URL"].startswith("smtp"):
            return sorted(message["To"] for message in smtp.messages)
        letters = (project.path / deploy["EMAIL_URL"].removeprefix("file:")).glob("*")
        lines = [line for file in letters for line in file.read_text().splitlines()]
        return sorted(line.removeprefix("To: ") for line in lines if line.startswith("To: "))

    return read


def walk(project: Project, deploy: dict[str, str], web: list[Server], smtp: SMTP) -> None:
    """Log in, upload, enqueue, get mail; and regret the second time."""
    ada = log_in(web[0])
    assert is_logged_in(ada, web[1])
    assert [web[n].get("/count").status for n in (0, 1)] == [200, 200]
    answer = json.loads(hand_in(ada, "Dear Ada", "first@example.com").text)
    assert web[1].get(f"/letter/{answer['name']}").text == "Dear Ada"
    addresses = greeted(project, deploy, smtp)
    wait_until(
        lambda: addresses() == ["first@example.com"],
        30,
        lambda: "\n".join(process.output for process in project.processes),
    )
    if deploy["TASKS"] == "database":
        assert hand_in(ada, "Regretted", "second@example.com", regret="yes").status == 200
        hand_in(ada, "Dear Ada", "third@example.com")
        wait_until(lambda: addresses()[1:] == ["third@example.com"], 30, lambda: str(addresses()))
    users = json.loads(web[1].get("/status").text)["users"]
    assert users == 1


def test_three_deploys_side_by_side_from_one_checkout(
    postgresql, mariadb, redis, memcached, smtp, s3, generate: Generate
):
    smtp.clear()
    project = add_story(build(generate(media_storage="s3")))
    deploys = {
        "all of it local": {
            **DEPLOY,
            "EMAIL_URL": "file:mail/local",
            "TASKS": "immediate",
        },
        "PostgreSQL, Redis, SMTP, S3 and a worker": {
            **DEPLOY,
            **s3.environment,
            "DATABASE_URL": postgresql.create_database() + "?pool=true",
            "CACHE_URL": redis.url("/2"),
            "SESSION_ENGINE": "cache",
            "EMAIL_URL": smtp.url(),
            "STORAGE_URL": s3.create_bucket(),
            "TASKS": "database",
        },
        "MySQL and Memcached": {
            **DEPLOY,
            "DATABASE_URL": mariadb.create_database(),
            "CACHE_URL": memcached.url(),
            "SESSION_ENGINE": "cached_db",
            "EMAIL_URL": "file:mail/of-mysql",
            "STORAGE_URL": "file:media/of-mysql",
            "TASKS": "database",
        },
    }
    running = {}
    for name, deploy in deploys.items():
        migrate(project, **deploy)
        create_superuser(project, **deploy)
        running[name] = [project.serve(**deploy) for _ in range(2)]
        project.start("python", "manage.py", "worker", "--interval=0.1", **deploy)
    for name, deploy in deploys.items():
        walk(project, deploy, running[name], smtp)
    assert git(project, "status", "--porcelain") == ""
    assert all(PASSWORD not in process.output for process in project.processes)


def test_a_database_is_restored_elsewhere_and_attached(postgresql, tmp_path, generate: Generate):
    project = add_story(build(generate()))
    deploy = {**DEPLOY, "TASKS": "database", "DATABASE_URL": postgresql.create_database()}
    migrate(project, **deploy)
    create_superuser(project, **deploy)
    web = project.serve(**deploy)
    ada = log_in(web)
    assert hand_in(ada, "Dear Ada", "ada@example.com").status == 200
    assert web.stop() == 0
    with PostgreSQL() as second:
        url = second.create_database()
        dump = postgresql.programs / "pg_dump"
        if not dump.exists():
            dump = shutil.which("pg_dump") or pytest.skip("needs pg_dump")
        psql = dump.with_name("psql") if hasattr(dump, "with_name") else shutil.which("psql")
        plain = {"PATH": os.environ["PATH"]}
        dumped = subprocess.run([dump, deploy["DATABASE_URL"]], capture_output=True, check=True, env=plain)
        subprocess.run(
            [psql, "-v", "ON_ERROR_STOP=1", "-q", "-d", url],
            input=dumped.stdout,
            capture_output=True,
            check=True,
            env=plain,
        )
        deploy["DATABASE_URL"] = url
        with postgresql.stopped():
            web = project.serve(**deploy)
            assert is_logged_in(ada, web), "the session moved along"
            worker = project.start("python", "manage.py", "worker", **deploy)
            worker.wait_for("state=SUCCESSFUL")
            assert "To: ada@example.com" in worker.output
            assert worker.stop() == 0
            assert web.stop() == 0
    assert git(project, "status", "--porcelain") == ""


# What is merely away


def test_a_service_that_is_away_does_not_stop_the_start(generate: Generate, tmp_path):
    project = build(generate(media_storage="s3"))
    nowhere = "127.0.0.1:1"
    deploy = {
        **DEPLOY,
        "DATABASE_URL": f"postgres://ada:s3cret@{nowhere}/name",
        "CACHE_URL": f"redis://:s3cret@{nowhere}/0",
        "SESSION_ENGINE": "cache",
        "EMAIL_URL": f"smtp://ada:s3cret@{nowhere}",
        "STORAGE_URL": f"s3://bucket?endpoint=http://{nowhere}&region=us-east-1",
        "TASKS": "database",
        "WEB_CONCURRENCY": "2",
    }
    web = project.serve(**deploy)
    answer = web.get("/readyz")
    assert (answer.status, answer.text) == (503, "database: failed\ncache: failed\n")
    assert web.get("/").status == 200, "a page that needs none of them"
    worker = project.start("python", "manage.py", "worker", **deploy)
    worker.wait_for("the worker failed, next try in 2 s")
    for process in (web, worker):
        assert process.stop() == 0
        assert "s3cret" not in process.output


@pytest.mark.parametrize("database", ["postgresql", "mariadb"])
def test_every_web_process_notices_that_the_database_is_back(database, request, generate: Generate):
    server = request.getfixturevalue(database)
    project = build(generate())
    deploy = {**DEPLOY, "DATABASE_URL": server.create_database(), "WEB_CONCURRENCY": "2"}
    migrate(project, **deploy)
    web = project.serve(**deploy)

    def processes(status: int) -> Callable[[], bool]:
        """Return a condition: twenty requests at once have this answer, from both processes."""

        def answered() -> bool:
            with ThreadPoolExecutor(20) as pool:
                found = {answer.status for answer in pool.map(web.get, ["/readyz"] * 20)}
            lines = json_lines(web.stdout, logger="gunicorn.access")[-20:]
            return found == {status} and len({line["process"] for line in lines}) == 2

        return answered

    wait_until(processes(200), 20, lambda: web.output)
    with server.stopped():
        wait_until(processes(503), 20, lambda: web.output)
        lines = json_lines(web.stdout, logger="config.health", level="WARNING")
        assert len({line["process"] for line in lines}) == 2
        assert all(line["message"].startswith("database is not ready") for line in lines)
    wait_until(processes(200), 20, lambda: web.output)
    assert shell(project, "1", **deploy).returncode == 0
