"""V. Build, release, run: three stages that do not mix: https://12factor.net/build-release-run.

Tested: the build needs no secret, no database and no network; the release migrates and neither builds nor writes code;
web and worker neither migrate nor build, and write nothing to the code, so that it may be read-only.
Not testable here: that releases are numbered and kept, which is the platform's part.
"""

from tests.factors.deploy import Factor

FACTOR = Factor("V Build, release, run")
BUILD = {"collectstatic", "makemigrations", "makemessages", "compilemessages", "compress"}
PENDING = """
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
executor = MigrationExecutor(connection)
answer([str(step[0]) for step in executor.migration_plan(executor.loader.graph.leaf_nodes())])
"""


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


def test_running_does_not_migrate_and_builds_nothing(day):
    for process in (day.web, day.worker):
        ran = commands(process) & (BUILD | {"migrate"})
        FACTOR.demand(not ran, f"`{process.command}` runs {', '.join(ran)}", "leave that to the build or the release")
    written = "; ".join(day.of(FACTOR).values())
    FACTOR.demand(not written, f"starting the processes writes to the code: {written}", "do that in the build")
