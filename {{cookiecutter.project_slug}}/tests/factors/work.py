"""The tasks that workers run in these tests."""

import logging
import os
import time
from pathlib import Path

from django.tasks import task

logger = logging.getLogger(__name__)


@task
def say(line: str) -> None:
    """Log a line."""
    logger.info(line)


@task
def meet(directory: str, name: str, others: int, seconds: float) -> int:
    """Note who runs this, and wait until so many processes have done the same. Return how many did."""
    with Path(directory, "runs").open("a") as file:
        file.write(f"{name} {os.getpid()}\n")
    deadline = time.monotonic() + seconds
    while True:
        runs = Path(directory, "runs").read_text().splitlines()
        processes = {line.split()[1] for line in runs}
        if len(processes) >= others or time.monotonic() > deadline:
            return len(processes)
        time.sleep(0.02)


@task
def pause(directory: str, seconds: float) -> None:
    """Say `started`, wait for a file called `go`, say `finished`."""
    with Path(directory, "started").open("a") as file:
        file.write(f"{os.getpid()}\n")
    deadline = time.monotonic() + seconds
    while not Path(directory, "go").exists():
        if time.monotonic() > deadline:
            raise TimeoutError("nobody said go")
        time.sleep(0.02)
    Path(directory, "finished").touch()
