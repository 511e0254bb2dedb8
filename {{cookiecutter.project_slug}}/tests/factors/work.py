"""How a task is enqueued and what it does: the one file to change for another queue than TASKS.

For Celery: `from celery import shared_task as task`; in `enqueue` `globals()[name].delay(*arguments)` and `"READY"`; in
ENVIRONMENT what makes Celery queue, with a broker that soon misses a worker; in OPTIONS `-I tests.factors.work`.
"""

import logging
import os
import time
from pathlib import Path

from django.tasks import task

ENVIRONMENT = {"TASKS": "database"}  # tasks wait for a worker
OPTIONS = ""  # of each worker
IMPATIENT = "--dead 1"  # of one that soon misses another that was killed


def enqueue(name: str, *arguments: object) -> str:
    """Enqueue a task of this module; return its state, READY when it waits for a worker."""
    return globals()[name].enqueue(*arguments).status


@task
def say(line: str) -> None:
    logging.getLogger(__name__).info(line)


@task
def meet(directory: str, name: str, others: int, seconds: float) -> None:
    runs, deadline = Path(directory, "runs"), time.monotonic() + seconds
    with runs.open("a") as file:
        file.write(f"{name} {os.getpid()}\n")
    while len({line.split()[1] for line in runs.read_text().splitlines()}) < others and time.monotonic() < deadline:
        time.sleep(0.02)


@task
def pause(directory: str, seconds: float) -> None:
    Path(directory, "started").touch()
    deadline = time.monotonic() + seconds
    while not Path(directory, "go").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    Path(directory, "finished").touch()
