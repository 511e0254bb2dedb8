"""`python manage.py worker`: the worker process of the Procfile."""

import logging
import signal
import sys
import time
from argparse import ArgumentParser
from threading import Event
from typing import Any

from django.core.management.base import BaseCommand
from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor
from django.tasks import task_backends
from django_tasks_db import DatabaseBackend

from jobs.heartbeat import DEAD_SECONDS
from jobs.worker import Worker

logger = logging.getLogger("jobs.worker")

# Seconds between tries while the database cannot be used: doubled from the first to the last.
FIRST_DELAY, LAST_DELAY = 1.0, 30.0


def wait_for_migrations() -> None:
    """Return when no migration is pending; the release process applies them."""
    said = False
    while True:
        executor = MigrationExecutor(connection)
        if not executor.migration_plan(executor.loader.graph.leaf_nodes()):
            return
        if not said:
            logger.warning("migrations are pending: waiting for `python manage.py migrate`")
            said = True
        time.sleep(1)


def run_worker(interval: float, dead_seconds: float) -> None:
    """Run tasks until a signal; while the database cannot be used, try again and again."""
    delay = FIRST_DELAY
    while True:
        started = time.monotonic()
        # A new worker after each failure: a task that the last one left running counts as a dead worker's.
        worker = Worker(interval, dead_seconds)
        try:
            wait_for_migrations()
            worker.configure_signals()
            return worker.run()
        except Error as error:
            if not worker.running:
                return None
            if time.monotonic() - started > LAST_DELAY:
                delay = FIRST_DELAY
            reason = " ".join(str(error).split())
            logger.error("the worker failed, next try in %.0f s: %s: %s", delay, type(error).__name__, reason)
            connection.close()
            time.sleep(delay)
            delay = min(delay * 2, LAST_DELAY)


class Command(BaseCommand):
    """Runs until a signal: a process that ends by itself would stop honcho and all others with it."""

    help = "Run background tasks, if TASKS names a backend that needs a worker; otherwise wait."
    # On MySQL and SQLite the checks of django-tasks-db's models ask the database, which may be away for now.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--interval", type=float, default=1.0, help="seconds between two looks into an empty queue")
        parser.add_argument(
            "--dead", type=float, default=DEAD_SECONDS, help="seconds without a heartbeat until a worker counts as dead"
        )

    def handle(self, *, interval: float, dead: float, **options: Any) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: sys.exit(0))
        backend = task_backends["default"]
        if isinstance(backend, DatabaseBackend):
            run_worker(interval, dead)
        elif hasattr(backend, "run_worker"):  # it has a worker of its own
            wait_for_migrations()
            backend.run_worker()
        else:
            logger.info("nothing to do: tasks run in the process that asks for them, unless TASKS=database")
            Event().wait()
