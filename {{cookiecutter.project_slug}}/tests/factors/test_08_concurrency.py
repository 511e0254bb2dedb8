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
ENQUEUE = (
    "from tests.factors import work\nfor name in 'abcdefgh':\n    work.enqueue('meet', directory, name, 2, seconds)"
)


def settled(count):
    """Return a number once it is not 0 and stays the same."""
    last = -1
    while last != (last := count()) or not last:
        time.sleep(0.7)
    return last


def test_the_environment_says_how_many_processes_and_threads_there_are(deploy, tmp_path):
    place, found = deploy(), {}
    web = place.web(WEB_CONCURRENCY="2")
    leader = min((each for each in web.members() if each.net_connections("tcp")), key=lambda each: each.create_time())
    found["WEB_CONCURRENCY"] = (2, settled(lambda: len(leader.children())), "processes")
    web = place.web(WEB_CONCURRENCY="1", WEB_THREADS="3")
    with ThreadPoolExecutor(6) as pool:
        pool.map(web.ask, [given(MEET, directory=str(tmp_path))] * 6)
        found["WEB_THREADS"] = (3, settled(lambda: len(list(tmp_path.glob("*-*-*")))), "requests at the same time")
        (tmp_path / "go").touch()
    for name, (wanted, count, what) in found.items():
        same, instead = count == wanted or name not in documented(), "leave the number to the environment"
        FACTOR.demand(same, f"{name}={wanted} gives {count} {what}", instead, web.tail)


def test_workers_share_the_tasks_and_the_web_process_runs_none(deploy, tmp_path):
    place, runs = deploy(), tmp_path / "runs"
    web = place.web()
    web.ask(given(ENQUEUE, directory=str(tmp_path), seconds=SECONDS))
    FACTOR.demand(not wait(runs.exists, 2.5), "the web process runs tasks", "leave them to the worker", web.tail)
    one, other = place.worker(), place.worker()
    done = lambda: [line.split() for line in runs.read_text().splitlines()] if runs.exists() else []  # noqa: E731
    wait(lambda: one.popen.poll() or other.popen.poll() or len(done()) >= 8)
    codes, names = (one.popen.poll(), other.popen.poll()), [name for name, _ in done()]
    what = f"two workers do not share eight tasks: they did {sorted(done())} and ended with {codes}"
    share = codes == (None, None) and sorted(names) == [*"abcdefgh"] and len({pid for _, pid in done()}) == 2
    instead = "let any number of workers run, each take one task at a time, and lock it"
    FACTOR.demand(share, what, instead, f"{one.tail}\n{other.tail}")


def test_no_process_writes_a_pid_file(day):
    files = "; ".join(day.of(FACTOR).values())
    FACTOR.demand(not files, f"a PID file: {files}", "let the platform manage processes")
