"""The project's code as text, for what no behaviour shows."""

import ast
import functools
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.factors.processes import NOT_COPIED, PROJECT, indexed, is_made_by_this_run


@functools.cache
def tracked() -> list[Path]:
    """Return the files of the commit, or what would be if everything were committed; relative to the project."""
    if shutil.which("git"):
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
        if listed.returncode == 0 and listed.stdout:
            names = sorted(set(filter(None, listed.stdout.split("\0"))))
            return [Path(name) for name in names if (PROJECT / name).is_file()]
    skipped = shutil.ignore_patterns(*NOT_COPIED, "__pycache__")
    found = []
    for directory, folders, names in PROJECT.walk():
        ignored = skipped(str(directory), [*folders, *names])
        environments = {name for name in folders if (directory / name / "pyvenv.cfg").exists()}
        folders[:] = [name for name in folders if name not in ignored | environments]
        found += [(directory / name).relative_to(PROJECT) for name in names if name not in ignored]
    return sorted(found)


@functools.cache
def committed() -> set[Path]:
    """Return what git tracks, or where nothing is committed yet, what it would; no file that this test run made."""
    return indexed() or {path for path in tracked() if not is_made_by_this_run(PROJECT / path)}


def is_test(path: Path) -> bool:
    """Tell whether a file belongs to tests."""
    return path.name.startswith("test_") or path.name == "conftest.py" or "tests" in path.parts


@functools.cache
def parsed(path: Path) -> ast.Module:
    """Return the syntax tree of a file."""
    return ast.parse((PROJECT / path).read_text(encoding="utf-8"), str(path))


def modules(tests: bool = False) -> Iterator[tuple[Path, ast.Module]]:
    """Yield the project's Python files, with their syntax trees."""
    for path in tracked():
        if path.suffix == ".py" and is_test(path) == tests:
            yield path, parsed(path)


def dotted(node: ast.AST) -> str:
    """Return `a.b.c` for what is written so, or nothing."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


def docstrings(tree: ast.Module) -> set[int]:
    """Return the ids of the strings that stand alone: documentation."""
    return {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}


def strings(tree: ast.Module) -> Iterator[ast.Constant]:
    """Yield the strings of a module that are not documentation."""
    documentation = docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node
