"""Celery's own tasks: real workers, and a real Redis."""

import json
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from deploys import migrate
from generation import Process, Project
from pages import check_everything
from servers import PASSWORD, Redis
from test_tasks import Queue

pytestmark = pytest.mark.recipes

# The same tasks as Celery's, enqueued as Django's are.
SHARED = """

from celery import shared_task

for each in (jot, stay, fail):
    shared = shared_task(name=each.name)(each.func)
    globals()[each.name] = shared
    shared.enqueue = shared.delay
"""


@pytest.fixture(scope="module")
def project(with_recipe: Callable[..., Project]) -> Project:
    """A project with the recipe."""
    return with_recipe("celery", database="sqlite")


@pytest.fixture(scope="module")
def deploy(project: Project, redis: Redis, tmp_path_factory: pytest.TempPathFactory) -> Queue:
    """A copy with migrated tables, whose tasks are sent to the broker."""
    place = tmp_path_factory.mktemp("celery")
    shutil.copytree(project.path, place / "copy", symlinks=True, ignore=shutil.ignore_patterns(".venv"))
    made = Queue(Project(place / "copy", project.home, project.virtual_environment), "sqlite:///db.sqlite3")
    with (made.project.path / "jobs/tasks.py").open("a") as tasks:
        tasks.write(SHARED)
    made.variables |= {"TASKS": "immediate", "CELERY_BROKER_URL": redis.url("/2"), "CELERY_VISIBILITY_TIMEOUT": "3"}
    migrate(made.project, **made.variables)
    return made


@pytest.fixture
def queue(deploy: Queue, tmp_path: Path) -> Iterator[Queue]:
    """An empty queue; its processes end with the test."""
    deploy.begin(tmp_path)
    yield deploy
    deploy.close()
    deploy.shell("from config.celery import app; app.control.purge()")
    deploy.close()


def worker(queue: Queue) -> Process:
    """Start a worker, and return it when it takes tasks."""
    process = queue.worker()
    process.wait_for("ready")
    return process


def test_the_project_is_green_with_the_recipe(project, redis):
    check_everything(project, FACTORS_BROKER_URL=redis.url("/1"))


def test_the_task_of_a_killed_worker_runs_again_on_another(queue):
    first = worker(queue)
    queue.shell("stay.enqueue('one')")
    queue.wait_for("began one")
    first.stop(signal.SIGKILL)
    second = worker(queue)
    queue.wait_for("began one", times=2)
    queue.let_end("one")
    queue.wait_for("ended one")
    assert second.stop() == 0, second.output


def test_a_worker_that_is_told_to_stop_finishes_its_task_and_logs_json(queue):
    first = worker(queue)
    queue.shell("stay.enqueue('one'); jot.enqueue('two')")
    queue.wait_for("began one")
    first.popen.send_signal(signal.SIGTERM)
    first.wait_for("Warm shutdown")
    queue.let_end("one")
    assert first.wait() == 0, first.output
    assert queue.words() == ["began one", "ended one"]
    second = worker(queue)
    queue.wait_for("two")
    assert second.stop() == 0, second.output
    lines = [line for line in first.stdout + second.stdout if "Warm shutdown" not in line]
    loggers = {json.loads(line)["logger"] for line in lines if line}
    assert "celery.app.trace" in loggers
    assert PASSWORD not in first.output + second.output
