"""II. Dependencies: all of them declared, none taken from the system: https://12factor.net/dependencies.

Tested: in an environment made of uv.lock alone, without development's dependencies, a day passes with nothing more on
PATH but `sh`; the project starts no program that is not declared, and nothing starts pip or uv.
Not testable here: an import that another dependency brings (deptry finds it), what a wheel loads from the system.
"""

from pathlib import Path

from tests.factors.deploy import Factor

FACTOR = Factor("II Dependencies")


def test_all_that_is_used_is_declared(day):
    missing = {rest.partition("'")[0] for rest in day.output[0].split("No module named '")[1:]}
    FACTOR.demand(not missing, f"a page imports what no dependency brings: {missing}", "declare it: `uv add`")
    declared, found = {path.name for path in day.python.parent.iterdir()}, {}
    for event in day.release.events("program") + day.events("program"):
        words = event["target"].removeprefix("/bin/sh -c ").split()
        name = Path(words[0]).name
        if {"pip", "pip3", "uv", "ensurepip"} & {name, *words[1:3]} or (event["direct"] and name not in declared):
            found[name] = f"{event['by'] or 'a library'} starts {event['target']}"
    if day.worker.popen.returncode == 127:  # the shell says: honcho: not found
        found[day.worker.tail.split(": ")[-2]] = f"`{day.worker.command}` starts it"
    what, instead = "a program of the system is no declared dependency", "use a library that pyproject.toml declares"
    FACTOR.allow_only("programs", found, what, instead)
