"""TASKS=database: the worker process runs tasks, and none is lost whatever happens to it.

Its rules are tested in the generated project (tests/test_jobs.py). Here are real workers, killed and stopped, on real
databases: all of them where their clients or their locks differ, else one.
"""

import fcntl
import json
import re
import shlex
import signal
import subprocess
import termios
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from deploys import DEPLOY, json_lines, migrate
from generation import Process, Project, copy_project, original, project_python, wait_until
from servers import PASSWORD

Generate = Callable[..., Project]

# Tasks that leave a line in a file, so that a test sees when they run, and how often.
TASKS = '''

import logging, os, time
from pathlib import Path


def note(word):
    with Path(os.environ["NOTES"]).open("a") as notes:
        notes.write(word + "\\n")


@task
def jot(word):
    note(word)


@task
def stay(word):
    """Run until a file named like the word is there."""
    note("began " + word)
    while not Path(os.environ["NOTES"]).with_name(word).exists():
        time.sleep(0.02)
    note("ended " + word)


@task
def chatter(word):
    """Log until a file named like the word is there."""
    note("began " + word)
    while not Path(os.environ["NOTES"]).with_name(word).exists():
        logging.getLogger("chatter").info("x" * 1000)


@task
def fail(*characters):
    raise RuntimeError("broken on purpose " + "".join(map(chr, characters)))
'''

# Runs lines of Python, each a string of JSON on stdin, and prints what they print, as JSON again.
SHELL = """
import contextlib, io, json, sys, traceback, django
django.setup()
from django.db import close_old_connections, connection
from django_tasks_db.models import DBTaskResult as R
from jobs.models import Heartbeat
from jobs.tasks import *
for line in sys.stdin:
    close_old_connections()
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        try:
            exec(json.loads(line))
        except Exception:
            traceback.print_exc(file=printed)
    print(json.dumps(printed.getvalue().strip()), flush=True)
"""

# How long a worker may be silent in these tests, in seconds; it beats six times as often.
DEAD = 2.0


class Queue:
    """A project whose tasks are queued in a database, its workers, and what the tasks noted."""

    def __init__(self, project: Project, url: str) -> None:
        self.project = project
        self.variables = {**DEPLOY, "DATABASE_URL": url, "TASKS": "database", "DATABASE_CONN_MAX_AGE": "60"}
        with (project.path / "jobs/tasks.py").open("a") as tasks:
            tasks.write(TASKS)
        self.process: subprocess.Popen[str] | None = None

    def begin(self, directory: Path) -> None:
        """Let tasks note what they do in `directory`."""
        self.directory = directory
        self.notes = directory / "notes"
        self.variables["NOTES"] = str(self.notes)

    def worker(self, *options: str, **variables: str) -> Process:
        """Start a worker, quick to judge."""
        command = f"python manage.py worker --interval=0.05 --dead={DEAD}"
        return self.project.start(*command.split(), *options, **self.variables | variables)

    def shell(self, code: str) -> str:
        """Run code in a process of the project, the same each time; return what it prints."""
        if self.process is None:
            variables = {"DJANGO_SETTINGS_MODULE": "config.settings", **self.variables}
            self.process = subprocess.Popen(
                [self.project.virtual_environment / "bin/python", "-c", SHELL],
                cwd=self.project.path,
                env=self.project.environment(**variables),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        self.process.stdin.write(json.dumps(code) + "\n")
        self.process.stdin.flush()
        printed = json.loads(self.process.stdout.readline())
        assert "Traceback" not in printed, printed
        return printed

    def close(self) -> None:
        """End the shell and the workers."""
        self.project.close()
        self.project.processes.clear()
        if self.process:
            self.process.communicate()
            self.process = None

    def words(self) -> list[str]:
        """Return what the tasks noted so far."""
        return self.notes.read_text().splitlines() if self.notes.exists() else []

    def wait_for(self, word: str, times: int = 1, seconds: float = 40) -> None:
        """Return when a task has noted this word so many times."""
        wait_until(
            lambda: self.words().count(word) >= times,
            seconds,
            lambda: (
                f"{word} {times} times in {self.words()}\n"
                + "\n".join(process.output for process in self.project.processes)
            ),
        )

    def let_end(self, word: str) -> None:
        """Let the task `stay(word)` end."""
        (self.directory / word).touch()


@pytest.fixture(scope="module", params=["sqlite", "postgresql", "mariadb"])
def deploy(
    request: pytest.FixtureRequest,
    shared: Path,
    template: Path,
    tmp_path_factory: pytest.TempPathFactory,
    virtual_environment: Callable[[str], Path],
) -> Queue:
    """A project with migrated tables, on each database in turn."""
    url = "sqlite:///db.sqlite3"
    if request.param != "sqlite":
        url = request.getfixturevalue(request.param).create_database()
    place = tmp_path_factory.mktemp(request.param)
    made = Queue(copy_project(original(shared, template), place, virtual_environment(project_python())), url)
    migrate(made.project, **made.variables)
    return made


@pytest.fixture
def queue(deploy: Queue, tmp_path: Path) -> Iterator[Queue]:
    """An empty queue on each database in turn; its processes end with the test."""
    deploy.begin(tmp_path)
    yield deploy
    deploy.shell("R.objects.all().delete(); Heartbeat.objects.all().delete()")
    deploy.close()


def on(*databases: str) -> pytest.MarkDecorator:
    """Run a test on these databases only."""
    return pytest.mark.parametrize("deploy", databases, indirect=True)


@on("postgresql")
def test_a_worker_finishes_its_task_however_often_it_is_told_to_stop(queue):
    worker = queue.worker()
    queue.shell("stay.enqueue('one'); jot.enqueue('two')")
    queue.wait_for("began one")
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        worker.popen.send_signal(number)
        time.sleep(0.1)  # two pending signals of one kind would arrive as one
    with pytest.raises(subprocess.TimeoutExpired):
        worker.popen.wait(0.5)
    queue.let_end("one")
    assert worker.wait() == 0, worker.output
    assert queue.words() == ["began one", "ended one"]
    assert queue.shell("print(R.objects.get(status='SUCCESSFUL').task_name)") == "stay"
    assert "Traceback" not in worker.output
    (line,) = json_lines(worker.stdout, logger="jobs.worker")
    assert line["message"] == "stopped by a signal"


@on("sqlite")
def test_a_signal_while_a_log_line_is_written_stops_the_worker_without_a_traceback(queue):
    command = [queue.project.virtual_environment / "bin/python", "manage.py", "worker", "--interval=0.05"]
    with subprocess.Popen(
        command,
        cwd=queue.project.path,
        env=queue.project.environment(**queue.variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as worker:
        try:
            queue.shell("chatter.enqueue('one')")
            queue.wait_for("began one")

            def unread() -> bytes:
                return fcntl.ioctl(worker.stdout, termios.FIONREAD, b"\0" * 4)

            def pipe_is_full() -> bool:
                before = unread()
                time.sleep(0.3)
                return unread() == before

            wait_until(pipe_is_full, 20, lambda: "a full pipe")
            worker.send_signal(signal.SIGTERM)
            time.sleep(0.3)  # the handler runs, within the line that is being written
            queue.let_end("one")
            stdout, stderr = worker.communicate(timeout=20)
        finally:
            worker.kill()
    assert worker.returncode == 0
    assert stderr == ""
    assert "stopped by a signal" in stdout


@on("postgresql")
def test_an_idle_worker_stops_at_once(queue):
    for number in (signal.SIGTERM, signal.SIGINT):
        worker = queue.worker()
        worker.wait_for("Starting worker")
        assert worker.stop(number, seconds=10) == 0, worker.output
        assert "Traceback" not in worker.output
    assert queue.shell("print(Heartbeat.objects.count())") == "0"


def test_the_task_of_a_killed_worker_runs_again_and_a_long_one_is_left_alone(queue):
    first, second = queue.worker(), queue.worker()
    queue.shell("stay.enqueue('one'); stay.enqueue('two')")
    queue.wait_for("began one")
    queue.wait_for("began two")
    first.stop(signal.SIGKILL)
    third = queue.worker()
    found = wait_until(
        lambda: next((w for w in ("one", "two") if queue.words().count(f"began {w}") == 2), ""),
        30,
        lambda: f"{queue.words()}\n{second.output}\n{third.output}",
    )
    other = "two" if found == "one" else "one"
    for word in ("one", "two"):
        queue.let_end(word)
        queue.wait_for(f"ended {word}")
    assert second.stop() == 0
    assert third.stop() == 0
    # Any living worker says so, the one that is busy with the other task included.
    said = re.findall(r"Task id=\S+ path=jobs.tasks.stay lost its worker: queued again", second.output + third.output)
    assert len(said) == 1, second.output + third.output
    # The other ran longer than a worker may be silent, on one that was not.
    assert queue.words().count(f"began {other}") == 1
    assert sorted(w for w in queue.words() if w.startswith("ended")) == ["ended one", "ended two"]
    assert queue.shell("print(R.objects.successful().count())") == "2"


@pytest.mark.slow
@on("postgresql")
def test_a_task_that_kills_its_workers_fails_at_the_third(queue):
    queue.shell("stay.enqueue('one')")
    for number in range(1, 4):
        worker = queue.worker()
        queue.wait_for("began one", number)
        worker.stop(signal.SIGKILL)
    last = queue.worker()
    last.wait_for("path=jobs.tasks.stay lost 3 workers: failed")
    (line,) = [e for e in json_lines(last.stdout, logger="jobs.worker") if "lost" in e["message"]]
    assert line["level"] == "ERROR"
    assert queue.words() == ["began one"] * 3
    assert queue.shell("print(R.objects.get().status)") == "FAILED"
    queue.shell("jot.enqueue('two')")
    queue.wait_for("two")


def test_three_workers_run_each_of_two_hundred_tasks_once(queue):
    workers = [queue.worker() for _ in range(3)]
    queue.shell("[jot.enqueue(str(number)) for number in range(200)]")
    wait_until(
        lambda: len(set(queue.words())) == 200,
        120,
        lambda: f"{len(queue.words())}\n" + "\n".join(w.output[-2000:] for w in workers),
    )
    assert [worker.stop() for worker in workers] == [0, 0, 0]
    assert Counter(queue.words()) == {str(number): 1 for number in range(200)}
    assert queue.shell("print(R.objects.successful().count())") == "200"
    assert all("Traceback" not in worker.output for worker in workers)


@on("sqlite")
def test_a_failed_task_is_one_line_with_its_traceback(queue):
    worker = queue.worker()
    queue.shell("fail.enqueue(); jot.enqueue('next')")
    queue.wait_for("next")
    assert worker.stop() == 0
    (line,) = [e for e in json_lines(worker.stdout, level="ERROR")]
    assert "path=jobs.tasks.fail state=FAILED" in line["message"]
    assert "RuntimeError: broken on purpose" in line["exc_info"]
    assert worker.stderr == []


@on("postgresql")
def test_tasks_that_end_in_unspeakable_ways_fail_and_their_worker_goes_on(queue):
    # Half of a surrogate pair, a byte that was no UTF-8, a NUL; what they leave in the table and in the log is text.
    worker = queue.worker(LOG_FORMAT="text")
    queue.shell("fail.enqueue(0xD800); fail.enqueue(0xDC80); fail.enqueue(0); jot.enqueue('next')")
    queue.wait_for("next")
    assert worker.stop() == 0, worker.output
    assert queue.shell("print(R.objects.failed().count())") == "3"
    assert queue.shell("print(R.objects.filter(traceback__contains='broken on purpose').count())") == "3"
    assert worker.output.count("RuntimeError: broken on purpose") == 3
    assert "Logging error" not in worker.output


@on("sqlite")
def test_a_mistake_in_the_schema_is_no_outage(queue):
    worker = queue.worker()
    worker.wait_for("Starting worker")
    rename = "connection.cursor().execute('ALTER TABLE ' + R._meta.db_table + ' RENAME COLUMN {} TO {}')"
    queue.shell(rename.format("priority", "importance"))
    try:
        worker.wait_for("the worker failed, next try in 2 s: OperationalError: no such column")
    finally:
        queue.shell(rename.format("importance", "priority"))
    queue.shell("jot.enqueue('one')")
    queue.wait_for("one")
    assert worker.stop() == 0


@on("postgresql")
def test_workers_that_were_stopped_together_take_no_task_of_each_other(queue):
    dead = 4.0  # after so many seconds the first rightly takes the second for dead, which a busy machine must not need
    first, second = (queue.worker(f"--dead={dead}") for _ in "ab")
    queue.shell("stay.enqueue('one'); stay.enqueue('two')")
    queue.wait_for("began one")
    queue.wait_for("began two")
    # After so long a life each would judge the other with its next heartbeat.
    lives = [psutil.Process(worker.popen.pid).create_time() for worker in (first, second)]
    wait_until(lambda: time.time() - max(lives) > 2 * dead, 20, lambda: "both live for some time")
    for worker in (first, second):
        worker.popen.send_signal(signal.SIGSTOP)
    queue.shell(
        "from datetime import timedelta\n"
        "for beat in Heartbeat.objects.all(): beat.seen_at -= timedelta(hours=1); beat.save()"
    )
    first.popen.send_signal(signal.SIGCONT)
    first.wait_for("the task of this worker may run twice")
    second.popen.send_signal(signal.SIGCONT)
    second.wait_for("the task of this worker may run twice")
    for word in ("one", "two"):
        queue.let_end(word)
        queue.wait_for(f"ended {word}")
    assert [first.stop(), second.stop()] == [0, 0]
    assert "lost its worker" not in first.output + second.output
    assert Counter(queue.words()) == {"began one": 1, "began two": 1, "ended one": 1, "ended two": 1}


@on("sqlite")
def test_old_results_are_pruned_by_a_command(queue):
    worker = queue.worker()
    queue.shell("jot.enqueue('old'); jot.using(queue_name='other').enqueue('old'); jot.enqueue('new')")
    queue.wait_for("new")
    assert worker.stop() == 0
    queue.shell(
        "from datetime import timedelta\n"
        "for r in R.objects.filter(args_kwargs__args=['old']): r.finished_at -= timedelta(days=15); r.save()"
    )
    readme = (queue.project.path / "README.md").read_text()
    (command,) = re.findall(r"`python (manage.py prune_db_task_results.*?)`", readme)
    pruned = queue.project.run("python", *shlex.split(command), **queue.variables)
    assert pruned.returncode == 0, pruned.stderr
    assert queue.shell("print([r.args_kwargs['args'] for r in R.objects.all()])") == "[['new']]"


@on("sqlite")
def test_without_a_queue_the_worker_says_so_once_and_waits(queue):
    worker = queue.worker(TASKS="immediate")
    worker.wait_for("nothing to do: tasks run in the process that asks for them")
    process = psutil.Process(worker.popen.pid)
    wait_until(lambda: process.status() == psutil.STATUS_SLEEPING, 10, lambda: worker.output)
    assert len(worker.lines) == 1
    assert worker.stop() == 0


def test_a_worker_waits_for_migrations(generate: Generate, tmp_path):
    queue = Queue(generate(), "sqlite:///db.sqlite3")
    queue.begin(tmp_path)
    worker = queue.worker()
    worker.wait_for("migrations are pending: waiting for `python manage.py migrate`")
    migrate(queue.project, **queue.variables)
    queue.shell("jot.enqueue('one')")
    queue.wait_for("one")
    assert worker.stop() == 0
    assert worker.output.count("migrations are pending") == 1
    assert "Traceback" not in worker.output
    queue.close()


@on("postgresql", "mariadb")
def test_a_worker_survives_its_database(queue, request):
    server = request.getfixturevalue(request.node.callspec.params["deploy"])
    idle, busy = queue.worker(), queue.worker()
    queue.shell("stay.enqueue('one')")
    queue.wait_for("began one")
    with server.stopped():
        wait_until(
            lambda: "next try in 2 s" in idle.output + busy.output,
            20,
            lambda: idle.output + busy.output,
        )
    queue.shell("jot.enqueue('two')")
    queue.wait_for("two")
    queue.let_end("one")
    queue.wait_for("ended one")
    wait_until(
        lambda: queue.shell("print(R.objects.successful().count())") == "2",
        40,
        lambda: f"{queue.words()}\n{idle.output}\n{busy.output}",
    )
    for worker in (idle, busy):
        assert worker.stop() == 0, worker.output
        assert "Traceback" not in worker.output
        assert PASSWORD not in worker.output


@on("postgresql", "mariadb")
def test_a_worker_may_start_before_its_database(queue, request):
    server = request.getfixturevalue(request.node.callspec.params["deploy"])
    with server.stopped():
        worker = queue.worker()
        worker.wait_for("next try in 1 s")
    queue.shell("jot.enqueue('one')")
    queue.wait_for("one")
    assert worker.stop() == 0, worker.output
    assert "Traceback" not in worker.output


@on("postgresql")
def test_a_worker_keeps_its_connections(queue, postgresql):
    def connections() -> set[int]:
        with psycopg.connect(queue.variables["DATABASE_URL"]) as connection:
            pids = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            return {pid for (pid,) in pids}

    worker = queue.worker()
    queue.shell("jot.enqueue('one')")
    queue.wait_for("one")
    # The worker's, one for its heartbeats, and this test's shell.
    wait_until(lambda: len(connections()) == 3, 10, lambda: str(connections()))
    first = connections()
    for word in ("two", "three"):
        queue.shell(f"jot.enqueue('{word}')")
        queue.wait_for(word)
        assert connections() == first
    assert worker.stop() == 0
