"""X. Dev/prod parity: development, staging and production as alike as possible: https://12factor.net/dev-prod-parity.

Tested: Procfile.dev runs the commands of the Procfile, with the release first; `honcho start` on .env.example brings
the site up; DEBUG changes the settings that are listed here and no others, so that both attach the same kinds of
services by the same code; one version of Python is named everywhere.
Not testable here: the gaps in time and between people. And one gap is left to you: development starts on SQLite until
DATABASE_URL names a server of the kind that production has; what CI runs on must be that kind.
"""

import json
import re
import shlex
import shutil
import sys
import tomllib

import pytest
from django.conf import settings
from packaging.specifiers import SpecifierSet

from tests.factors.processes import PROJECT, example, free_ports, procfile, request, wait

FACTOR = "X Dev/prod parity"

# What DEBUG changes, and why.
DIFFERENT = {
    "DEBUG",
    "ALLOWED_HOSTS",  # Django allows localhost with DEBUG on
    "STATICFILES_STORAGE",  # hashed names need a build
    "STORAGES",  # the same, and nothing else: see below
    "WHITENOISE_AUTOREFRESH",
    "WHITENOISE_USE_FINDERS",
    "SECURE_SSL_REDIRECT",  # no HTTPS on this machine
    "SESSION_COOKIE_SECURE",
    "CSRF_COOKIE_SECURE",
    "SECURE_HSTS_SECONDS",
}

SETTINGS = """
import json, os, re, runpy, sys
from pathlib import Path
for debug in ("false", "true"):
    os.environ["DEBUG"] = debug
    found = runpy.run_path(sys.argv[1])
    print(json.dumps({name: re.sub("0x[0-9a-f]+", "", repr(found[name])) for name in found if name.isupper()}))
    print(json.dumps(repr(found["STORAGES"].get("default"))))
"""


def last_step(command: str) -> str:
    """Return the process itself, without the steps before it: those are the matter of V."""
    return re.sub(r"^exec\s+", "", command.rpartition("&&")[2].strip())


def test_development_runs_the_commands_of_production():
    name = example().get("PROCFILE", "Procfile")
    production, development = procfile(), procfile(name)
    production.pop("release", "")
    development.pop("release", None)
    differences = [
        f"{process} is `{development.get(process, 'missing')}` and not `{production.get(process, 'missing')}`"
        for process in sorted(production.keys() | development.keys())
        if last_step(development.get(process, "")) != last_step(production.get(process, ""))
    ]
    assert not differences, (
        f"{FACTOR}: development does not run production's processes: in {name} {'; '.join(differences)}"
    )


def test_debug_changes_what_is_listed_and_nothing_else(deploy, tmp_path):
    place = deploy()
    script = tmp_path / "script.py"
    script.write_text(f"import sys; sys.path[0] = {str(place.code)!r}\n{SETTINGS}")
    file = f"{settings.SETTINGS_MODULE.replace('.', '/')}.py"
    result = place.run(shlex.join([sys.executable, str(script), file]))
    assert result.returncode == 0, f"{FACTOR}: the settings do not load: {result.stderr}"
    production, uploads, development, uploads_too = map(json.loads, result.stdout.splitlines()[-4:])
    names = production.keys() | development.keys()
    differences = {name for name in names if production.get(name) != development.get(name)}
    if uploads != uploads_too:
        differences.add("STORAGES of uploads")
    gap = sorted(differences - DIFFERENT)
    assert not gap, (
        f"{FACTOR}: DEBUG changes more than it may, development has another {', '.join(gap)} than production"
    )


def test_development_starts_with_one_command(deploy, tmp_path):
    place = deploy()
    dotenv = tmp_path / "env"
    base = free_ports()
    lines = example() | {"DATABASE_URL": place.environment["DATABASE_URL"], "PORT": str(base)}
    lines = {name: value for name, value in lines.items() if name != "PROCFILE"}
    dotenv.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
    for name in ("SECRET_KEY", "ALLOWED_HOSTS", "DATABASE_URL", "TASKS"):
        del place.environment[name]
    if not shutil.which("honcho", path=place.environment["PATH"]):
        pytest.skip("needs honcho")
    started = place.start(f"honcho start -e {dotenv} -f {example().get('PROCFILE', 'Procfile')}")

    def answers() -> bool:
        try:
            return request(base, "GET", "/").status == 200
        except OSError:
            return started.popen.poll() is not None

    up = wait(answers)
    works = up and started.popen.poll() is None
    assert works, f"{FACTOR}: `honcho start` does not bring development up: see VII\n{started.output}"


def test_one_version_of_python_everywhere():
    version = ".".join((PROJECT / ".python-version").read_text().strip().split(".")[:2])
    named = {}
    for path in [*PROJECT.glob("Dockerfile*"), *PROJECT.glob(".github/workflows/*"), *PROJECT.glob("runtime.txt")]:
        pattern = r"python(?:-version)?[:=-]\s*[\"']?(3\.\d+)"
        named |= {f"{path.name} ({found})": found for found in re.findall(pattern, path.read_text(encoding="utf-8"))}
    wanted = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    assert SpecifierSet(wanted).contains(f"{version}.99"), f"{FACTOR}: .python-version says {version}, not {wanted}"
    others = [name for name, found in named.items() if found != version]
    assert not others, f"{FACTOR}: .python-version says {version}, but not so {', '.join(others)}"
