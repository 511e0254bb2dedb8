"""V. Build, release, run: three stages that do not mix: https://12factor.net/build-release-run.

Tested: the build collects static files without a secret, a database or the network; the release migrates, and neither
builds nor writes code; web and worker change no table and build nothing, and write nothing to the code, so that it may
be read-only.
Not testable here: that releases are numbered and kept, which is the platform's part.
"""

from tests.factors.deploy import Factor, wait

FACTOR = Factor("V Build, release, run")
BUILD = {"collectstatic", "makemigrations", "makemessages", "compilemessages", "compress"}
PENDING = """
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
executor = MigrationExecutor(connection)
answer([str(step[0]) for step in executor.migration_plan(executor.loader.graph.leaf_nodes())])
"""
TABLES = "from django.db import connection\nanswer(connection.introspection.table_names())"


def commands(process):
    return {event["target"].rpartition(".")[2] for event in process.events("command")}


def test_the_build_needs_no_secret_no_database_and_no_network(build):
    used = {f"{event['by'] or 'a library'} uses {event['target']}" for event in build.events("address", "database")}
    what = f"the build needs a database or the network: {'; '.join(used)}"
    FACTOR.demand(not used, what, "ask when a request or a command needs it, not at import")
    FACTOR.demand(not build.popen.returncode, "the build fails", "read what it says", build.tail)


def test_the_release_migrates_and_does_not_build(deploy, databases):
    left = deploy().ask(PENDING)
    FACTOR.demand(not left, f"the release leaves migrations out: {left}", "write `release: python manage.py migrate`")
    release, code = databases.release, f"{databases.place.code}/"
    did = {f"runs {name}" for name in commands(release) & BUILD}
    targets = [event["target"] for event in release.events("write") if not event["logs"]]
    did |= {f"writes {name}" for name in targets if name.startswith(code) and ".pyc" not in name}
    FACTOR.demand(not did, f"the release {', '.join(sorted(did))}", "do that in the build")


def test_running_changes_no_table_and_builds_nothing(deploy, databases, day):
    place = deploy(database=databases.empty())
    web, worker = place.start(place.command("web")), place.worker()
    wait(lambda: web.answers() or web.popen.poll() is not None)
    wait(lambda: worker.printed() or worker.popen.poll() is not None, 5)
    tables = place.ask(TABLES)
    instead = "leave that to the release: `release: python manage.py migrate`"
    FACTOR.demand(not tables, f"starting the processes makes tables: {', '.join(tables[:3])}", instead)
    for process in (day.web, day.worker):
        ran = commands(process) & (BUILD | {"migrate"})
        FACTOR.demand(not ran, f"`{process.command}` runs {', '.join(ran)}", "leave that to the build or the release")
    written = "; ".join(day.of(FACTOR).values())
    FACTOR.demand(not written, f"starting the processes writes to the code: {written}", "do that in the build")
