"""A project with a recipe in it, for the tests that show that the recipe works."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from generation import Project, original
from pages import apply_recipe, take


@pytest.fixture(scope="module")
def with_recipe(
    shared: Path, template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Project]]:
    """Return a function: a project with a recipe applied as its page says, made once for the tests of a module."""
    made: dict[str, Project] = {}

    def get(name: str, **answers: str) -> Project:
        if name not in made:
            project = take(original(shared, template, **answers), tmp_path_factory.mktemp(name))
            apply_recipe(project, name)
            made[name] = project
        return made[name]

    yield get
    for project in made.values():
        project.close()
