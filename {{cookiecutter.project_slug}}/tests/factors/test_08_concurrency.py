"""VIII. Concurrency: scale out by processes of each type: https://12factor.net/concurrency.

Tested: honcho runs two web and two worker processes of the Procfile side by side; the web processes answer on ports
of their own; the workers share the tasks, and none is done twice; a web process runs as many workers of its own as
WEB_CONCURRENCY says; nothing daemonizes or writes a PID file.
Not testable here: that the backing services carry the load of many processes.
"""

import ast
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.factors.day import enqueue
from tests.factors.processes import SECONDS, free_ports, listening, request, wait, with_home
from tests.factors.source import dotted, modules

FACTOR = "VIII Concurrency"

STATES = """
from django_tasks_db.models import DBTaskResult
answer(list(DBTaskResult.objects.values_list("status", flat=True)))
"""


def answers(port: int) -> bool:
    """Tell whether something answers."""
    try:
        return request(port, "GET", "/livez").status == 200
    except OSError:
        return False


def port_of(pid: int, port: int) -> bool:
    """Tell whether a process listens on a port."""
    return any(number == port for _, number in listening([pid]))


def test_processes_of_each_type_work_side_by_side(deploy, tmp_path):
    honcho = Path(sys.executable).with_name("honcho")
    if not honcho.exists() and not shutil.which("honcho"):
        pytest.skip("needs honcho")
    place = deploy()
    # The first two wait for each other, which one worker alone cannot do; the others show whether any is done twice.
    tasks = [[str(tmp_path), f"task{number}", 2 if number < 2 else 1, SECONDS] for number in range(8)]
    enqueue(place, *(("meet", arguments) for arguments in tasks))
    base = free_ports(2)
    formation = place.start(
        f"honcho start -f Procfile -e {tmp_path}/none -p {base} -c web=2,worker=2,release=0", WEB_CONCURRENCY="2"
    )

    def alive_until(condition: Callable[[], object], seconds: float = SECONDS) -> bool:
        """Wait while the formation runs: when one of its processes ends, honcho ends all others."""
        met = wait(lambda: formation.popen.poll() is not None or condition(), seconds)
        ended = formation.popen.poll() is not None
        assert not ended, f"{FACTOR}: a process of the formation ended, and with it all:\n{formation.output}"
        return bool(met)

    up = alive_until(lambda: answers(base) and answers(base + 1))
    assert up, f"{FACTOR}: two web processes do not answer side by side: see VII Port binding\n{formation.output}"
    home = place.environment["HOME"]
    if with_home(home):  # Linux: the processes that share a port are gunicorn's own and those that it was told to run
        count = alive_until(lambda: len([pid for pid in with_home(home) if port_of(pid, base)]) > 2, 5)
        assert count, f"{FACTOR}: WEB_CONCURRENCY=2 does not give two processes on one port: the code decides it"
    runs = tmp_path / "runs"
    done = alive_until(lambda: runs.exists() and len(runs.read_text().splitlines()) >= len(tasks))
    assert done, f"{FACTOR}: two workers did not do {len(tasks)} tasks within {SECONDS:.0f} s:\n{formation.output}"
    lines = [line.split() for line in runs.read_text().splitlines()]
    finished = wait(lambda: set(place.ask(STATES)) == {"SUCCESSFUL"}, 5)
    names = [line[0] for line in [line.split() for line in runs.read_text().splitlines()]]
    twice = sorted({name for name in names if names.count(name) > 1})
    assert not twice, f"{FACTOR}: two workers did the same tasks: {', '.join(twice)}"
    assert len({pid for _, pid in lines}) == 2, f"{FACTOR}: two workers run, and one did all the tasks"
    assert finished, f"{FACTOR}: tasks were begun and not finished:\n{formation.output}"


def test_no_process_writes_a_pid_file_or_becomes_a_daemon(day):
    assert not day.of("VIII"), f"{FACTOR}: the platform manages processes, no PID file does: {day.of('VIII')}"


BACKGROUND = {"Thread", "Timer", "Process", "ThreadPoolExecutor", "ProcessPoolExecutor", "Pool", "BackgroundScheduler"}


def test_no_work_hides_in_a_process_of_another_type():
    found = []
    for path, tree in modules():
        inside = {id(part) for node in ast.walk(tree) if is_called_later(node) for part in ast.walk(node)}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or id(node) in inside:
                continue
            if dotted(node.func).rpartition(".")[2] in BACKGROUND:
                found.append(f"{path}:{node.lineno} starts {ast.unparse(node)[:60]}")
    assert not found, f"{FACTOR}: each process that loads the code would do this again, not a process type: {found}"


def is_called_later(node: ast.AST) -> bool:
    """Tell whether loading the project does not run what is in here."""
    function = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
    return function and getattr(node, "name", "") != "ready"
