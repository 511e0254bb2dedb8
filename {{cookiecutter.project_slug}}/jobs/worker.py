"""The worker process: runs background tasks, and loses none when it is killed.

django-tasks-db runs the tasks. What is added here: each worker shows every few seconds that it lives, and the tasks
of one that stopped showing it are queued again by the others, or by itself after its next start.
"""

import logging
import os
import socket
import uuid
from contextlib import suppress
from datetime import timedelta
from threading import Event, Thread

from django.db import DatabaseError, InterfaceError, connection
from django.db.models.functions import Now
from django.tasks import TaskResultStatus
from django.utils import timezone
from django_tasks_db.management.commands.db_worker import Worker as DatabaseWorker
from django_tasks_db.models import DBTaskResult

from jobs.models import Heartbeat

logger = logging.getLogger(__name__)

# Seconds between two heartbeats, and without one until a worker counts as dead.
BEAT_SECONDS = 5.0
DEAD_SECONDS = 30.0

# A task that took so many workers with it is more likely to kill the next one than to succeed.
MOST_WORKERS = 3

# What a database that went away raises, on each client.
DATABASE_AWAY = (DatabaseError, InterfaceError)


def beat(worker_id: str) -> None:
    """Show that the worker lives."""
    Heartbeat.objects.update_or_create(worker_id=worker_id, defaults={"seen_at": Now()})


def requeue_lost_tasks(dead_seconds: float) -> None:
    """Queue the tasks of workers without a heartbeat for `dead_seconds` again, or fail them at the third such loss."""
    silent = Heartbeat.objects.filter(seen_at__lt=Now() - timedelta(seconds=dead_seconds))
    silent.delete()
    alive = set(Heartbeat.objects.values_list("worker_id", flat=True))
    for lost in DBTaskResult.objects.running():
        if lost.worker_ids[-1] in alive:
            continue
        # Another worker may see the same at the same moment: the update finds the task as it was seen, or nothing.
        same = DBTaskResult.objects.filter(pk=lost.pk, status=TaskResultStatus.RUNNING, started_at=lost.started_at)
        if len(lost.worker_ids) < MOST_WORKERS:
            if same.update(status=TaskResultStatus.READY, started_at=None):
                logger.warning("Task id=%s path=%s lost its worker: queued again", lost.pk, lost.task_path)
        elif same.update(
            status=TaskResultStatus.FAILED,
            finished_at=timezone.now(),
            exception_class_path="jobs.worker.WorkerLost",
            traceback=f"{MOST_WORKERS} workers died while they ran this task.",
        ):
            logger.error("Task id=%s path=%s lost %d workers: failed", lost.pk, lost.task_path, MOST_WORKERS)


class WorkerLost(Exception):  # noqa: N818  read by people, in the result of a task
    """Names what happened to a task whose workers died; never raised."""


class Heart(Thread):
    """Beats for a worker and looks after the tasks of dead ones, while the worker is busy with a task."""

    def __init__(self, worker_id: str, beat_seconds: float, dead_seconds: float) -> None:
        """Seconds as BEAT_SECONDS and DEAD_SECONDS."""
        super().__init__(daemon=True, name="heart")
        self.worker_id = worker_id
        self.beat_seconds = beat_seconds
        self.dead_seconds = dead_seconds
        self.stopped = Event()

    def run(self) -> None:
        """Beat until stopped."""
        steady = 0.0
        while not self.stopped.wait(self.beat_seconds):
            try:
                beat(self.worker_id)
                # After an outage of the database every worker looks dead: first they get the time to beat again.
                steady += self.beat_seconds
                if steady >= self.dead_seconds:
                    requeue_lost_tasks(self.dead_seconds)
            except Exception as error:  # whatever it is: without a heart this worker would look dead
                logger.warning("no heartbeat: %s: %s", type(error).__name__, " ".join(str(error).split()))
                steady = 0.0
                connection.close()
        connection.close()


class Worker(DatabaseWorker):
    """django-tasks-db's worker with a heart."""

    def __init__(self, interval: float, beat_seconds: float, dead_seconds: float) -> None:
        """`interval` is the time in seconds between two looks into an empty queue."""
        super().__init__(
            queue_names=["*"],
            excluded_queue_names=[],
            interval=interval,
            batch=False,
            backend_name="default",
            startup_delay=True,
            max_tasks=None,
            worker_id=f"{socket.gethostname()[:20]}-{os.getpid()}-{uuid.uuid4().hex[:12]}",
        )
        self.beat_seconds = beat_seconds
        self.dead_seconds = dead_seconds

    def run(self) -> None:
        """Run tasks until a signal; raise what a database raises that went away."""
        beat(self.worker_id)
        heart = Heart(self.worker_id, self.beat_seconds, self.dead_seconds)
        heart.start()
        try:
            super().run()
        finally:
            heart.stopped.set()
            heart.join(self.beat_seconds)
            if not self.running:  # a signal: it is not dead but gone
                with suppress(*DATABASE_AWAY):
                    Heartbeat.objects.filter(worker_id=self.worker_id).delete()
