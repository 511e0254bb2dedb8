"""The hooks as Cookiecutter runs them: rendered, with the first choice of each question."""

import json

from cookiecutter.environment import StrictEnvironment
from generation import CHOICES, TEMPLATE


def rendered_hook(name: str) -> str:
    """Return the code of a hook."""
    private = json.loads((TEMPLATE / "cookiecutter.json").read_text(encoding="utf-8"))
    first = {question: choices[0] for question, choices in CHOICES.items()}
    answers = private | first | {"project_name": "Name", "project_slug": "name"}
    context = {"cookiecutter": answers}
    code = (TEMPLATE / "hooks" / name).read_text(encoding="utf-8")
    return StrictEnvironment(context=context).from_string(code).render(**context)
