"""XII. Admin processes: one-off tasks run with the release they are for: https://12factor.net/admin-processes.

Tested: `python manage.py …` has the interpreter and the settings of the web process, also where a .env lies around; no
process of the Procfile and no script chooses other settings; every command can be imported with what is released.
Not testable here: that nobody runs a command on a laptop against production's database.
"""

import sys
from pathlib import Path

from tests.factors.deploy import SETTINGS, Factor, example, held, procfile

FACTOR = Factor("XII Admin processes")
SELF = """
import sys
from django.conf import settings
from sitecustomize import plain
found = {name: plain(getattr(settings, name)) for name in dir(settings) if name.isupper()}
answer(found | {"the interpreter": sys.prefix})
"""


def test_a_command_has_the_settings_of_the_web_process(deploy):
    place, around = deploy(), deploy(own_code=True)
    around.environment |= {name: place.environment[name] for name in ("DATABASE_URL", "STORAGE_URL", "EMAIL_URL")}
    (around.code / ".env").write_text("".join(f"{name}={value}\n" for name, value in example().items()))
    shell = "python manage.py shell --no-imports --command"
    asked = [each.asking(SELF, "os", shell, FACTOR) for each in (place, around)]
    web, plain, beside = place.web().ask(SELF), *(answer() for answer in asked)
    beside = plain if around.ask(SELF) == beside else beside  # where the settings read .env it is the matter of III
    different = sorted(name for name in web if not web[name] == plain.get(name) == beside.get(name))
    what = f"a command differs from the web process, also where a .env lies around, in {', '.join(different)}"
    FACTOR.demand(not different, what, "let manage.py do what config/wsgi.py does, and the environment the rest")


def test_no_process_and_no_script_chooses_other_settings(deploy, day):
    place, scripts = deploy(), [Path(name) for name in sorted(held()) if name.endswith(".py") and name[:6] != "tests/"]
    scripts = [path for path in scripts if f"{path.parent}/__init__.py" not in held() and path.stem.isidentifier()]
    commands = [command for name, command in procfile().items() if name not in ("web", "worker", "release")]
    commands += [f'"{sys.executable}" {path}' for path in scripts if path.stem != "conftest"]
    ran = [day.web, day.worker, day.release, *(place.run(command, 20, FACTORS_STOP="1") for command in commands)]
    chosen = {(each.command, event["target"]) for each in ran for event in each.events("settings")}
    what = f"not all processes run with {SETTINGS}: {sorted(each for each in chosen if each[1] != SETTINGS)}"
    FACTOR.demand({SETTINGS} >= {name for _, name in chosen}, what, "use one settings module, and variables")


def test_every_command_can_be_imported_in_the_release(deploy, day):
    place = deploy()
    for name in (Path(name).stem for name in held() if "/management/commands/" in name and "/_" not in name):
        run, what = place.run(f'"{day.python}" manage.py {name} --help'), f"`manage.py {name}` cannot be imported"
        FACTOR.demand(not run.popen.returncode, what, "declare what it imports: `uv add`", run.tail)
