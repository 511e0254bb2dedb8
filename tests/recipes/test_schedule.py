"""Periodic tasks: real schedulers, several of them, on real databases."""

import re
import shutil
import signal
from collections.abc import Callable, Iterator

import pytest
from deploys import migrate
from generation import Process, Project, wait_until
from pages import check_everything
from servers import PostgreSQL
from test_tasks import Queue, on

pytestmark = pytest.mark.recipes

EVERY_SECOND = """

from jobs.tasks import jot

ENTRIES.append(Entry("every second", "* * * * * *", jot, ("tick",)))
"""


@pytest.fixture(scope="module")
def project(with_recipe: Callable[..., Project]) -> Project:
    """A project with the recipe."""
    return with_recipe("schedule", database="postgresql")


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def deploy(request: pytest.FixtureRequest, project: Project, tmp_path_factory: pytest.TempPathFactory) -> Queue:
    """A copy with migrated tables and a task that is due every second, on each database in turn."""
    url = "sqlite:///db.sqlite3"
    if request.param != "sqlite":
        url = request.getfixturevalue(request.param).create_database()
    place = tmp_path_factory.mktemp("schedule")
    shutil.copytree(project.path, place / "copy", symlinks=True, ignore=shutil.ignore_patterns(".venv"))
    made = Queue(Project(place / "copy", project.home, project.virtual_environment), url)
    with (made.project.path / "schedule/entries.py").open("a") as entries:
        entries.write(EVERY_SECOND)
    made.begin(place)
    migrate(made.project, **made.variables)
    return made


@pytest.fixture
def queue(deploy: Queue) -> Iterator[Queue]:
    """An empty queue and a new schedule; the processes end with the test."""
    deploy.shell("from schedule.models import LastTick; R.objects.all().delete(); LastTick.objects.all().delete()")
    yield deploy
    deploy.close()


def start(queue: Queue) -> Process:
    """Start a scheduler."""
    return queue.project.start("python", "manage.py", "scheduler", **queue.variables)


def ticks(*schedulers: Process) -> list[str]:
    """Return the times at which the task was due that these schedulers have enqueued."""
    output = "\n".join(scheduler.output for scheduler in schedulers)
    return re.findall(r"enqueued every second, due ([^\"]+)", output)


def wait_for_ticks(count: int, *schedulers: Process) -> None:
    """Return when these schedulers have enqueued so many."""
    output = lambda: "\n".join(scheduler.output for scheduler in schedulers)  # noqa: E731
    wait_until(lambda: len(ticks(*schedulers)) >= count, 40, output)


def test_the_project_is_green_with_the_recipe(project):
    for procfile in ("Procfile", "Procfile.dev"):
        lines = (project.path / procfile).read_text().splitlines()
        assert lines.count("scheduler: python manage.py scheduler") == 1
    check_everything(project)


def test_two_schedulers_enqueue_one_task_a_tick_and_one_goes_on_when_the_other_is_killed(queue):
    first, second = start(queue), start(queue)
    wait_for_ticks(5, first, second)
    first.stop(signal.SIGKILL)
    wait_for_ticks(len(ticks(second)) + 3, second)
    assert second.stop() == 0, second.output
    logged = ticks(first, second)
    assert len(set(logged)) == len(logged), sorted(logged)
    enqueued = int(queue.shell("print(R.objects.filter(task_path='jobs.tasks.jot').count())"))
    assert enqueued - len(logged) in (0, 1), "the one that was killed may have had no time to log"
    assert "Traceback" not in first.output + second.output


def test_the_worker_runs_what_was_enqueued(queue):
    scheduler, worker = start(queue), queue.worker()
    queue.wait_for("tick", times=2)
    assert [scheduler.stop(), worker.stop()] == [0, 0]


@on("postgresql")
def test_a_scheduler_waits_for_a_database_that_is_away(queue, postgresql: PostgreSQL):
    scheduler = start(queue)
    wait_for_ticks(1, scheduler)
    with postgresql.stopped():
        scheduler.wait_for("the database cannot be used, next try in")
        late = start(queue)
        late.wait_for("the database cannot be used, next try in")
        assert late.stop() == 0, late.output
    wait_for_ticks(len(ticks(scheduler)) + 2, scheduler)
    assert scheduler.stop() == 0, scheduler.output
    assert "Traceback" not in scheduler.output + late.output
