"""`python manage.py worker`: the worker process of the Procfile."""

import logging
import signal
import sys
import time
from argparse import ArgumentParser
from threading import Event
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from jobs.worker import BEAT_SECONDS, DATABASE_AWAY, DEAD_SECONDS, Worker

logger = logging.getLogger("jobs.worker")

# Seconds between tries while the database is away: doubled from the first to the second.
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


class Command(BaseCommand):
    """Runs until a signal: a process that ends by itself would stop honcho and all others with it."""

    help = "Run background tasks while TASKS=database; otherwise wait."
    # On MySQL and SQLite the checks of django-tasks-db's models ask the database, which may be away for now.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options: all are seconds."""
        parser.add_argument("--interval", type=float, default=1.0, help="between two looks into an empty queue")
        parser.add_argument("--beat", type=float, default=BEAT_SECONDS, help="between two heartbeats")
        parser.add_argument(
            "--dead", type=float, default=DEAD_SECONDS, help="without a heartbeat until a worker is dead"
        )

    def handle(self, *, interval: float, beat: float, dead: float, **options: Any) -> None:
        """Run; return when a signal stopped it after its last task."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: sys.exit(0))
        if settings.TASKS["default"]["BACKEND"] != "django_tasks_db.DatabaseBackend":
            logger.info("nothing to do: tasks run in the process that asks for them, unless TASKS=database")
            Event().wait()
        delay = FIRST_DELAY
        while True:
            worker = None
            try:
                wait_for_migrations()
                delay = FIRST_DELAY
                # A new one after each failure: if it left a task running, that is one of a dead worker now.
                worker = Worker(interval, beat, dead)
                worker.configure_signals()
                return worker.run()
            except DATABASE_AWAY as error:
                if worker and not worker.running:
                    return None
                reason = " ".join(str(error).split())
                logger.error("the database does not answer, next try in %.0f s: %s", delay, reason)
                connection.close()
                time.sleep(delay)
                delay = min(delay * 2, LAST_DELAY)
