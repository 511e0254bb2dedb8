"""Heartbeats: each worker records that it is alive, and queues the tasks of dead workers again."""

import logging
from datetime import timedelta
from threading import Event, Thread
from typing import Any

from django.db import connection
from django.db.models.functions import Now
from django.tasks import TaskResultStatus
from django.utils import timezone
from django_tasks_db.management.commands.db_worker import Worker
from django_tasks_db.models import DBTaskResult

from jobs.models import Heartbeat

logger = logging.getLogger("jobs.worker")

# Seconds without a heartbeat until a worker counts as dead: it has missed six.
DEAD_SECONDS = 30.0

# Give up after three lost workers: the task probably kills them.
MOST_WORKERS = 3


def find_lost_tasks(dead_seconds: float) -> list[DBTaskResult[..., Any]]:
    """Return the running tasks whose workers recorded no heartbeat for `dead_seconds`."""
    # Tasks first, workers second: a worker records a heartbeat before it takes a task.
    running = list(DBTaskResult.objects.filter(backend_name="default").running())
    Heartbeat.objects.filter(seen_at__lt=Now() - timedelta(seconds=dead_seconds)).delete()
    alive = set(Heartbeat.objects.values_list("worker_id", flat=True))
    return [task for task in running if task.worker_ids[-1] not in alive]


def requeue_lost_tasks(lost_tasks: list[DBTaskResult[..., Any]]) -> None:
    """Queue these tasks again, or fail those that lost their third worker."""
    for lost in lost_tasks:
        # Compare and swap: no effect if the task has ended, or another worker was first.
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


class HeartbeatThread(Thread):
    """Records a worker's heartbeats and looks after the tasks of dead workers, also while the worker runs a task."""

    def __init__(self, worker: Worker, dead_seconds: float) -> None:
        super().__init__(daemon=True, name="heartbeat")
        self.worker = worker
        self.dead_seconds = dead_seconds
        self.beat_seconds = dead_seconds / 6
        self.stopped = Event()

    def beat(self) -> bool:
        """Record a heartbeat; return False if it is late: others may soon take this worker for dead.

        The database compares the times: the clocks of machines differ, and one that is suspended stops its own.
        """
        name, late_seconds = self.worker.worker_id, self.dead_seconds / 2
        recent = Heartbeat.objects.filter(worker_id=name, seen_at__gt=Now() - timedelta(seconds=late_seconds))
        if recent.update(seen_at=Now()):
            return True
        Heartbeat.objects.update_or_create(worker_id=name, defaults={"seen_at": Now()})
        if self.worker.running_task:
            logger.warning("no heartbeat for %.0f s or more: the task of this worker may run twice", late_seconds)
        return False

    def run(self) -> None:
        # After an outage of the database, or a pause of the machine, every worker looks dead. So a worker judges others
        # only after its own heartbeats were in time for `dead_seconds`: by then every living worker has recorded one.
        steady_seconds = 0.0
        while not self.stopped.wait(self.beat_seconds):
            try:
                # Search, then beat: a worker that was paused before its search beats late, and so takes no task.
                lost_tasks = find_lost_tasks(self.dead_seconds)
                steady_seconds = steady_seconds + self.beat_seconds if self.beat() else 0.0
                if steady_seconds >= self.dead_seconds:
                    requeue_lost_tasks(lost_tasks)
            except Exception as error:  # any: without this thread the worker would look dead
                logger.warning("the heartbeats failed: %s: %s", type(error).__name__, " ".join(str(error).split()))
                steady_seconds = 0.0
                connection.close()
        connection.close()
