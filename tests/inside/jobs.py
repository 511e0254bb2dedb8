"""Rules of jobs/ that races, clocks and outages put to the test; some of them the project tests by itself."""

from datetime import timedelta
from itertools import count
from types import SimpleNamespace

import pytest
from django.db import InterfaceError, OperationalError, ProgrammingError, connection
from django.tasks import TaskResultStatus, task
from django.tasks.signals import task_finished
from django.utils import timezone
from django_tasks_db.models import DBTaskResult
from jobs import heartbeat, worker
from jobs.management.commands import worker as command
from jobs.models import Heartbeat
from tests.test_jobs import queue, queued, running_on, seen  # noqa: F401

pytestmark = pytest.mark.usefixtures("queue")


class TestLostTasks:
    @pytest.mark.parametrize("workers", [["one"], ["one", "two", "three"]])
    def test_one_that_ended_a_moment_ago_stays_as_it_ended(self, workers, monkeypatch):
        lost = running_on(*workers)
        as_it_was = DBTaskResult.objects.get(pk=lost.pk)
        lost.set_successful(1)
        monkeypatch.setattr(type(DBTaskResult.objects.all()), "running", lambda self: [as_it_was])
        heartbeat.requeue_lost_tasks(heartbeat.find_lost_tasks(30))
        lost.refresh_from_db()
        assert lost.status == TaskResultStatus.SUCCESSFUL

    def test_one_that_another_worker_took_up_a_moment_ago_stays_there(self, monkeypatch):
        lost = running_on("dead")
        as_it_was = DBTaskResult.objects.get(pk=lost.pk)
        lost.claim("alive")
        monkeypatch.setattr(type(DBTaskResult.objects.all()), "running", lambda self: [as_it_was])
        heartbeat.requeue_lost_tasks(heartbeat.find_lost_tasks(30))
        lost.refresh_from_db()
        assert lost.status == TaskResultStatus.RUNNING

    def test_one_of_another_backend_is_the_matter_of_its_workers(self):
        lost = running_on("without a heartbeat")
        DBTaskResult.objects.update(backend_name="other")
        heartbeat.requeue_lost_tasks(heartbeat.find_lost_tasks(30))
        lost.refresh_from_db()
        assert lost.status == TaskResultStatus.RUNNING


@pytest.mark.parametrize("gap", [0, 1, 2])
def test_a_task_that_is_taken_between_two_queries_stays_there(gap):
    waiting, queries = queued(), []

    def claim_in_the_gap(execute, *query):
        queries.append(query)
        if len(queries) == gap + 1:
            seen("alive", 0)
            waiting.claim("alive")
        return execute(*query)

    with connection.execute_wrapper(claim_in_the_gap):
        heartbeat.requeue_lost_tasks(heartbeat.find_lost_tasks(30))
    waiting.refresh_from_db()
    assert (waiting.status, waiting.worker_ids) == (TaskResultStatus.RUNNING, ["alive"])


def test_the_database_tells_the_time(monkeypatch):
    now = timezone.now()
    monkeypatch.setattr(timezone, "now", lambda: now + timedelta(days=1))  # this machine's clock is wrong
    thread = heartbeat.HeartbeatThread(SimpleNamespace(worker_id="one", running_task=False), 30)
    assert not thread.beat()
    task = running_on("one")
    heartbeat.requeue_lost_tasks(heartbeat.find_lost_tasks(30))
    task.refresh_from_db()
    assert task.status == TaskResultStatus.RUNNING
    assert abs(Heartbeat.objects.get().seen_at - now) < timedelta(minutes=1)
    assert thread.beat()
    assert abs(Heartbeat.objects.get().seen_at - now) < timedelta(minutes=1)


LATE, GONE, MISTAKE = False, OperationalError("gone"), ValueError("a mistake")


@pytest.mark.parametrize("failure", [LATE, GONE, MISTAKE])
def test_after_a_pause_or_an_outage_workers_get_time_to_beat_again(failure, monkeypatch):
    # Six beats until death: the sixth beat may judge, the seventh fails, and the sixth after it is the next.
    beats = [*[True] * 6, failure, *[True] * 6]
    judged_after = []

    def beat(self):
        result = beats.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(heartbeat.HeartbeatThread, "beat", beat)
    monkeypatch.setattr(heartbeat, "find_lost_tasks", lambda seconds: [])
    monkeypatch.setattr(heartbeat, "requeue_lost_tasks", lambda lost_tasks: judged_after.append(13 - len(beats)))
    monkeypatch.setattr(heartbeat, "connection", SimpleNamespace(close=lambda: None))
    thread = heartbeat.HeartbeatThread(SimpleNamespace(worker_id="one", running_task=True), 30)
    thread.stopped = SimpleNamespace(wait=lambda seconds: not beats)
    thread.run()
    assert judged_after == [6, 13]


def test_a_worker_that_was_paused_after_its_heartbeat_takes_no_task(monkeypatch):
    task, find = running_on("other"), heartbeat.find_lost_tasks
    pauses = [0, 0, 0, 0, 0, 0, 3600]  # in seconds, before each search; the sixth is the first that counts

    def pause_and_find(dead_seconds: float) -> list[DBTaskResult]:
        seen_at = timezone.now() - timedelta(seconds=pauses.pop(0))
        for name in ("one", "other"):
            Heartbeat.objects.update_or_create(worker_id=name, defaults={"seen_at": seen_at})
        return find(dead_seconds)

    monkeypatch.setattr(heartbeat, "find_lost_tasks", pause_and_find)
    monkeypatch.setattr(heartbeat, "connection", SimpleNamespace(close=lambda: None))
    thread = heartbeat.HeartbeatThread(SimpleNamespace(worker_id="one", running_task=False), 30)
    thread.stopped = SimpleNamespace(wait=lambda seconds: not pauses)
    thread.run()
    task.refresh_from_db()
    assert task.status == TaskResultStatus.RUNNING


@pytest.mark.parametrize(("running_task", "warned"), [(True, True), (False, False)])
def test_a_worker_that_was_stopped_says_that_its_task_may_run_twice(running_task, warned, caplog):
    seen("one", 40)
    busy = SimpleNamespace(worker_id="one", running_task=running_task)
    assert not heartbeat.HeartbeatThread(busy, 30).beat()
    assert ("no heartbeat for 15 s or more: the task of this worker may run twice" in caplog.text) == warned


@task
def fail_with(character: int) -> None:
    raise ValueError(f"text {chr(character)}")


def refuse(**_: object) -> None:
    raise RuntimeError("a receiver of a signal")


@pytest.mark.django_db(transaction=True)
class TestTasksThatHarmTheirWorker:
    def failed(self, row: DBTaskResult) -> DBTaskResult:
        """Run a task and return it; it has failed, and its worker goes on."""
        worker.Worker(1, 30).run_task(row)
        row.refresh_from_db()
        assert row.status == TaskResultStatus.FAILED
        assert row.finished_at is not None
        return row

    @pytest.mark.parametrize("character", [0xD800, 0xDC80, 0])
    def test_an_exception_whose_text_cannot_be_stored(self, character):
        row = DBTaskResult.objects.get(pk=fail_with.enqueue(character).id)
        assert "ValueError: text" in self.failed(row).traceback
        assert row.task_result.errors[0].exception_class is ValueError

    def test_a_module_that_cannot_be_imported(self, tmp_path, monkeypatch):
        (tmp_path / "broken_tasks.py").write_text("oops")
        monkeypatch.syspath_prepend(tmp_path)
        row = queued()
        row.task_path = "broken_tasks.send"
        row.save()
        assert "NameError" in self.failed(row).traceback

    def test_a_receiver_of_its_end(self):
        task_finished.connect(refuse)
        try:
            self.failed(queued())
        finally:
            task_finished.disconnect(refuse)

    def test_a_database_that_went_away_is_for_the_worker_to_mend(self, monkeypatch):
        def fail(*_: object, **__: object) -> None:
            raise InterfaceError("connection already closed")

        monkeypatch.setattr(DBTaskResult, "set_successful", fail)
        monkeypatch.setattr(DBTaskResult, "set_failed", fail)
        with pytest.raises(InterfaceError):
            self.failed(queued())


@pytest.mark.parametrize("error", [InterfaceError("gone"), ProgrammingError("no such column")])
@pytest.mark.parametrize(("seconds_between", "delays"), [(0, [1, 2, 4, 8, 16, 30, 30]), (31, [1, 1, 1, 1, 1, 1, 1])])
def test_an_error_of_the_database_is_answered_with_growing_patience(
    error, seconds_between, delays, monkeypatch, caplog
):
    failures, slept = [error] * 8, []

    def run(self):
        self.running = len(failures) > 1  # the last time, a signal came as well
        raise failures.pop()

    clock = SimpleNamespace(sleep=slept.append, monotonic=count(0, seconds_between).__next__)
    monkeypatch.setattr(command, "time", clock)
    monkeypatch.setattr(command, "wait_for_migrations", lambda: None)
    monkeypatch.setattr(command, "connection", SimpleNamespace(close=lambda: None))
    monkeypatch.setattr(worker.Worker, "run", run)
    monkeypatch.setattr(worker.Worker, "configure_signals", lambda self: None)
    command.run_worker(1, 30)
    assert slept == delays
    assert [message.partition(": ")[2] for message in caplog.messages] == [f"{type(error).__name__}: {error}"] * 7
