"""IX. Disposability: fast to start, graceful to stop, robust against sudden death: https://12factor.net/disposability.

Tested: the web process answers within seconds; on SIGTERM the request in flight is answered and the running task is
finished, and the process ends by itself with exit code 0; after a SIGKILL, in the middle of both, the same commands
start again in the same place, nothing is corrupt, and the interrupted task is done.
Not testable here: a machine that loses its disk, which is the backing service's part.
"""

import shlex
import socket
import sys
import time
from contextlib import suppress

from tests.factors.day import enqueue
from tests.factors.processes import SECONDS, Process, wait

FACTOR = "IX Disposability"

# A second or so on a quiet machine; 12factor.net says "a few".
SECONDS_TO_START = 6.0
SECONDS_TO_STOP = 10.0

# A form's token is as good as the cookie's when both are the same 32 characters.
TOKEN = "a" * 32
FORM = f"csrfmiddlewaretoken={TOKEN}".encode()


def begin_request(web: Process) -> socket.socket:
    """Send a form but for its end; return when the application waits for the rest."""
    connection = socket.create_connection(("127.0.0.1", int(web.environment["PORT"])), timeout=SECONDS)
    headers = [
        "POST / HTTP/1.1",
        "Host: localhost",
        "X-Forwarded-Proto: https",
        "Referer: https://localhost/",
        f"Cookie: csrftoken={TOKEN}",
        "Content-Type: application/x-www-form-urlencoded",
        f"Content-Length: {len(FORM)}",
        "Connection: close",
        "Expect: 100-continue",  # gunicorn answers it when it hands the request to the application
    ]
    connection.sendall("\r\n".join(headers).encode() + b"\r\n\r\n")
    assert b"100 Continue" in connection.recv(1000), f"{FACTOR}: the web process does not take a request: see VII"
    connection.sendall(FORM[:10])
    return connection


def test_the_web_process_starts_within_seconds(day, deploy):
    took = day.web.seconds_to_start
    limit = SECONDS_TO_START
    if took > limit:  # on a machine that is busy with something else everything takes longer: how much?
        place = deploy()
        begun = time.monotonic()
        place.run(shlex.join([sys.executable, "-c", "import django.contrib.admin, gunicorn.app.wsgiapp"]))
        limit += 3 * (time.monotonic() - begun)
        took = place.web().seconds_to_start
    assert took < limit, f"{FACTOR}: the web process takes {took:.1f} s to start"


def test_a_request_in_flight_is_answered_after_sigterm(deploy):
    place = deploy()
    web = place.web()
    connection = begin_request(web)
    with connection:
        lines = len(web.stdout)
        web.terminate()
        wait(lambda: len(web.stdout) > lines or web.popen.poll() is not None, 2)  # it has noticed
        answer = b""
        with suppress(OSError):
            connection.sendall(FORM[10:])
            answer = connection.recv(1000)
    assert answer.startswith(b"HTTP/1.1 200"), (
        f"{FACTOR}: SIGTERM cut off the request in flight, it got {answer[:50] or 'no answer'}\n{web.output}"
    )
    ended = wait(lambda: web.ended, SECONDS_TO_STOP)
    assert ended, f"{FACTOR}: the web process ignores SIGTERM: it runs {SECONDS_TO_STOP:.0f} s later\n{web.output}"
    assert web.code == 0, f"{FACTOR}: the web process ends with exit code {web.code} on SIGTERM\n{web.output}"


def test_a_running_task_is_finished_after_sigterm(deploy, tmp_path):
    place = deploy()
    enqueue(place, ("pause", [str(tmp_path), SECONDS]))
    worker = place.start(place.command("worker"))
    started = wait((tmp_path / "started").exists)
    assert started, f"{FACTOR}: the worker process runs no task: see VIII Concurrency\n{worker.output}"
    worker.terminate()
    (tmp_path / "go").touch()
    ended = wait(lambda: worker.ended, SECONDS_TO_STOP)
    assert (tmp_path / "finished").exists(), f"{FACTOR}: SIGTERM cut off the running task\n{worker.output}"
    assert ended, f"{FACTOR}: the worker process ignores SIGTERM: it runs {SECONDS_TO_STOP:.0f} s later"
    assert worker.code == 0, (
        f"{FACTOR}: the worker process ends with exit code {worker.code} on SIGTERM\n{worker.output}"
    )


INTACT = """
from django.contrib.auth import get_user_model
from django.db import connection
damage = []
if connection.vendor == "sqlite":
    with connection.cursor() as cursor:
        damage = [row[0] for row in cursor.execute("PRAGMA integrity_check") if row[0] != "ok"]
answer(damage or (["the user is gone"] if not get_user_model().objects.exists() else []))
"""


def test_nothing_needs_repair_after_sigkill(deploy, tmp_path):
    place = deploy()
    enqueue(place, ("pause", [str(tmp_path), SECONDS]))
    worker_command = place.command("worker")
    # The worker of this project takes how soon it is missed; one that does not is asked without.
    quick = f"{worker_command} --beat 0.2 --dead 1"
    worker, web = place.start(quick), place.web()
    started = wait(lambda: (tmp_path / "started").exists() or worker.popen.poll() is not None)
    if worker.popen.poll() == 2:
        quick = worker_command
        worker = place.start(quick)
        started = wait((tmp_path / "started").exists)
    assert started, f"{FACTOR}: the worker process runs no task: see VIII\n{worker.output}"
    begin_request(web).close()
    worker.kill()
    web.kill()

    (tmp_path / "go").touch()
    again = place.start(place.command("web"), PORT=web.environment["PORT"])
    problem = again.wait_until_ready()
    assert not problem, (
        f"{FACTOR}: after a SIGKILL the next start of the web process needs a repair: {problem}\n{again.output}"
    )
    status = again.get("/").status
    assert status == 200, f"{FACTOR}: after a SIGKILL the web process answers {status}\n{again.output}"
    worker = place.start(quick)
    finished = wait((tmp_path / "finished").exists)
    assert finished, f"{FACTOR}: a task whose worker got a SIGKILL is lost\n{worker.output}"
    damage = place.ask(INTACT)
    assert not damage, f"{FACTOR}: a SIGKILL left the database damaged: {damage}"
