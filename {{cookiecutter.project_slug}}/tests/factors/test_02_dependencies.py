"""II. Dependencies: all of them declared, none taken from the system: https://12factor.net/dependencies.

Tested: in an environment made of uv.lock alone, without development's dependencies, every module can be imported and a
day passes, with nothing on PATH but that environment's programs and `sh`; the project starts no program that is not
declared, and nothing starts pip or uv.
Not testable here: an import that another dependency happens to bring (deptry finds it), a C library that a wheel loads
from the system, a program in code that the day does not run.
"""

import sys
from pathlib import Path

import pytest

from tests.factors.day import IMPORT
from tests.factors.deploy import Factor, given, modules, own

FACTOR = Factor("II Dependencies")


def test_every_module_can_be_imported_with_what_is_locked(deploy, lock_alone):
    if lock_alone == Path(sys.executable).parent:
        pytest.skip("uv makes no environment here: is there a uv.lock, and did `uv sync` fetch what it holds?")
    names = [name for name in modules() if not any(word in f".{name}" for word in (".test", ".conftest", "commands"))]
    failed = deploy().ask(given(IMPORT, names=names), python=str(lock_alone / "python"))
    missing = {name: module for name, (kind, module) in failed.items() if kind == "ModuleNotFoundError"}
    missing = {name: module for name, module in missing.items() if module.partition(".")[0] not in own()}
    what = f"with nothing but what uv.lock holds for production, modules cannot be imported: {missing}"
    FACTOR.demand(not missing, what, "declare what is missing: `uv add`")


def test_no_program_of_the_system_is_called(day):
    declared, found = {path.name for path in Path(sys.executable).parent.iterdir()}, {}
    for event in day.release.events("program") + day.events("program"):
        words = event["target"].split()
        words = words[2:] if words[0].endswith("/sh") and words[1:2] == ["-c"] else words
        name = Path(words[0]).name
        if {"pip", "pip3", "uv", "ensurepip"} & {name, *words[1:3]} or (event["direct"] and name not in declared):
            found[name] = f"{event['by'] or 'a library'} starts {event['target']}"
    what, instead = "a program of the system is no declared dependency", "use a library that pyproject.toml declares"
    FACTOR.allow_only("programs", found, what, instead)
