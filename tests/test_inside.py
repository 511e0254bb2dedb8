"""Rules of the application's code that a project need not test by itself: tests/inside runs inside a project."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from generation import Project

INSIDE = sorted((Path(__file__).parent / "inside").glob("*.py"))


@pytest.mark.parametrize("file", INSIDE, ids=lambda file: file.stem)
def test_the_rules_hold_inside_a_project(file, generate: Callable[..., Project]):
    project = generate()
    shutil.copy(file, project.path / f"tests/test_rules_of_{file.name}")
    result = project.run("pytest", "-q", f"tests/test_rules_of_{file.name}", seconds=120)
    assert result.returncode == 0, result.stdout
    assert " passed" in result.stdout
