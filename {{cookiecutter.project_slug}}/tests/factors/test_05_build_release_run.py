"""V. Build, release, run: three stages that do not mix: https://12factor.net/build-release-run.

Tested: the build collects static files without a secret, a database or the network; the release migrates, and neither
writes code nor builds; web and worker change no table and build nothing; they run on read-only code.
Not testable here: that releases are numbered and kept, which is the platform's part.
"""

from pathlib import Path

from tests.factors import work
from tests.factors.deploy import copy, demand, wait

FACTOR = "V Build, release, run"
BUILD = {"collectstatic", "makemigrations", "compilemessages", "makemessages", "compress"}
PENDING = """
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
executor = MigrationExecutor(connection)
answer([str(step[0]) for step in executor.migration_plan(executor.loader.graph.leaf_nodes())])
"""
TABLES = "from django.db import connection\nanswer(connection.introspection.table_names())"


def commands(process, names):
    return sorted({event["target"] for event in process.events("command")} & names)


def test_the_build_needs_no_secret_no_database_and_no_network(build):
    used = {event["by"] or "a library": event["target"] for event in build.events("address", "database")}
    what = f"the build needs a database or the network: {used}"
    demand(not used, FACTOR, what, "ask when a request or a command needs it, not at import")
    demand(build.popen.returncode == 0, FACTOR, "the build fails", "read what it says", build.tail)


def test_the_release_migrates_and_does_nothing_else(deploy, databases):
    left = deploy().ask(PENDING)
    demand(
        not left,
        FACTOR,
        f"the release leaves migrations unapplied: {left}",
        "write `release: python manage.py migrate`",
    )
    built = commands(databases.released, BUILD)
    demand(not built, FACTOR, f"the release runs {built}", "do that in the build, or where you write code")
    code = databases.released.place.code
    events = databases.released.events("write")
    written = {Path(event["target"]).name for event in events if Path(event["target"]).is_relative_to(code)}
    written = {name for name in written if ".pyc" not in name}
    demand(not written, FACTOR, f"the release writes to the code: {written}", "do that in the build")


def test_running_does_not_migrate_and_does_not_build(deploy, databases, day):
    place = deploy(database=databases.empty())
    web, worker = place.start(place.command("web")), place.worker(work.OPTIONS)
    tables = place.asking(TABLES)
    wait(lambda: web.answers() or web.popen.poll() is not None)
    web.popen.poll() is not None or web.get("/")
    wait(lambda: worker.stdout or worker.popen.poll() is not None, 5)
    tables() and None
    made = place.ask(TABLES)
    instead = "leave that to the release: `release: python manage.py migrate`"
    demand(not made, FACTOR, f"starting the processes made tables: {made[:3]}", instead)
    for process in (web, worker, day.web, day.worker):
        ran = commands(process, BUILD | {"migrate"})
        demand(not ran, FACTOR, f"`{process.command}` runs {', '.join(ran)}", "leave that to the build and the release")
    written = "; ".join(day.of(FACTOR).values())
    demand(not written, FACTOR, f"starting the processes writes to the code: {written}", "do that in the build")


def test_it_runs_on_read_only_code(deploy, built, day, tmp_path):
    place = deploy(code=copy(built, tmp_path / "code"))
    web = place.start(place.command("web"), FACTORS_READ_ONLY="1")
    up = wait(lambda: web.answers() or web.popen.poll() is not None) and web.answers()
    known = {file.by for file in day.files if file.factor != FACTOR}
    denied = {event["by"] for event in web.events("write") if Path(event["target"]).is_relative_to(place.code)} - {""}
    if up or denied & known:  # or another factor's matter
        return
    demand(False, FACTOR, f"it does not start on read-only code: {denied} write there", "write in the build", web.tail)
