"""Projects as text: what an answer changes in them, in milliseconds.

test_generation.py compares the texts with what Cookiecutter and the hooks make.
"""

import json
import re
from functools import cache
from typing import Any

from cookiecutter.environment import StrictEnvironment
from generation import CHOICES, PROJECT_DIRECTORY, TEMPLATE, Answers, combinations, tracked_files
from jinja2 import FileSystemLoader

from hooks import loaded_hook

SETTINGS = json.loads((TEMPLATE / "cookiecutter.json").read_text(encoding="utf-8"))
# What is copied as it is: other languages have uses of their own for two braces.
VERBATIM = SETTINGS["_copy_without_render"]


@cache
def sources() -> dict[str, Any]:
    """Return the template of each file of a project, or its text where there is nothing to render."""
    root = TEMPLATE / PROJECT_DIRECTORY
    loader = FileSystemLoader([root, TEMPLATE / "templates"])
    environment = StrictEnvironment(context={"cookiecutter": SETTINGS}, keep_trailing_newline=True, loader=loader)
    found: dict[str, Any] = {}
    for path in (TEMPLATE / name for name in tracked_files()):
        if path.is_relative_to(root):
            text = path.read_text(encoding="utf-8")
            name = path.relative_to(root)
            found[str(name)] = text if any(map(name.match, VERBATIM)) else environment.get_template(str(name))
    return found


def render(**answers: str) -> dict[str, str]:
    """Return the text of each file that a project of these answers, or of the first ones, has; but not .env."""
    answers = {question: choices[0] for question, choices in CHOICES.items()} | answers
    names = {"project_name": "My project", "project_slug": "my_project"}
    context = {"cookiecutter": SETTINGS | names | answers}
    unneeded = loaded_hook("post_gen_project.py", **answers)["UNNEEDED"]
    dropped = " ".join(names for names, is_dropped in unneeded.items() if is_dropped).split()
    return {
        name: source if isinstance(source, str) else source.render(context)
        for name, source in sources().items()
        if not any(name == other or name.startswith(f"{other}/") for other in dropped)
    }


@cache
def every_project() -> list[tuple[Answers, dict[str, str]]]:
    """Return all combinations of answers, each with the files that it gives."""
    return [(answers, render(**answers)) for answers in combinations()]


def every_text(pattern: str = ".*") -> dict[tuple[str, str], Answers]:
    """Return each text that a file whose name matches `pattern` can have, as (name, text): answers that give it."""
    found: dict[tuple[str, str], Answers] = {}
    for answers, files in every_project():
        for name, text in files.items():
            if re.fullmatch(pattern, name):
                found.setdefault((name, text), answers)
    return found
