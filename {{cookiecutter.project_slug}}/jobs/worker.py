"""The worker process: runs background tasks, and loses none when it is killed.

django-tasks-db takes tasks from the database and runs them. This module adds heartbeats, by which workers notice
a dead worker and queue its task again (jobs/heartbeat.py), and survives signals, bad tasks and outages.
"""

import logging
import socket
import sys
import uuid
from contextlib import suppress
from types import FrameType
from typing import Any

from django.db import Error, InterfaceError, OperationalError
from django_tasks_db.management.commands.db_worker import Worker as DatabaseWorker
from django_tasks_db.models import DBTaskResult

from jobs.heartbeat import HeartbeatThread
from jobs.models import Heartbeat

logger = logging.getLogger(__name__)


class WorkerLost(Exception):  # noqa: N818  read by people, in the result of a task
    """The exception that the result of a task names when its workers died; never raised."""


class Worker(DatabaseWorker):
    """django-tasks-db's worker with heartbeats."""

    def __init__(self, interval: float, dead_seconds: float) -> None:
        """`interval` is the time in seconds between two looks into an empty queue."""
        super().__init__(
            queue_names=["*"],
            excluded_queue_names=[],
            interval=interval,
            batch=False,
            backend_name="default",
            startup_delay=True,
            max_tasks=None,
            worker_id=f"{socket.gethostname()[:20]}-{uuid.uuid4().hex}",
        )
        self.heartbeat = HeartbeatThread(self, dead_seconds)

    def shutdown(self, signum: int, frame: FrameType | None) -> None:
        """Stop after the running task. Platforms send several signals: the second must not end the task.

        Nothing is logged here: the signal may have interrupted the writing of a log line, and Python cannot begin
        another one within it. https://docs.python.org/3/library/io.html#reentrancy
        """
        if self.running:
            self.running = False
            if not self.running_task:
                sys.exit(0)

    def run_task(self, db_task_result: DBTaskResult[..., Any]) -> None:
        """Run a task; when its result cannot be stored or announced, fail the task and not the worker."""
        try:
            super().run_task(db_task_result)
        except (InterfaceError, OperationalError):  # the database is away: the task runs again
            raise
        except Exception:
            logger.exception("Task id=%s path=%s state=FAILED", db_task_result.pk, db_task_result.task_path)
            # No database stores half a surrogate pair; PostgreSQL stores no NUL.
            text = db_task_result.traceback.encode("ascii", "backslashreplace").decode()
            db_task_result.traceback = text.replace("\0", r"\x00")
            db_task_result.save(update_fields=["status", "finished_at", "exception_class_path", "traceback"])

    def run(self) -> None:
        """Run tasks until a signal; raise the errors of a database that cannot be used."""
        self.heartbeat.beat()
        self.heartbeat.start()
        try:
            super().run()
        finally:
            self.heartbeat.stopped.set()
            self.heartbeat.join(self.heartbeat.beat_seconds)
            if not self.running:
                logger.info("stopped by a signal")
                with suppress(Error):  # without the row, others do not take it for dead
                    Heartbeat.objects.filter(worker_id=self.worker_id).delete()
