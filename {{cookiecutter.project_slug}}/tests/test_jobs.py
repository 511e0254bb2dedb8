"""jobs/: tasks run, and those whose worker died run again."""

import signal
from datetime import timedelta

import pytest
from django.core import mail
from django.core.management import call_command
from django.tasks import TaskResultStatus, task
from django.tasks.backends.dummy import DummyBackend
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from config import services
from jobs import heartbeat, worker
from jobs.models import Heartbeat
from jobs.tasks import send_greeting


@pytest.fixture
def queue(settings, db):
    """Let the worker run tasks, as TASKS=database does."""
    settings.TASKS = {"default": services.tasks("database").setting}


def queued() -> DBTaskResult:
    """Return a task that no worker took up yet."""
    return DBTaskResult.objects.get(pk=send_greeting.enqueue("ada@example.com").id)


def running_on(*workers: str) -> DBTaskResult:
    """Return a task that each of these workers took up, the last of them two hours ago."""
    row = queued()
    for name in workers:
        row.claim(name)
    row.started_at -= timedelta(hours=2)
    row.save()
    return row


def seen(name: str, seconds_ago: int) -> None:
    Heartbeat.objects.create(worker_id=name, seen_at=timezone.now() - timedelta(seconds=seconds_ago))


def test_a_task_runs_at_once_where_no_worker_is_attached():
    result = send_greeting.enqueue("ada@example.com")
    assert result.status == TaskResultStatus.SUCCESSFUL
    assert [message.to for message in mail.outbox] == [["ada@example.com"]]


def test_the_task_of_a_dead_worker_is_queued_again(queue, caplog):
    seen("dead", 31)
    lost = running_on("dead")
    heartbeat.requeue_lost_tasks(heartbeat.find_lost_tasks(30))
    lost.refresh_from_db()
    assert (lost.status, lost.started_at) == (TaskResultStatus.READY, None)
    assert DBTaskResult.objects.ready().get() == lost
    assert f"Task id={lost.pk} path=jobs.tasks.send_greeting lost its worker: queued again" in caplog.text
    assert not Heartbeat.objects.exists()


def test_a_long_task_of_a_live_worker_is_left_alone(queue, caplog):
    seen("dead", 31)
    seen("alive", 20)
    lost = running_on("dead", "alive")
    heartbeat.requeue_lost_tasks(heartbeat.find_lost_tasks(30))
    lost.refresh_from_db()
    assert (lost.status, lost.worker_ids) == (TaskResultStatus.RUNNING, ["dead", "alive"])
    assert caplog.text == ""


def test_a_task_that_took_three_workers_with_it_has_failed(queue, caplog):
    lost = running_on("one", "two", "three")
    heartbeat.requeue_lost_tasks(heartbeat.find_lost_tasks(30))
    lost.refresh_from_db()
    assert lost.status == TaskResultStatus.FAILED
    assert lost.finished_at is not None
    assert lost.task_result.errors[0].exception_class is worker.WorkerLost
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert f"Task id={lost.pk} path=jobs.tasks.send_greeting lost 3 workers: failed" in record.message


def test_a_worker_records_a_heartbeat_before_it_takes_a_task(db, monkeypatch):
    found = []
    monkeypatch.setattr(worker.HeartbeatThread, "start", lambda self: None)
    monkeypatch.setattr(worker.HeartbeatThread, "join", lambda self, timeout: None)
    monkeypatch.setattr(worker.DatabaseWorker, "run", lambda self: found.append(Heartbeat.objects.get().worker_id))
    idle = worker.Worker(1, 30)
    idle.run()
    assert found == [idle.worker_id]


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_does_not_end_the_running_task(second):
    busy = worker.Worker(1, 30)
    busy.running_task = True
    busy.shutdown(signal.SIGTERM, None)
    busy.shutdown(second, None)
    assert not busy.running
    busy.running_task = False  # nor what follows it
    busy.shutdown(second, None)


@task
def fail() -> None:
    raise ValueError("half a surrogate pair \ud800 and a NUL \0")


@pytest.mark.django_db(transaction=True)
def test_a_task_whose_error_cannot_be_stored_fails_and_its_worker_goes_on(queue):
    row = DBTaskResult.objects.get(pk=fail.enqueue().id)
    worker.Worker(1, 30).run_task(row)
    row.refresh_from_db()
    assert row.status == TaskResultStatus.FAILED
    assert "ValueError: half a surrogate pair" in row.traceback


class OwnWorker(DummyBackend):
    def run_worker(self) -> None:
        raise SystemExit("its own worker")


def test_the_worker_command_asks_the_backend(settings, db, monkeypatch):
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    settings.TASKS = {"default": {"BACKEND": f"{__name__}.OwnWorker"}}
    with pytest.raises(SystemExit, match="its own worker"):
        call_command("worker")
