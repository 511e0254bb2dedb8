"""XII. Admin processes: one-off tasks run with the release they are for: https://12factor.net/admin-processes.

Tested: `python manage.py …` has the interpreter, the code and the settings of the web process, also where a .env lies
around; no process of the Procfile and no script of the project chooses other settings; every command of the project
can be imported with what the release has installed.
Not testable here: that nobody runs a command on a laptop against production's database.
"""

import sys
from pathlib import Path

from django.conf import settings

from tests.factors.day import tops
from tests.factors.deploy import answered, copy, demand, example, held, procfile

FACTOR = "XII Admin processes"
SELF = """
import os, sys
from django.conf import settings
from sitecustomize import plain
found = {name: plain(getattr(settings, name)) for name in dir(settings) if name.isupper()}
found |= {"the interpreter": sys.prefix, "the code": os.getcwd()}
"""
COMMANDS = """
from django.core.management import get_commands, load_command_class
failed = {}
for name, app in get_commands().items():
    if str(app).partition(".")[0] in %r:
        try:
            load_command_class(app, name)
        except Exception as error:
            failed[name] = f"{type(error).__name__}: {error}"
answer(failed)
"""


def differences(one, other):
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def of_a_command(place):
    """Return what a command of manage.py is."""
    script = place.script(f"{SELF}\nanswer(found)")
    command = f"import sitecustomize; sitecustomize.run({str(script)!r})"
    shell = place.run(f'python manage.py shell --no-imports --command "{command}"')
    found = answered(script)
    demand(found, FACTOR, "`python manage.py` does not run", "read what it says", shell.tail)
    return found


def test_a_command_has_the_settings_of_the_web_process(deploy, built, tmp_path):
    place, around = deploy(), deploy(code=copy(built, tmp_path / "code"))
    around.environment |= {name: value for name, value in place.environment.items() if name != "FACTORS_SETTINGS"}
    (around.code / ".env").write_text("".join(f"{name}={value}\n" for name, value in example().items()))
    web = place.web().ask(f"{SELF}\nanswer(found)")
    instead = "let manage.py do what config/wsgi.py does, and the environment the rest"
    different = differences(web, of_a_command(place))
    demand(not different, FACTOR, f"a command differs from the web process in {', '.join(different)}", instead)
    different = differences(web | {"the code": str(around.code)}, of_a_command(around))
    if different and differences(around.ask(f"{SELF}\nanswer(found)"), of_a_command(around)):
        demand(False, FACTOR, f"where a .env lies around, a command has another {', '.join(different)}", instead)


def test_no_process_and_no_script_chooses_other_settings(deploy, day):
    place = deploy()
    scripts = [name for name in held() if is_script(name)]
    commands = [command for name, command in procfile().items() if name not in ("web", "worker", "release")]
    commands += [f'"{sys.executable}" {name}' for name in sorted(scripts)[:20]]
    ran = [place.run(command, 20, FACTORS_STOP="1") for command in commands]
    others = {
        f"`{process.command.replace(sys.executable, 'python')}`: {event['target']}"
        for process in [day.web, day.worker, day.release, *ran]
        for event in process.events("settings")
        if event["target"] != settings.SETTINGS_MODULE
    }
    what = f"not all processes run with {settings.SETTINGS_MODULE}: {'; '.join(sorted(others))}"
    demand(not others, FACTOR, what, "use one settings module, and variables for what differs")


def is_script(name):
    """Tell whether a file of the project is a program in Python."""
    path = Path(name)
    package = str(path.parent / "__init__.py") in held()
    return (
        path.suffix == ".py"
        and path.parts[0] != "tests"
        and not package
        and path.name not in ("conftest.py", "gunicorn.conf.py")
    )


def test_every_command_can_be_imported_in_the_release(deploy, lock_alone):
    python = str(lock_alone / "python") if isinstance(lock_alone, Path) else sys.executable
    failed = deploy().ask(COMMANDS % tops(), python=python)
    what = f"commands cannot be imported with what the release has installed: {failed}"
    demand(not failed, FACTOR, what, "run `uv add` with what is missing")
