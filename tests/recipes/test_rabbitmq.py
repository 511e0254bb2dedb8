"""Tasks on RabbitMQ: real workers, and a real broker."""

import json
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from deploys import migrate
from generation import Project, wait_until
from pages import check_everything
from rabbitmq import RabbitMQ
from servers import PASSWORD, session_fixture
from test_tasks import Queue

pytestmark = pytest.mark.recipes

broker = session_fixture(RabbitMQ)

PURGE = """
from django.conf import settings
from jobs.rabbitmq import LOST, TASKS, celery_app
with celery_app(settings.TASKS["default"]["OPTIONS"]["url"]).connection() as connection:
    for queue in (LOST, TASKS):
        queue(connection.default_channel).declare()
        queue(connection.default_channel).purge()
"""


@pytest.fixture(scope="module")
def project(with_recipe: Callable[..., Project]) -> Project:
    """A project with the recipe."""
    return with_recipe("rabbitmq", database="sqlite")


@pytest.fixture(scope="module")
def deploy(project: Project, broker: RabbitMQ, tmp_path_factory: pytest.TempPathFactory) -> Queue:
    """A copy with migrated tables, whose tasks are sent to the broker."""
    place = tmp_path_factory.mktemp("rabbitmq")
    shutil.copytree(project.path, place / "copy", symlinks=True, ignore=shutil.ignore_patterns(".venv"))
    made = Queue(Project(place / "copy", project.home, project.virtual_environment), "sqlite:///db.sqlite3")
    made.variables["TASKS"] = broker.url("/")
    migrate(made.project, **made.variables)
    return made


@pytest.fixture
def queue(deploy: Queue, tmp_path: Path) -> Iterator[Queue]:
    """An empty queue; its processes end with the test."""
    deploy.begin(tmp_path)
    yield deploy
    deploy.close()
    deploy.shell(PURGE)
    deploy.close()


def messages(broker: RabbitMQ) -> dict[str, int]:
    """Return how many messages each queue holds."""
    queues = json.loads(broker.control("list_queues", "name", "messages"))
    return {each["name"]: each["messages"] for each in queues if each["name"].startswith("tasks")}


def test_the_project_is_green_with_the_recipe(project):
    check_everything(project)


def test_a_task_is_sent_with_the_commit_and_runs_once(queue):
    first, second = queue.worker(), queue.worker()
    queue.shell(
        "from django.db import transaction\n"
        "with transaction.atomic():\n"
        "    jot.enqueue('regretted'); transaction.set_rollback(True)\n"
        "with transaction.atomic():\n"
        "    for number in range(100): jot.enqueue(str(number))"
    )
    wait_until(lambda: len(queue.words()) >= 100, 60, lambda: first.output + second.output)
    assert [first.stop(), second.stop()] == [0, 0]
    assert Counter(queue.words()) == {str(number): 1 for number in range(100)}
    assert PASSWORD not in first.output + second.output
    assert "path=jobs.tasks.jot state=SUCCESSFUL" in first.output + second.output


def test_the_task_of_a_killed_worker_runs_again_on_another(queue):
    first = queue.worker()
    queue.shell("stay.enqueue('one')")
    queue.wait_for("began one")
    second = queue.worker()
    second.wait_for("ready")
    first.stop(signal.SIGKILL)
    queue.wait_for("began one", times=2, seconds=10)
    queue.let_end("one")
    queue.wait_for("ended one")
    assert second.stop() == 0
    assert queue.words() == ["began one", "began one", "ended one"]


def test_a_task_that_kills_its_workers_is_put_aside(queue, broker):
    queue.shell("stay.enqueue('one')")
    for number in range(1, 4):
        worker = queue.worker()
        queue.wait_for("began one", number)
        worker.stop(signal.SIGKILL)
    wait_until(lambda: messages(broker) == {"tasks": 0, "tasks.lost": 1}, 20, lambda: str(messages(broker)))
    queue.shell("jot.enqueue('two')")
    worker = queue.worker()
    queue.wait_for("two")
    assert queue.words().count("began one") == 3


def test_a_worker_that_is_told_to_stop_finishes_its_task(queue):
    worker = queue.worker()
    queue.shell("stay.enqueue('one'); fail.enqueue(); jot.enqueue('two')")
    queue.wait_for("began one")
    worker.popen.send_signal(signal.SIGTERM)
    worker.wait_for("Warm shutdown")
    worker.popen.send_signal(signal.SIGTERM)
    queue.let_end("one")
    assert worker.wait() == 0, worker.output
    assert queue.words() == ["began one", "ended one"]
    another = queue.worker()
    queue.wait_for("two")
    assert "path=jobs.tasks.fail state=FAILED" in another.output
    assert "RuntimeError: broken on purpose" in another.output


def test_an_outage_of_the_broker_is_named_and_survived(queue, broker):
    worker = queue.worker()
    worker.wait_for("ready")
    caught = (
        "from django.contrib.auth import get_user_model; from django.db import transaction\n"
        "try:\n"
        "    with transaction.atomic():\n"
        "        get_user_model().objects.create(username='ada'); jot.enqueue('lost')\n"
        "except ConnectionError as error: print(error)\n"
        "print(get_user_model().objects.count())"
    )
    with broker.stopped():
        printed = queue.shell(caught)
        worker.wait_for("Cannot connect to amqp://app:")
    assert "task jobs.tasks.jot was not queued, RabbitMQ does not answer" in printed
    assert printed.endswith("1"), "the row stays"
    queue.shell("jot.enqueue('next')")
    queue.wait_for("next")
    assert worker.stop() == 0
    assert queue.words() == ["next"]
    assert PASSWORD not in worker.output
