"""VIII. Concurrency: scale out by processes of each type: https://12factor.net/concurrency.

Tested: WEB_CONCURRENCY and WEB_THREADS say how many processes and threads of each the web process has; the web process
alone runs no task; two workers share the tasks, and none is done twice; nothing writes a PID file or becomes a daemon.
Not testable here: that the backing services carry the load of many processes.
"""

import threading
import time

from tests.factors import work
from tests.factors.deploy import SECONDS, demand, documented, wait

FACTOR = "VIII Concurrency"
MEET = """
import pathlib, time, uuid
here = pathlib.Path({here!r})
(here / str(uuid.uuid4())).touch()
deadline = time.monotonic() + 10
while not (here / "go").exists() and time.monotonic() < deadline:
    time.sleep(0.02)
"""


def at_once(web, here, requests):
    """Return how many of so many requests are worked at, at the same time."""
    here.mkdir()
    threads = [threading.Thread(target=web.ask, args=[MEET.format(here=str(here))]) for _ in range(requests)]
    for thread in threads:
        thread.start()
    count = -1
    while count != (count := len(list(here.iterdir()))) or not count:
        time.sleep(0.5)  # until no more come
    (here / "go").touch()
    for thread in threads:
        thread.join()
    return count


def test_the_environment_says_how_many_processes_and_threads_there_are(deploy, tmp_path):
    place = deploy()
    if "WEB_CONCURRENCY" in documented():
        web = place.web(WEB_CONCURRENCY="2")
        leader = min(web.members(), key=lambda process: process.create_time())
        count = wait(lambda: (n := len(leader.children())) == 2 and n, 3) or len(leader.children())
        what = f"WEB_CONCURRENCY=2 gives {count} processes"
        demand(count == 2, FACTOR, what, "leave the number of processes to the environment", web.tail)
    if "WEB_THREADS" in documented():
        count = at_once(place.web(WEB_CONCURRENCY="1", WEB_THREADS="3"), tmp_path / "requests", 6)
        what = f"WEB_THREADS=3 lets one process answer {count} requests at the same time"
        demand(count == 3, FACTOR, what, "leave the number of threads to the environment")


def test_workers_share_the_tasks_and_the_web_process_runs_none(deploy, tmp_path):
    place = deploy()
    web = place.web()
    enqueue = "from tests.factors import work\nfor name in 'abcdefgh':\n    work.enqueue('meet', {!r}, name, {}, {})"
    web.ask(enqueue.format(str(tmp_path), 2, SECONDS))
    wait((tmp_path / "runs").exists, 2.5)
    what = "the web process runs tasks"
    demand(not (tmp_path / "runs").exists(), FACTOR, what, "leave tasks to the worker process", web.tail)
    workers = [place.worker(work.OPTIONS) for _ in range(2)]
    runs = lambda: [line.split() for line in (tmp_path / "runs").read_text().splitlines()]  # noqa: E731
    wait(
        lambda: (
            ((tmp_path / "runs").exists() and len(runs()) >= 8)
            or any(each.popen.poll() is not None for each in workers)
        )
    )
    for worker in workers:
        what = f"a second worker does not run beside the first: one ended with exit code {worker.popen.poll()}"
        demand(worker.popen.poll() is None, FACTOR, what, "let any number of workers run", worker.tail)
    demand(
        (tmp_path / "runs").exists(), FACTOR, "the worker process runs no task", "read what it says", workers[0].tail
    )
    names, pids = zip(*runs(), strict=True)
    demand(len(names) >= 8, FACTOR, "two workers do not do eight tasks in time", "read what they say", workers[0].tail)
    demand(
        len(set(names)) == len(names), FACTOR, f"tasks were done twice: {sorted(names)}", "lock a task that is taken"
    )
    demand(len(set(pids)) > 1, FACTOR, "two workers run, and one did all the tasks", "let each take one at a time")


def test_no_process_writes_a_pid_file(day):
    files = "; ".join(day.of(FACTOR).values())
    demand(not files, FACTOR, f"a PID file: {files}", "leave the management of processes to the platform")
