"""I. Codebase: one repository, of which one commit runs everywhere: https://12factor.net/codebase.

Tested: a clone of what git holds, and of nothing else, runs as development, staging and production at the same time,
told apart by their environments alone; running changes nothing that git tracks; no code comes from elsewhere.
Not testable here: that all deploys really come from this repository, and that there is no second one.
"""

import os
import sysconfig
from pathlib import Path

from tests.factors.day import strangers
from tests.factors.deploy import PROJECT, PYPROJECT, Factor, example

FACTOR = Factor("I Codebase")


def test_one_commit_runs_as_three_deploys_at_once(deploy):
    development = {name: value for name, value in example().items() if name not in ("DATABASE_URL", "PORT")}
    hosts = ["localhost", "staging.example.com", "www.example.com"]
    environments = [development, {"ALLOWED_HOSTS": hosts[1]}, {"ALLOWED_HOSTS": hosts[2]}]
    webs = [deploy(own_code=True, **each).web() for each in environments]
    answers = [[host for host in hosts if web.get("/", Host=host).status != 400] for web in webs]
    what = f"one commit does not become three deploys by its environment alone, they answer to {answers}"
    FACTOR.demand(answers == [[host] for host in hosts], what, "read ALLOWED_HOSTS from the environment")


def test_running_changes_no_tracked_file_and_needs_no_other(day):
    changed, needed = day.of(FACTOR), strangers(day.events(), day.place, FACTOR)
    what = f"a file of the commit changed while the processes ran: {'; '.join(changed.values())}"
    FACTOR.demand(not changed, what, "keep what changes in a backing service")
    what = f"git does not hold what the processes read: {'; '.join(needed.values())}"
    FACTOR.demand(not needed, what, "commit it, or keep it in a backing service")


def test_no_code_comes_from_elsewhere(day):
    environment = Path(day.place.environment["PATH"].partition(os.pathsep)[0]).parent
    allowed = [
        day.place.code,
        environment,
        Path(__file__).parent,
        *(Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib")),
    ]
    allowed = [path.resolve() for path in allowed]
    files = {name: Path(file).resolve() for name, file in day.modules.items() if file}
    outside = {name: str(file) for name, file in files.items() if not any(map(file.is_relative_to, allowed))}
    for name, source in PYPROJECT.get("tool", {}).get("uv", {}).get("sources", {}).items():
        path = (PROJECT / source.get("path", ".")).resolve() if isinstance(source, dict) else PROJECT
        outside |= {} if path.is_relative_to(PROJECT) else {name: str(path)}
    what = f"code comes from outside of the repository: {outside}"
    FACTOR.demand(not outside, what, "make it a part of the repository, or a dependency with a version")
