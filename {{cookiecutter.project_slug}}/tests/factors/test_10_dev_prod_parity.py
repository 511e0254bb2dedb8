"""X. Dev/prod parity: development, staging and production as alike as possible: https://12factor.net/dev-prod-parity.

Tested: `honcho start` on .env.example brings the site up, with the programs of production (more are fine); DEBUG
changes the settings that are listed here and no others, and neither the addresses nor the server; one version of Python
is named everywhere.
Not testable here: the gaps in time and between people. And one gap is left to you: development starts on SQLite until
DATABASE_URL names a server of the kind that production has; what CI runs on must be that kind.
"""

import re
import shutil
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.factors.deploy import ALLOWED, PROJECT, allow_only, demand, example, free_ports, procfile, wait

FACTOR = "X Dev/prod parity"
# What DEBUG changes, and why.
USUAL = {
    "DEBUG",
    "ALLOWED_HOSTS",  # Django allows localhost with DEBUG on
    "STORAGES.staticfiles",  # hashed names need a build
    "STATICFILES_STORAGE",
    "WHITENOISE_AUTOREFRESH",
    "WHITENOISE_USE_FINDERS",
    "SECURE_SSL_REDIRECT",  # no HTTPS on this machine
    "SESSION_COOKIE_SECURE",
    "CSRF_COOKIE_SECURE",
    "SECURE_HSTS_SECONDS",
}
SERVER = {"bind", "reload", "reload_extra_files", "preload_app", "workers", "graceful_timeout"}
CONFIGURATION = """
from django.conf import settings
from django.urls import URLPattern, get_resolver
from sitecustomize import plain
found = {name: plain(getattr(settings, name)) for name in dir(settings) if name.isupper()}
found |= {f"STORAGES.{alias}": value for alias, value in found.pop("STORAGES", {}).items()}
def walk(patterns, prefix=""):
    for each in patterns:
        if isinstance(each, URLPattern):
            yield prefix + str(each.pattern), each.callback.__module__
        else:
            yield from walk(each.url_patterns, prefix + str(each.pattern))
answer([found, sorted(set(walk(get_resolver().url_patterns)))])
"""


def words(process):
    """Return the program of a process and what it is told to run, without options."""
    with suppress(psutil.Error):
        parts = process.cmdline()
        parts = parts[1:] if Path(parts[0]).name.startswith("python") else parts
        return [Path(parts[0]).name, *parts[1:]]
    return []


def test_honcho_starts_development_with_the_programs_of_production(deploy, tmp_path):
    if not shutil.which("honcho"):
        pytest.skip("needs honcho")
    place = deploy()
    programs = {}
    for name in procfile().keys() - {"release"}:
        process = place.web() if name == "web" else place.start(place.command(name))
        wait(lambda process=process: any(words(each)[:1] != ["sh"] for each in process.members()), 5)
        found = [words(each) for each in process.members() if words(each)[:1] != ["sh"]]
        programs[name] = next(iter(found), [])
    base = free_ports()
    lines = example() | {"DATABASE_URL": place.environment["DATABASE_URL"], "PORT": str(base)}
    (tmp_path / "env").write_text("".join(f"{name}={value}\n" for name, value in lines.items() if name != "PROCFILE"))
    for name in ("SECRET_KEY", "ALLOWED_HOSTS", "DATABASE_URL", "TASKS"):
        place.environment.pop(name, None)
    name = example().get("PROCFILE", "Procfile")
    honcho = place.start(f"honcho start -e {tmp_path / 'env'} -f {name}", PORT=str(base))
    up = wait(lambda: honcho.answers() or honcho.popen.poll() is not None) and honcho.popen.poll() is None
    demand(up, FACTOR, "`honcho start` does not bring development up", "read what it says", honcho.tail)
    missing = wait(lambda: not lacking(programs, honcho), 3) or lacking(programs, honcho)
    what = (
        f"development does not run production's processes: no `{'`, no `'.join(missing or [])}`"
        if missing is not True
        else ""
    )
    demand(missing is True, FACTOR, what, f"write the commands of the Procfile in {name}")


def lacking(programs, honcho):
    """Return the programs of production that development does not run."""
    running = [
        words(process)
        for leader in psutil.Process(honcho.popen.pid).children()
        for process in [leader, *leader.children(True)]
    ]
    wanted = [[word for word in each if not word.startswith("-")][:2] for each in programs.values()]
    return [" ".join(each) for each in wanted if not any(set(each) <= set(other) for other in running)]


def test_debug_changes_what_is_listed_and_nothing_else(deploy):
    place = deploy()
    asked = [place.asking(CONFIGURATION, DEBUG=debug) for debug in ("false", "true")]
    (production, routes), (development, more_routes) = (result() for result in asked)
    names = production.keys() | development.keys()
    changed = {name for name in names if production.get(name) != development.get(name)} - USUAL
    apps = [name.strip("'\"") for name in production.get("INSTALLED_APPS", [])]
    added = [app.strip("'\"") for app in development.get("INSTALLED_APPS", []) if app.strip("'\"") not in apps]
    own = added if "INSTALLED_APPS" in ALLOWED.get("debug-changes", []) else []
    different = [
        path
        for path, module in routes + more_routes
        if not module.startswith(tuple(own) or "\0") and ([path, module] in routes) != ([path, module] in more_routes)
    ]
    found = {name: name for name in changed} | ({"urlpatterns": f"urlpatterns ({different[:3]})"} if different else {})
    instead = "let a variable of its own decide, the same in development and production"
    allow_only("debug-changes", found, FACTOR, "DEBUG changes more than it may", instead)


def test_debug_changes_no_server(deploy):
    place = deploy()
    if "gunicorn" not in place.command("web"):
        pytest.skip("needs gunicorn")
    printed = [
        place.run(place.command("web"), DEBUG=debug, PORT="8000", GUNICORN_CMD_ARGS="--print-config")
        for debug in ("false", "true")
    ]
    one, other = (
        {line.partition("=")[0].strip(): line for line in each.stdout.splitlines() if "=" in line} for each in printed
    )
    different = sorted(
        name
        for name in one
        if name in other
        and name not in SERVER
        and re.sub("0x[0-9a-f]+", "", one[name]) != re.sub("0x[0-9a-f]+", "", other[name])
    )
    what = f"DEBUG changes the server: {', '.join(different)}"
    demand(not different, FACTOR, what, "write the same in gunicorn.conf.py for development and production")


def test_one_version_of_python_everywhere():
    version = ".".join((PROJECT / ".python-version").read_text().strip().split(".")[:2])
    paths = [*PROJECT.glob("Dockerfile*"), *PROJECT.glob(".github/workflows/*"), *PROJECT.glob("runtime.txt")]
    pattern = re.compile(r"python(?:-version)?[:=-]\s*[\"']?(3\.\d+)")
    named = {f"{path.name} ({each})" for path in paths for each in pattern.findall(path.read_text()) if each != version}
    demand(not named, FACTOR, f".python-version says {version}, but not so {named}", "name one version everywhere")
