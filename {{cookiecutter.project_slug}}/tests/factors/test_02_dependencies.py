"""II. Dependencies: all of them declared, none taken from the system: https://12factor.net/dependencies.

Tested: in an environment made of uv.lock alone, without the development group, every module of the project can be
imported and a day passes, with nothing on PATH but that environment's programs and `sh`; no line of the project starts
a program that is not declared, and nothing starts pip or uv.
Not testable here: an import that another distribution happens to bring (deptry finds it), a C library that a wheel
loads from the system, and a program in code that the day does not run.
"""

import sys
from pathlib import Path

import pytest

from tests.factors.day import tops
from tests.factors.deploy import PYPROJECT, allow_only, demand, held

FACTOR = "II Dependencies"
IMPORT = """
import importlib
failed = {{}}
for name in {names!r}:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        failed[name] = error.name
    except Exception:
        pass
answer(failed)
"""


def is_of_production(path: Path) -> bool:
    """Tell whether a module is there for more than tests and development; commands are the matter of XII."""
    if path.suffix != ".py" or len(path.parts) < 2 or f"{path.parts[0]}/__init__.py" not in held():
        return False
    return "commands" not in path.parts and not any(part.startswith(("test", "conftest")) for part in path.parts)


def test_every_module_can_be_imported_with_what_is_locked(deploy, lock_alone):
    if isinstance(lock_alone, str):
        pytest.skip(lock_alone)
    files = sorted(path for path in map(Path, held()) if is_of_production(path))
    names = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in files]
    place = deploy()
    failed = place.ask(IMPORT.format(names=names), python=str(lock_alone / "python"))
    missing = {name: module for name, module in failed.items() if module.partition(".")[0] not in tops()}
    what = f"with nothing but what uv.lock holds for production, {missing} cannot be imported"
    demand(not missing, FACTOR, what, "run `uv add` with what is missing")


def test_no_program_of_the_system_is_called(day):
    own = {path.name for path in Path(sys.executable).parent.iterdir()}
    found, installers = {}, set()
    for event in day.release.events("program") + day.events("program"):
        words = event["target"].split()
        words = words[2:] if words[0].endswith("/sh") and words[1:2] == ["-c"] else words
        name = Path(words[0]).name if words else "sh"
        if name in ("pip", "pip3", "uv", "uvx") or {"pip", "ensurepip", "uv"} & set(words[1:3]):
            installers.add(f"{event['by'] or 'a library'} starts {event['target']}")
        elif event["direct"] and name not in own:
            found[name] = f"{event['by']} starts {name}"
    demand(not installers, FACTOR, f"dependencies change while it runs: {installers}", "install them in the build")
    instead = "use a library that pyproject.toml declares"
    allow_only("programs", found, FACTOR, "a program of the system is no declared dependency", instead)


def test_every_dependency_has_a_version():
    loose = [line for line in PYPROJECT["project"]["dependencies"] if not set(line) & set("=<>~@")]
    demand(not loose, FACTOR, f"pyproject.toml takes any version of {', '.join(loose)}", "name one, as in django~=6.1")
