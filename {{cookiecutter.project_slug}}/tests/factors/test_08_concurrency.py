"""VIII. Concurrency: scale out by processes of each type: https://12factor.net/concurrency.

Tested: WEB_CONCURRENCY and WEB_THREADS say how many processes and threads of each the web process has; the web process
alone runs no task; two workers share the tasks, and none is done twice; nothing writes a PID file or becomes a daemon.
Not testable here: that the backing services carry the load of many processes.
"""

import time
from concurrent.futures import ThreadPoolExecutor

from tests.factors.deploy import SECONDS, Factor, documented, given, wait

FACTOR = Factor("VIII Concurrency")
MEET = """
import pathlib, time, uuid
here, deadline = pathlib.Path(directory), time.monotonic() + 10
(here / str(uuid.uuid4())).touch()
while not (here / "go").exists() and time.monotonic() < deadline:
    time.sleep(0.02)
"""
ENQUEUE = "from tests.factors import work\n[work.enqueue('meet', directory, name, 2, seconds) for name in 'abcdefgh']"


def settled(count, wanted):
    wait(lambda: count() >= wanted, 10)
    time.sleep(0.7)  # in which one too many would appear
    return count()


def test_the_environment_says_how_many_processes_and_threads_there_are(deploy, tmp_path):
    instead = "leave the number to the environment"
    for wanted in (2, 1):
        web = deploy().web(WEB_CONCURRENCY=str(wanted), WEB_THREADS="3")
        count = settled(lambda web=web: max(web.members(lambda each: len(each.children())), default=0), wanted)
        says = count == wanted or "WEB_CONCURRENCY" not in documented()
        FACTOR.demand(says, f"WEB_CONCURRENCY={wanted} gives {count} processes", instead, web.tail)
    with ThreadPoolExecutor(6) as pool:
        pool.map(web.ask, [given(MEET, directory=str(tmp_path))] * 6)
        count = settled(lambda: len(list(tmp_path.glob("*-*-*"))), 3)
        (tmp_path / "go").touch()
    says = count == 3 or "WEB_THREADS" not in documented()
    FACTOR.demand(says, f"WEB_THREADS=3 gives {count} requests at the same time", instead, web.tail)


def test_workers_share_the_tasks_and_the_web_process_runs_none(deploy, day, tmp_path):
    place, runs = deploy(), tmp_path / "runs"
    (web := place.web()).ask(given(ENQUEUE, directory=str(tmp_path), seconds=SECONDS))
    FACTOR.demand(not wait(runs.exists, 2.5), "the web process runs tasks", "leave them to the worker", web.tail)
    one, other = place.worker(), place.worker()
    done = lambda: [line.split() for line in runs.read_text().splitlines()] if runs.exists() else []  # noqa: E731
    wait(lambda: one.popen.poll() or other.popen.poll() or len(done()) >= 8)
    codes, tasks = (one.popen.poll(), other.popen.poll()), sorted(done())
    share = codes == (None, None) and "".join(dict(tasks)) == "abcdefgh" and len(tasks) == 8
    what = f"two workers do not share eight tasks: they did {tasks} and ended with {codes}"
    instead = "let any number of workers run, each take one task at a time, and lock it"
    FACTOR.demand(share and len({pid for _, pid in tasks}) == 2, what, instead, f"{one.tail}\n{other.tail}")
    FACTOR.demand(not day.of(FACTOR), f"a PID file: {day.of(FACTOR)}", "let the platform manage processes")
