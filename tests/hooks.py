"""The hooks as Cookiecutter runs them: rendered, with the first choice of each question and `answers`."""

import json
from typing import Any

from cookiecutter.environment import StrictEnvironment
from generation import CHOICES, TEMPLATE


def rendered_hook(name: str, **answers: str) -> str:
    """Return the code of a hook."""
    private = json.loads((TEMPLATE / "cookiecutter.json").read_text(encoding="utf-8"))
    first = {question: choices[0] for question, choices in CHOICES.items()}
    context = {"cookiecutter": private | first | {"project_name": "Name", "project_slug": "name"} | answers}
    code = (TEMPLATE / "hooks" / name).read_text(encoding="utf-8")
    return StrictEnvironment(context=context).from_string(code).render(**context)


def loaded_hook(name: str, **answers: str) -> dict[str, Any]:
    """Return the names that a hook defines, without running its work."""
    names: dict[str, Any] = {"__name__": "hook"}
    exec(rendered_hook(name, **answers), names)  # noqa: S102
    return names
