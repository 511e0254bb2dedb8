"""IX. Disposability: fast to start, graceful to stop, robust against sudden death: https://12factor.net/disposability.

Tested: the web process answers within seconds; on SIGTERM a request that takes three more seconds is answered and a
running task is finished, and both processes end by themselves with exit code 0; after a SIGKILL in the middle of both
the same commands start again in the same place, and the interrupted task is done.
Not testable here: a machine that loses its disk, which is the backing service's part.
"""

import signal
import threading

from tests.factors import work
from tests.factors.deploy import SECONDS, demand, wait

FACTOR = "IX Disposability"
SLOW = "import pathlib, time\npathlib.Path({here!r}).touch()\ntime.sleep(3)\nanswer('answered')"


def begin_request(web, here):
    answers = []
    thread = threading.Thread(target=lambda: answers.append(attempt(web, here)))
    thread.start()
    wait(here.exists)
    return thread, answers


def attempt(web, here):
    try:
        return web.ask(SLOW.format(here=str(here)))
    except OSError as error:
        return error


def test_the_web_process_starts_within_seconds(first_web):
    assert first_web.seconds_to_start  # the first of all; every other test waits for it


def test_what_runs_is_finished_after_sigterm(deploy, tmp_path):
    place = deploy()
    web, worker = place.web(), place.worker(work.OPTIONS)
    place.ask(f"from tests.factors import work\nanswer(work.enqueue('pause', {str(tmp_path)!r}, {SECONDS}))")
    thread, answers = begin_request(web, tmp_path / "asked")
    started = wait((tmp_path / "started").exists, 10)
    demand(started, "VIII Concurrency", "the worker process runs no task", "read what it says", worker.tail)
    for process in (web, worker):
        process.signal(signal.SIGTERM)
    wait(lambda: web.popen.poll() is not None, 0.5)
    web.signal(signal.SIGTERM)  # as impatient people do
    thread.join()
    (tmp_path / "go").touch()
    instead = "leave SIGTERM to gunicorn, with a graceful_timeout that is longer than any request"
    demand(answers == ["answered"], FACTOR, f"SIGTERM cut off a request: {answers}", instead, web.tail)
    codes = [place.finish(process) for process in (web, worker)]
    instead = "let the worker finish its task on SIGTERM"
    demand((tmp_path / "finished").exists(), FACTOR, "SIGTERM cut off the running task", instead, worker.tail)
    for process, code in zip((web, worker), codes, strict=True):
        how = "still runs ten seconds after SIGTERM" if code is None else f"ends with exit code {code} on SIGTERM"
        instead = "end on SIGTERM, with exit code 0, once what runs is finished"
        demand(code == 0, FACTOR, f"`{process.command}` {how}", instead, process.tail)


def test_nothing_needs_repair_after_sigkill(deploy, tmp_path):
    place = deploy()
    web, worker = place.web(), place.worker(f"{work.OPTIONS} {work.IMPATIENT}")
    before = web.get("/").status
    place.ask(f"from tests.factors import work\nanswer(work.enqueue('pause', {str(tmp_path)!r}, {SECONDS}))")
    thread, _ = begin_request(web, tmp_path / "asked")
    started = wait((tmp_path / "started").exists, 10)
    demand(started, "VIII Concurrency", "the worker process runs no task", "read what it says", worker.tail)
    for process in (worker, web):
        place.kill(process)
    thread.join()
    (tmp_path / "go").touch()
    again = place.start(place.command("web"), PORT=web.environment["PORT"])
    worker = place.worker(f"{work.OPTIONS} {work.IMPATIENT}")
    wait(lambda: again.answers() or again.popen.poll() is not None)
    status = again.answers() and again.get("/").status
    what = f"after a SIGKILL the web process answers {status or 'nothing'} and not {before}"
    demand(status == before, FACTOR, what, "leave nothing behind that the next start trips over", again.tail)
    finished = wait((tmp_path / "finished").exists)
    instead = "queue a task again when its worker is gone"
    demand(finished, FACTOR, "a task whose worker got a SIGKILL is lost", instead, worker.tail)
