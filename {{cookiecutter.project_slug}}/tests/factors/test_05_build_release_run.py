"""V. Build, release, run: three stages that do not mix: https://12factor.net/build-release-run.

Tested: the build needs no secret, no database and no network; the release migrates and neither builds nor writes code;
web and worker neither migrate nor build, and write nothing to the code, so that it may be read-only.
Not testable here: that releases are numbered and kept, which is the platform's part.
"""

from tests.factors.deploy import Factor

FACTOR = Factor("V Build, release, run")
BUILD = {"collectstatic", "makemigrations", "makemessages", "compilemessages", "compress"}


def test_the_build_needs_no_secret_no_database_and_no_network(release):
    events = release.build.events("address", "database")
    used = {f"{event['by'] or 'a library'} uses {event['target']}" for event in events}
    what = f"the build needs a database or the network: {'; '.join(used)}"
    FACTOR.demand(not used, what, "ask when a request or a command needs it, not at import")


def test_the_release_migrates_and_the_others_do_not_and_neither_builds(release, day):
    check, what = release.check, "the release leaves migrations out"
    FACTOR.demand(not check.popen.returncode, what, "let it migrate", check.tail)
    written = [event["target"] for event in release.process.events("write") if not event["logs"]]
    written = [name for name in written if name.startswith(f"{release.place.code}/") and ".pyc" not in name]
    FACTOR.demand(not written, f"the release writes to the code: {written}", "do that in the build")
    for process, no_more in ((release.process, set()), (day.web, {"migrate"}), (day.worker, {"migrate"})):
        ran = {event["target"].rpartition(".")[2] for event in process.events("command")} & (BUILD | no_more)
        FACTOR.demand(not ran, f"`{process.command}` runs {', '.join(ran)}", "leave that to the build or the release")
    written = "; ".join(day.of(FACTOR).values())
    FACTOR.demand(not written, f"starting the processes writes to the code: {written}", "do that in the build")
