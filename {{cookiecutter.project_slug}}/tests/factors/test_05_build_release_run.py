"""V. Build, release, run: three stages that do not mix: https://12factor.net/build-release-run.

Tested: the build collects static files without a real secret, a database or the network; the release migrates; the
processes that run migrate nothing and build nothing, and they work when they may not write to the code.
Not testable here: that releases are numbered and kept, which is the platform's part.
"""

import ctypes
import os
import re
import shlex
import shutil
import sys
import time
from pathlib import Path

import pytest
from django.conf import settings

from tests.factors.day import read_notes, watched
from tests.factors.processes import PROJECT, procfile, wait
from tests.factors.source import committed

FACTOR = "V Build, release, run"

# The tables that the processes found or made; once the release is done, the migrations that it left out.
LOOK = """
import pathlib, time
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
place = pathlib.Path({place!r})
(place / "tables").write_text(" ".join(connection.introspection.table_names()))
(place / "tables").rename(place / "found")
while not (place / "released").exists():
    time.sleep(0.05)
connection.close()
executor = MigrationExecutor(connection)
answer([str(step[0]) for step in executor.migration_plan(executor.loader.graph.leaf_nodes())])
"""


def test_the_build_needs_no_secret_no_database_and_no_network(build):
    assert not build.used, f"{FACTOR}: the build needs a database or the network: {'; '.join(build.used)}"
    assert not build.problem, f"{FACTOR}: the build does not work without a secret or a database: {build.problem}"
    files = [path for path in settings_root(build.code).rglob("*") if path.is_file()]
    assert files, f"{FACTOR}: the build collected no static files"


def settings_root(code: Path) -> Path:
    """Return where a copy of the project collects static files."""
    return code / Path(settings.STATIC_ROOT).relative_to(PROJECT)


def test_the_release_migrates_and_running_does_not(deploy, databases, tmp_path):
    databases.migrated()
    if databases.elsewhere:
        pytest.skip(f"DATABASE_URL does not say where tables go, they are in {databases.elsewhere}: see IV")
    place = deploy(database=databases.empty())
    web, worker = place.start(place.command("web")), place.start(place.command("worker"))
    place.ready(web)
    web.get("/")
    wait(lambda: worker.stdout or worker.popen.poll() is not None, 10)
    pending = place.asking(LOOK.format(place=str(tmp_path)))
    wait((tmp_path / "found").exists)
    tables = (tmp_path / "found").read_text().split() if (tmp_path / "found").exists() else []
    assert not tables, f"{FACTOR}: starting the processes made tables, which is the release's part: {tables[:3]}"

    release = place.run(place.command("release"))
    assert release.returncode == 0, f"{FACTOR}: the release fails: {release.stdout}{release.stderr}"
    (tmp_path / "released").touch()
    left = pending()
    assert not left, f"{FACTOR}: the release of the Procfile leaves migrations unapplied: {left}"


OTHER_STAGES = re.compile(
    r"\b(migrate|makemigrations|collectstatic|compilemessages|compress|uv sync|uv run|uv pip|pip3? install|npm|yarn"
    r"|make|git (pull|checkout|fetch)|docker build)\b"
)


def test_the_commands_that_run_do_nothing_else():
    found = [
        f"{process} does `{match[0]}`"
        for process, command in procfile().items()
        if process != "release" and (match := OTHER_STAGES.search(command))
    ]
    assert not found, f"{FACTOR}: the Procfile mixes the stages: {', '.join(found)}"


def test_running_writes_no_code(day):
    assert not day.of("V"), f"{FACTOR}: code and static files are the build's, but {day.of('V')}"


# Becomes a command that not even root's permissions let write where the mode forbids it.
# https://man7.org/linux/man-pages/man7/capabilities.7.html
DROP = """
import ctypes, os, sys
PR_CAPBSET_DROP = 24
for capability in (0, 1, 2, 3):  # chown, DAC override, DAC read search, fowner
    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""


def test_it_runs_where_the_code_is_read_only(deploy, built, tmp_path):
    place = deploy(code=Path(shutil.copytree(built, tmp_path / "code", symlinks=True)))
    for path in [place.code, *place.code.rglob("*")]:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~0o222)
    powerless = ""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        script = tmp_path / "drop.py"
        script.write_text(DROP)
        powerless = f"exec {shlex.join([sys.executable, str(script)])} sh -c "
    try:
        tried = place.run(powerless + shlex.quote("touch new-file") if powerless else "touch new-file")
        if tried.returncode == 0 or not hasattr(ctypes.CDLL(None), "prctl"):
            pytest.skip("needs a user without the power to write everywhere, or Linux")
        command = place.command("web")
        web = place.start(powerless + shlex.quote(command) if powerless else command, **watched(place))
        problem = web.wait_until_ready()
        ready = time.time()
        status = 0 if problem else web.get("/").status
    finally:
        for path in [place.code, *place.code.rglob("*")]:
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)
    attempts = [
        note
        for note in read_notes(place.root / "notes")
        if note["event"] == "write"
        and Path(note["target"]).is_relative_to(place.code)
        and "__pycache__" not in note["target"]
    ]
    if (problem or status >= 400) and attempts and all(others(note, place.code, ready) for note in attempts):
        names = ", ".join(sorted({Path(note["target"]).name for note in attempts}))
        pytest.skip(f"what stops it here is the matter of I, VI, VIII or XI: it writes {names}")
    wrote = (
        f": {'; '.join({(note['by'] or 'a library') + ' writes ' + note['target'] for note in attempts})}"
        if attempts
        else ""
    )
    assert not problem, f"{FACTOR}: on read-only code {problem}{wrote}\n{web.output}"
    assert status == 200, f"{FACTOR}: on read-only code the first page answers {status}{wrote}\n{web.output}"


def others(note: dict, code: Path, ready: float) -> bool:
    """Tell whether a write to the code is what another factor is about: a log, a session, a tracked file."""
    here = Path(note["target"]).relative_to(code)
    if here.parts[0] == "staticfiles" or here.suffix in (".py", ".html", ".css", ".js"):
        return False
    state = ("log" in str(here).lower(), here.suffix == ".pid", here in committed(), note["logs"])
    return any(state) or note["time"] > ready
