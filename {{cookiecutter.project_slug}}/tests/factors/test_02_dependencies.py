"""II. Dependencies: all of them declared, none taken from the system: https://12factor.net/dependencies.

Tested: every import is Python's, the project's or that of a declared distribution; what the running application
loaded is the same and lies in its virtual environment; no system tool is called, by the code or by the Procfile; and
where there is a uv.lock and uv's cache, an environment made of the lock alone runs the project, without network.
Not testable here: C libraries that a wheel loads from the system, and a tool called by a program that we call.
"""

import ast
import functools
import os
import re
import shlex
import shutil
import sys
import sysconfig
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.factors.processes import PROJECT, procfile
from tests.factors.source import dotted, modules

FACTOR = "II Dependencies"
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
SHELL = {"exec", "cd", "export", "set", "test", "[", "true", "false", "echo", "exit", "trap", "wait", ":"}


def normal(name: str) -> str:
    """Return a name as in https://packaging.python.org/en/latest/specifications/name-normalization/."""
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(*groups: str) -> set[str]:
    """Return the distributions that pyproject.toml declares, with those of dependency groups."""
    lines = list(PYPROJECT["project"]["dependencies"])
    for group in groups:
        lines += [line for line in PYPROJECT.get("dependency-groups", {}).get(group, []) if isinstance(line, str)]
    return {normal(Requirement(line).name) for line in lines}


def groups() -> list[str]:
    """Return the names of all dependency groups."""
    return list(PYPROJECT.get("dependency-groups", {}))


@functools.cache
def owners() -> dict[str, list[str]]:
    """Return the distributions of each top-level module that is installed."""
    return {module: [normal(name) for name in names] for module, names in metadata.packages_distributions().items()}


def imports(tree: ast.Module) -> dict[str, int]:
    """Return the top-level modules that a file imports, with the line."""
    found: dict[str, int] = {}
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        elif isinstance(node, ast.Call) and dotted(node.func).rpartition(".")[2] in ("import_module", "__import__"):
            names = [a.value for a in node.args[:1] if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        for name in names:
            found.setdefault(name.partition(".")[0], node.lineno)
    return found


def optional(tree: ast.Module) -> set[str]:
    """Return the modules that a file asks for before it imports them, as find_spec("redis") does."""
    return {
        argument.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and dotted(node.func).rpartition(".")[2] in ("find_spec", "need")
        for argument in node.args[:1]
        if isinstance(argument, ast.Constant)
    }


def is_ours(module: str) -> bool:
    """Tell whether a module is the project's own."""
    return (PROJECT / module).is_dir() or (PROJECT / f"{module}.py").is_file()


@pytest.mark.parametrize("tests", [False, True], ids=["application", "tests"])
def test_every_import_is_declared(tests):
    allowed = declared(*groups()) if tests else declared()
    undeclared = [
        f"{path}:{line} imports {module}"
        for path, tree in modules(tests)
        for module, line in imports(tree).items()
        if module not in sys.stdlib_module_names
        and not is_ours(module)
        and module != "sitecustomize"
        and not allowed & set(owners().get(module, []))
        and module not in optional(tree)
        and not (tests and module == "packaging")  # pytest's own dependency, and how this file reads pyproject.toml
    ]
    where = "dependencies or a group" if tests else "dependencies"
    assert not undeclared, f"{FACTOR}: not declared in the {where} of pyproject.toml: {'; '.join(undeclared)}"


LOADED = """
import sys
from django.conf import settings
from django.urls import get_resolver
get_resolver().url_patterns
answer({name: getattr(module, "__file__", None) for name, module in list(sys.modules.items())})
"""


def closure(names: set[str]) -> set[str]:
    """Return distributions with all that they require, in this environment."""
    found: set[str] = set()
    queue = [(name, frozenset[str]()) for name in names]
    lines = [Requirement(line) for line in PYPROJECT["project"]["dependencies"]]
    queue += [(normal(line.name), frozenset(line.extras)) for line in lines]
    seen = set()
    while queue:
        name, extras = queue.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        found.add(name)
        try:
            requirements = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        for requirement in map(Requirement, requirements):
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras | {""}):
                queue.append((normal(requirement.name), frozenset(requirement.extras)))
    return found


def test_what_runs_is_declared_and_lies_in_the_environment(deploy):
    production = deploy()
    loaded = production.ask(LOADED)
    places = [production.code, *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))]
    places = [Path(place).resolve() for place in places]
    outside = sorted(
        f"{name} from {file}"
        for name, file in loaded.items()
        if file
        and name not in ("__main__", "__mp_main__")
        and not any(Path(file).resolve().is_relative_to(place) for place in places)
    )
    assert not outside, f"{FACTOR}: imported from outside of the environment: {'; '.join(outside)}"
    allowed = closure(declared())
    top = {name.partition(".")[0] for name, file in loaded.items() if file and "site-packages" in file}
    undeclared = sorted(
        f"{module} (of {' or '.join(owners()[module])})"
        for module in top
        if owners().get(module) and not allowed & set(owners()[module])
    )
    assert not undeclared, f"{FACTOR}: loaded, but no dependency of pyproject.toml brings it: {', '.join(undeclared)}"


CALLS = re.compile(
    r"(os\.(system|popen|exec\w+|spawn\w+|posix_spawnp?)|subprocess\.\w+|shutil\.which|ctypes\..*|(.*\.)?(CDLL|find_library)|pty\.spawn|.*create_subprocess_\w+)"
)


def test_the_code_calls_no_system_tool(day):
    called = []
    for path, tree in modules():
        names = {
            alias.asname or alias.name: f"{node.module}.{alias.name}"
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module in ("os", "subprocess", "pty")
            for alias in node.names
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                name = dotted(node.func)
                if CALLS.fullmatch(names.get(name, name)) and not calls_python(node):
                    called.append(f"{path}:{node.lineno} calls {ast.unparse(node)[:80]}")
    called += [f"{note['by']} calls {note['target']}" for note in day.programs if note["by"]]
    assert not called, f"{FACTOR}: a tool of the system is no declared dependency: {'; '.join(called)}"


def calls_python(node: ast.Call) -> bool:
    """Tell whether a program that is started is this Python."""
    return any(dotted(part) == "sys.executable" for argument in node.args[:1] for part in ast.walk(argument))


def test_the_procfile_calls_what_is_installed_by_declaration():
    programs = Path(sys.executable).parent
    missing = []
    scripts = {script.name: normal(script.dist.name) for script in metadata.entry_points(group="console_scripts")}
    allowed = closure(declared())
    for process, command in procfile().items():
        for part in re.split(r"&&|\|\||[;|&]", command):
            words = [word for word in shlex.split(part) if not re.fullmatch(r"\w+=.*", word)]
            words = words[1:] if words[:1] == ["exec"] else words
            if not words or words[0] in SHELL or words[0] == "python":
                continue
            if not (programs / words[0]).exists() or scripts.get(words[0]) not in allowed:
                missing.append(f"{process}: {words[0]}")
    assert not missing, f"{FACTOR}: the Procfile calls what no declared dependency brings: {', '.join(missing)}"


def test_every_dependency_has_a_version():
    lines = [Requirement(line) for line in PYPROJECT["project"]["dependencies"]]
    loose = [line.name for line in lines if not line.specifier and not line.url]
    assert not loose, f"{FACTOR}: pyproject.toml takes any version of {', '.join(loose)}"


def test_an_environment_of_the_lock_alone_runs_it(deploy, tmp_path):
    uv = shutil.which("uv")
    if not uv or not (PROJECT / "uv.lock").exists():
        pytest.skip("needs uv and a uv.lock: `uv run` makes one")
    production = deploy()
    kept = {name: os.environ[name] for name in ("HOME", "UV_CACHE_DIR", "UV_PYTHON_INSTALL_DIR") if name in os.environ}
    where = {"UV_PROJECT_ENVIRONMENT": str(tmp_path / "venv"), "UV_PYTHON_DOWNLOADS": "never", "VIRTUAL_ENV": ""}
    sync = production.run(f"{uv} sync --locked --offline --no-dev --quiet --python {sys.executable}", **kept, **where)
    if "network was disabled" in sync.stderr or "not found in the cache" in sync.stderr:
        pytest.skip("uv's cache does not hold every locked distribution: uv sync")
    assert sync.returncode == 0, f"{FACTOR}: uv.lock does not give an environment: {sync.stderr}"
    path = f"{tmp_path / 'venv' / 'bin'}{os.pathsep}{os.defpath}"
    process = production.start(production.command("web"), PATH=path)
    problem = process.wait_until_ready()
    assert not problem, f"{FACTOR}: with nothing but what uv.lock holds, {problem}:\n{process.output}"
