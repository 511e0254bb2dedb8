"""jobs/: tasks run, and those whose worker died run again."""

import os
import re
import signal
import subprocess
import sys
from datetime import timedelta
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.core import mail
from django.db import OperationalError, transaction
from django.tasks import TaskResultStatus
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from config import services
from jobs import worker
from jobs.models import Heartbeat
from jobs.tasks import send_greeting

PROJECT = Path(__file__).parent.parent


@pytest.fixture
def queue(settings, db):
    """Let the worker run tasks, as TASKS=database does."""
    settings.TASKS = {"default": services.tasks("database").setting}


def running_on(*workers: str) -> DBTaskResult:
    """Return a task that each of these workers took up, the last of them two hours ago."""
    row = DBTaskResult.objects.get(pk=send_greeting.enqueue("ada@example.com").id)
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


def test_a_worker_is_left_its_task_elsewhere(queue):
    result = send_greeting.enqueue("ada@example.com")
    assert (result.status, mail.outbox) == (TaskResultStatus.READY, [])


@pytest.mark.usefixtures("queue")
class TestLostTasks:
    def test_the_task_of_a_dead_worker_is_queued_again(self, caplog):
        seen("dead", 31)
        task = running_on("dead")
        worker.requeue_lost_tasks(30)
        task.refresh_from_db()
        assert task.status == TaskResultStatus.READY
        assert DBTaskResult.objects.ready().get() == task
        assert f"Task id={task.pk} path=jobs.tasks.send_greeting lost its worker: queued again" in caplog.text
        assert not Heartbeat.objects.exists()

    def test_so_is_that_of_a_worker_nobody_knows(self):
        task = running_on("forgotten")
        worker.requeue_lost_tasks(30)
        task.refresh_from_db()
        assert task.status == TaskResultStatus.READY

    def test_a_long_task_of_a_live_worker_is_left_alone(self, caplog):
        seen("dead", 31)
        seen("alive", 20)
        task = running_on("dead", "alive")
        worker.requeue_lost_tasks(30)
        task.refresh_from_db()
        assert (task.status, task.worker_ids) == (TaskResultStatus.RUNNING, ["dead", "alive"])
        assert caplog.text == ""

    def test_a_task_that_took_three_workers_with_it_has_failed(self, caplog):
        task = running_on("one", "two", "three")
        worker.requeue_lost_tasks(30)
        task.refresh_from_db()
        assert task.status == TaskResultStatus.FAILED
        assert task.finished_at is not None
        assert task.task_result.errors[0].exception_class is worker.WorkerLost
        (record,) = caplog.records
        assert record.levelname == "ERROR"
        assert f"Task id={task.pk} path=jobs.tasks.send_greeting lost 3 workers: failed" in record.message

    @pytest.mark.parametrize("workers", [["one"], ["one", "two", "three"]])
    def test_one_that_ended_a_moment_ago_stays_as_it_ended(self, workers, monkeypatch):
        task = running_on(*workers)
        as_it_was = DBTaskResult.objects.get(pk=task.pk)
        task.set_successful(1)
        monkeypatch.setattr(type(DBTaskResult.objects), "running", lambda self: [as_it_was])
        worker.requeue_lost_tasks(30)
        task.refresh_from_db()
        assert task.status == TaskResultStatus.SUCCESSFUL

    def test_one_that_another_worker_took_up_a_moment_ago_stays_there(self, monkeypatch):
        task = running_on("dead")
        as_it_was = DBTaskResult.objects.get(pk=task.pk)
        task.claim("alive")
        monkeypatch.setattr(type(DBTaskResult.objects), "running", lambda self: [as_it_was])
        worker.requeue_lost_tasks(30)
        task.refresh_from_db()
        assert task.status == TaskResultStatus.RUNNING

    def test_a_task_of_a_rolled_back_transaction_never_was(self):
        with transaction.atomic():
            send_greeting.enqueue("ada@example.com")
            transaction.set_rollback(True)
        assert not DBTaskResult.objects.exists()


def test_a_heartbeat_is_the_time_of_the_database(db):
    worker.beat("one")
    worker.beat("one")
    (heartbeat,) = Heartbeat.objects.all()
    assert abs(heartbeat.seen_at - timezone.now()) < timedelta(minutes=1)


@pytest.mark.parametrize("error", [OperationalError("gone"), ValueError("a mistake")])
def test_after_an_outage_workers_get_time_to_beat_again(error, monkeypatch):
    # Beats of 10 s, death after 20: the second beat may judge, the third fails, and the fourth may not.
    beats = [None, None, error, None, None]
    judged_after = []

    def beat(worker_id):
        if failure := beats.pop(0):
            raise failure

    monkeypatch.setattr(worker, "beat", beat)
    monkeypatch.setattr(worker, "requeue_lost_tasks", lambda seconds: judged_after.append(5 - len(beats)))
    monkeypatch.setattr(worker, "connection", SimpleNamespace(close=lambda: None))
    heart = worker.Heart("one", beat_seconds=10, dead_seconds=20)
    heart.stopped = SimpleNamespace(wait=lambda seconds: not beats)
    heart.run()
    assert judged_after == [2, 5]


WORKER = """
import django
django.setup()
from django.core.management import call_command
from jobs.tasks import send_greeting
call_command("migrate", verbosity=0)
for name in ("ada", "grace"):
    send_greeting.enqueue(f"{name}@example.com")
call_command("worker", interval=0.05)
"""


def test_a_worker_process_runs_what_is_queued_and_stops_when_told(tmp_path):
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3",
        "TASKS": "database",
        "EMAIL_URL": f"file:{tmp_path}/mail",
        "LOG_FORMAT": "text",
    }
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER], cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        done = list(islice((line for line in process.stdout if "state=SUCCESSFUL" in line), 2))
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert len(done) == 2
    assert process.returncode == 0, rest
    letters = "".join(path.read_text() for path in (tmp_path / "mail").iterdir())
    assert set(re.findall("(?m)^To: (.*)$", letters)) == {"ada@example.com", "grace@example.com"}
