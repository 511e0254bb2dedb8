"""XII. Admin processes: one-off tasks run with the release they are for: https://12factor.net/admin-processes.

Tested: `python manage.py …` has the interpreter, the code and the settings of the web process, also where a .env lies
around; no process of the Procfile and no script of the project chooses other settings; every command of the project
can be imported with what the release has installed.
Not testable here: that nobody runs a command on a laptop against production's database.
"""

import sys
from pathlib import Path

from tests.factors.deploy import SETTINGS, Factor, answered, example, given, held, own, procfile

FACTOR = Factor("XII Admin processes")
SELF = """
import sys
from django.conf import settings
from sitecustomize import plain
names = [name for name in dir(settings) if name.isupper()]
answer({name: plain(getattr(settings, name)) for name in names} | {"the interpreter": sys.prefix})
"""
COMMANDS = """
from django.core.management import get_commands, load_command_class
failed = {}
for name, app in get_commands().items():
    try:
        load_command_class(app, name) if str(app).partition(".")[0] in own else None
    except Exception as error:
        failed[name] = f"{type(error).__name__}: {error}"
answer(failed)
"""


def of_a_command(place):
    """Return the settings of a command of manage.py."""
    script = place.script(SELF)
    run = f"import sitecustomize; sitecustomize.run({str(script)!r})"
    shell = place.run(f'python manage.py shell --no-imports --command "{run}"')
    FACTOR.demand(answered(script), "`python manage.py` does not run", "read what it says", shell.tail)
    return answered(script)


def test_a_command_has_the_settings_of_the_web_process(deploy):
    place, around = deploy(), deploy(own_code=True)
    around.environment |= {**place.environment, "FACTORS_SETTINGS": around.environment["FACTORS_SETTINGS"]}
    (around.code / ".env").write_text("".join(f"{name}={value}\n" for name, value in example().items()))
    web, plain, other = place.web().ask(SELF), of_a_command(place), of_a_command(around)
    read_by_all = other != web and around.ask(SELF) == other  # the settings read .env: the matter of III
    different = sorted(
        name for name in web if web[name] != plain.get(name) or (web[name] != other.get(name)) > read_by_all
    )
    what = f"a command differs from the web process in {', '.join(different)}"
    FACTOR.demand(not different, what, "let manage.py do what config/wsgi.py does, and the environment the rest")


def test_no_process_and_no_script_chooses_other_settings(deploy, day):
    place = deploy()
    commands = [command for name, command in procfile().items() if name not in ("web", "worker", "release")]
    scripts = [Path(name) for name in sorted(held()) if name.endswith(".py") and not name.startswith("tests/")]
    scripts = [path for path in scripts if f"{path.parent}/__init__.py" not in held() and path.stem.isidentifier()]
    commands += [f'"{sys.executable}" {path}' for path in scripts if path.stem != "conftest"]
    ran = [day.web, day.worker, day.release, *(place.run(command, 20, FACTORS_STOP="1") for command in commands)]
    others = {f"`{each.command}`: {event['target']}" for each in ran for event in each.events("settings")}
    others = sorted(each for each in others if not each.endswith(f": {SETTINGS}"))
    what = f"not all processes run with {SETTINGS}: {'; '.join(others)}"
    FACTOR.demand(not others, what, "use one settings module, and variables for what differs")


def test_every_command_can_be_imported_in_the_release(deploy, lock_alone):
    failed = deploy().ask(given(COMMANDS, own=own()), python=str(lock_alone / "python"))
    what = f"commands cannot be imported with what the release has installed: {failed}"
    FACTOR.demand(not failed, what, "declare what is missing: `uv add`")
