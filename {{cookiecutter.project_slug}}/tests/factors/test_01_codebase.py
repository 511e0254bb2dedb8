"""I. Codebase: one repository, of which one commit runs everywhere: https://12factor.net/codebase.

Tested: a clone of what git holds, and of nothing else, runs as development, staging and production at the same time,
told apart by their environments alone; running changes nothing that git tracks.
Not testable here: that all deploys really come from this repository, and that there is no second one.
"""

from tests.factors.day import strangers
from tests.factors.deploy import Factor, example, procfile, wait

FACTOR = Factor("I Codebase")


def test_one_commit_runs_as_three_deploys_at_once(deploy):
    development = {name: value for name, value in example().items() if name not in ("DATABASE_URL", "PORT")}
    hosts = ["localhost", "staging.example.com", "www.example.com"]
    deploys = [development, *({"ALLOWED_HOSTS": host} for host in hosts[1:])]
    webs = [deploy(own_code=True, **variables).start(procfile()["web"]) for variables in deploys]
    start, what = wait(lambda: all(web.answers() for web in webs)), "one commit does not start as three deploys at once"
    FACTOR.demand(start, what, "let their environments decide", "\n".join(web.tail for web in webs))
    answers = [[host for host in hosts if web.get("/", Host=host).status != 400] for web in webs]
    what = f"one commit does not become three deploys by its environment alone, they answer to {answers}"
    FACTOR.demand(answers == [[host] for host in hosts], what, "read ALLOWED_HOSTS from the environment")


def test_running_changes_no_tracked_file_and_needs_no_other(day):
    changed, needed = "; ".join(day.of(FACTOR).values()), strangers(day.events(), day.place, FACTOR)
    missing = {rest.partition("'")[0] for rest in day.output[0].split("Missing staticfiles manifest entry for '")[1:]}
    needed |= {name: f"a page asks for the static file {name}" for name in missing - {"%s"}}
    what = f"a file of the commit changed while the processes ran: {changed}"
    FACTOR.demand(not changed, what, "keep what changes in a backing service")
    what = f"git does not hold what the processes read: {'; '.join(needed.values())}"
    FACTOR.demand(not needed, what, "commit it, or keep it in a backing service")
