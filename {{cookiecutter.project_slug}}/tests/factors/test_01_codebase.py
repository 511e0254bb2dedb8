"""I. Codebase: one repository, of which one commit runs everywhere: https://12factor.net/codebase.

Tested: a clone of what git holds, and of nothing else, runs as development, as staging and as production at the same
time, told apart by their environments alone; running changes nothing that git tracks; no code comes from outside of
the repository and its dependencies.
Not testable here: that all deploys really come from this repository, and that there is no second one.
"""

import sys
import sysconfig
from pathlib import Path

from tests.factors.deploy import PROJECT, PYPROJECT, copy, demand, example

FACTOR = "I Codebase"
LOADED = """
import sys
from django.urls import get_resolver
get_resolver().url_patterns
answer({name: getattr(module, "__file__", None) for name, module in list(sys.modules.items())})
"""


def test_one_commit_runs_as_three_deploys_at_once(deploy, built, tmp_path):
    development = {name: value for name, value in example().items() if name not in ("DATABASE_URL", "PORT")}
    hosts = ["localhost", "staging.example.com", "www.example.com"]
    environments = [development, *({"ALLOWED_HOSTS": host} for host in hosts[1:])]
    places = [deploy(code=copy(built, tmp_path / f"clone{number}"), **each) for number, each in enumerate(environments)]
    webs = [place.web() for place in places]
    answers = [[web.get("/", Host=host).status != 400 for host in hosts] for web in webs]
    what = f"one commit does not become three deploys by its environment alone: {answers}"
    told_apart = answers == [[True, False, False], [False, True, False], [False, False, True]]
    demand(told_apart, FACTOR, what, "read ALLOWED_HOSTS from the environment")


def test_running_changes_no_tracked_file(day):
    changed = day.of(FACTOR).values()
    what = f"a file of the commit changed while the processes ran: {'; '.join(changed) or day.status}"
    demand(not changed and not day.status, FACTOR, what, "keep what changes in a backing service")


def test_a_page_needs_nothing_that_git_does_not_hold(day):
    missing = {event["target"]: event["by"] for event in day.absent()}
    what = f"pages fail without what git does not hold: {missing}"
    demand(not missing, FACTOR, what, "commit it, or keep it in a backing service")


def test_no_code_comes_from_elsewhere(deploy):
    place = deploy()
    libraries = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    allowed = [Path(name).resolve() for name in (place.code, *libraries, Path(__file__).parent, sys.base_prefix)]
    files = {name: Path(file).resolve() for name, file in place.ask(LOADED).items() if file}
    outside = {name: file for name, file in files.items() if not any(file.is_relative_to(each) for each in allowed)}
    what = f"code is imported from outside of the repository: {outside}"
    demand(not outside, FACTOR, what, "make it a part of the repository, or a dependency with a version")
    sources = PYPROJECT.get("tool", {}).get("uv", {}).get("sources", {})
    paths = {name: source["path"] for name, source in sources.items() if isinstance(source, dict) and "path" in source}
    next_door = [name for name, path in paths.items() if not (PROJECT / path).resolve().is_relative_to(PROJECT)]
    demand(not next_door, FACTOR, f"pyproject.toml takes {next_door} from a directory next door", "publish it")
