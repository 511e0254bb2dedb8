"""VIII. Concurrency: scale out by processes of each type: https://12factor.net/concurrency.

Tested: WEB_CONCURRENCY and WEB_THREADS say how many processes and threads of each the web process has; the web process
alone runs no task; two workers share the tasks, and none is done twice; nothing writes a PID file or becomes a daemon.
Not testable here: that the backing services carry the load of many processes.
"""

import threading
import time

from tests.factors.deploy import SECONDS, Factor, documented, given, wait

FACTOR = Factor("VIII Concurrency")
MEET = """
import pathlib, time, uuid
here, deadline = pathlib.Path(directory), time.monotonic() + 10
(here / str(uuid.uuid4())).touch()
while not (here / "go").exists() and time.monotonic() < deadline:
    time.sleep(0.02)
"""
ENQUEUE = """
from tests.factors import work
for name in "abcdefgh":
    work.enqueue("meet", directory, name, 2, seconds)
"""


def settled(count):
    """Return a number once it is not 0 and stays the same."""
    last = -1
    while last != (last := count()) or not last:
        time.sleep(0.7)
    return last


def test_the_environment_says_how_many_processes_there_are(deploy):
    web = deploy().web(WEB_CONCURRENCY="2")
    leader = min(web.members(), key=lambda process: process.create_time())
    count = settled(lambda: len(leader.children()))
    says = count == 2 or "WEB_CONCURRENCY" not in documented()
    FACTOR.demand(says, f"WEB_CONCURRENCY=2 gives {count} processes", "leave their number to the environment", web.tail)


def test_the_environment_says_how_many_threads_there_are(deploy, tmp_path):
    web = deploy().web(WEB_CONCURRENCY="1", WEB_THREADS="3")
    ask = [threading.Thread(target=web.ask, args=[given(MEET, directory=str(tmp_path))]) for _ in range(6)]
    for thread in ask:
        thread.start()
    count = settled(lambda: sum(path.is_file() for path in tmp_path.iterdir()))
    (tmp_path / "go").touch()
    for thread in ask:
        thread.join()
    says = count == 3 or "WEB_THREADS" not in documented()
    what = f"WEB_THREADS=3 lets one process answer {count} requests at the same time"
    FACTOR.demand(says, what, "leave the number of threads to the environment", web.tail)


def test_workers_share_the_tasks_and_the_web_process_runs_none(deploy, tmp_path):
    place, runs = deploy(), tmp_path / "runs"
    web = place.web()
    web.ask(given(ENQUEUE, directory=str(tmp_path), seconds=SECONDS))
    FACTOR.demand(not wait(runs.exists, 2.5), "the web process runs tasks", "leave them to the worker", web.tail)
    workers = [place.worker() for _ in range(2)]
    ended = lambda: [each.popen.poll() for each in workers if each.popen.poll() is not None]  # noqa: E731
    wait(lambda: ended() or (runs.exists() and len(runs.read_text().splitlines()) >= 8))
    output = "\n".join(worker.tail for worker in workers)
    FACTOR.demand(not ended(), f"a worker ends beside another, with exit code {ended()}", "let any number run", output)
    FACTOR.demand(runs.exists(), "the worker process runs no task", "read what it says", output)
    names, pids = zip(*(line.split() for line in runs.read_text().splitlines()), strict=True)
    FACTOR.demand(len(names) >= 8, f"two workers do {len(names)} tasks of eight", "read what they say", output)
    FACTOR.demand(len(set(names)) == len(names), f"tasks are done twice: {sorted(names)}", "lock a task that is taken")
    FACTOR.demand(len(set(pids)) > 1, "two workers run, and one does all tasks", "let each take one at a time", output)


def test_no_process_writes_a_pid_file(day):
    files = "; ".join(day.of(FACTOR).values())
    FACTOR.demand(not files, f"a PID file: {files}", "let the platform manage processes")
