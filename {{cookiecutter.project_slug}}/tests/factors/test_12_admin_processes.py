"""XII. Admin processes: one-off tasks run with the release they are for: https://12factor.net/admin-processes.

Tested: `python manage.py …` runs with the same interpreter, code, dependencies and settings as the web process;
every command of the project loads; the Procfile's one-off commands bring no
settings of their own.
Not testable here: that nobody runs a command on a laptop against production's database.
"""

import ast
import json
import re
import shlex

from django.core.management import get_commands, load_command_class

from tests.factors.processes import PROJECT, procfile
from tests.factors.source import modules

FACTOR = "XII Admin processes"

# What a process is: where its Python and its code are, and what its settings say.
SELF = """
import os, re, sys
from django.conf import settings
places = [path for path in map(os.path.abspath, sys.path) if path != os.getcwd() and os.path.exists(path)]
found = {name: re.sub("0x[0-9a-f]+", "", repr(getattr(settings, name))) for name in dir(settings) if name.isupper()}
found |= {"the interpreter": sys.executable, "the code": os.getcwd(), "the path of imports": sorted(set(places))}
"""


def test_a_command_runs_as_the_web_process_does(deploy):
    place = deploy()
    web = place.asking(f"{SELF}\nanswer(found)")
    command = f"{SELF}\nimport json; print('SELF' + json.dumps(found, default=str))"
    result = place.run(shlex.join(["python", "manage.py", "shell", "--no-imports", "--command", command]))
    lines = [line for line in result.stdout.splitlines() if line.startswith("SELF")]
    assert result.returncode == 0, f"{FACTOR}: `python manage.py` does not run: {result.stderr}"
    assert lines, f"{FACTOR}: `python manage.py shell` runs nothing: {result.stdout}"
    one, other = json.loads(lines[0].removeprefix("SELF")), web()
    names = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
    assert not names, f"{FACTOR}: one-off commands differ from the web process in {', '.join(names)}"


def test_every_command_of_the_project_loads():
    ours = [name for name, app in get_commands().items() if (PROJECT / str(app).partition(".")[0]).is_dir()]
    failed = {}
    for name in ours:
        try:
            load_command_class(get_commands()[name], name)
        except Exception as error:
            failed[name] = f"{type(error).__name__}: {error}"
    assert not failed, f"{FACTOR}: commands that do not run with the release's code and dependencies: {failed}"


def test_one_off_commands_bring_no_settings_of_their_own():
    found = [
        f"{process}: {match[0]}"
        for process, command in procfile().items()
        if (
            match := re.search(
                r"--settings\S*|DJANGO_SETTINGS_MODULE=\S*|--pythonpath\S*|\b[A-Z][A-Z0-9_]*=\S+", command
            )
        )
    ]
    assert not found, (
        f"{FACTOR}: the Procfile gives a process another configuration than the others: {'; '.join(found)}"
    )


def test_the_code_names_one_settings_module():
    named = {
        f"{path} names {node.args[1].value}": node.args[1].value
        for path, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and len(node.args) == 2 and isinstance(node.args[1], ast.Constant)
        if isinstance(node.args[0], ast.Constant) and node.args[0].value == "DJANGO_SETTINGS_MODULE"
    }
    assert len(set(named.values())) < 2, f"{FACTOR}: not all processes run with the same settings: {'; '.join(named)}"
