"""IX. Disposability: fast to start, graceful to stop, robust against sudden death: https://12factor.net/disposability.

Tested: the web process answers within seconds; on SIGTERM a request of three seconds is answered, a running task is
finished, and both processes end with exit code 0; after a SIGKILL both start again, and the task is done.
Not testable here: a machine that loses its disk, which is the backing service's part.
"""

from concurrent.futures import ThreadPoolExecutor

from tests.factors import work
from tests.factors.deploy import SECONDS, Factor, given, wait

FACTOR = Factor("IX Disposability")
SLOW = "import pathlib, time\npathlib.Path(directory, 'asked').touch()\ntime.sleep(3)\nanswer('answered')"
ENQUEUE = "from tests.factors import work\nwork.enqueue('pause', directory, seconds)"


def begin(place, directory, options=""):
    """Return a web process in the middle of a request, its answer to come, and a worker in the middle of a task."""
    worker, web = place.worker(options), place.web()
    web.ask(given(ENQUEUE, directory=str(directory), seconds=SECONDS))
    started, what = wait((directory / "started").exists, 15), "the worker process runs no task"
    Factor("VIII Concurrency").demand(started, what, "read what it says", worker.tail)
    answer = ThreadPoolExecutor(1).submit(web.ask, given(SLOW, directory=str(directory)))
    wait((directory / "asked").exists)
    return web, answer, worker


def test_what_runs_is_finished_after_sigterm(deploy, tmp_path):
    web, answer, worker = begin(deploy(), tmp_path)
    for process in (web, worker, web):  # platforms send several SIGTERMs
        process.signal(15)
        wait(lambda: web.popen.poll() is not None, 0.3)
    got = answer.exception() or answer.result()
    (tmp_path / "go").touch()
    codes = {process: process.finish() for process in (web, worker)}
    instead = "leave SIGTERM to gunicorn, with a graceful_timeout longer than any request"
    FACTOR.demand(got == "answered", f"SIGTERM cuts off a request: {got!r}", instead, web.tail)
    FACTOR.demand((tmp_path / "finished").exists(), "SIGTERM cuts off a task", "let the worker finish it", worker.tail)
    for process, code in codes.items():
        how = "still runs ten seconds after SIGTERM" if code is None else f"ends with exit code {code} on SIGTERM"
        instead = "finish what runs, and exit with 0; put `exec` before a last command"
        FACTOR.demand(code == 0, f"`{process.command}` {how}", instead, process.tail)


def test_it_starts_within_seconds_and_needs_no_repair_after_sigkill(deploy, tmp_path):
    place = deploy()  # how long the first start takes is looked at in conftest.py
    web, _, worker = begin(place, tmp_path, work.IMPATIENT)
    before = max(499, web.get("/").status)
    worker.close()
    web.close()
    (tmp_path / "go").touch()
    worker, again = place.worker(work.IMPATIENT), place.web(PORT=str(web.port))
    status = again.get("/").status
    FACTOR.demand(status <= before, f"after a SIGKILL it answers {status}", "need no repair to start again", again.tail)
    done = wait((tmp_path / "finished").exists, 60)  # a broker may take half a minute to miss a worker
    FACTOR.demand(done, "a task is lost when its worker gets a SIGKILL", "queue it again", worker.tail)
