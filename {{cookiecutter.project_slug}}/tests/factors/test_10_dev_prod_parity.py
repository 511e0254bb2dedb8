"""X. Dev/prod parity: development, staging and production as alike as possible: https://12factor.net/dev-prod-parity.

Tested: `honcho start` on .env.example brings the site up, with production's programs (more are fine); DEBUG changes the
settings listed here and no others, no address and no server; one version of Python is named everywhere.
Not testable here: the gaps in time and between people. And one gap is left to you: development starts on SQLite until
DATABASE_URL names a server of the kind that production has; what CI runs on must be that kind.
"""

import re
import shutil

import psutil
import pytest

from tests.factors.day import programs
from tests.factors.deploy import ALLOWED, PROJECT, Factor, example, free_port, wait

FACTOR = Factor("X Dev/prod parity")
USUAL = {"DEBUG", "ALLOWED_HOSTS"}  # Django allows localhost with DEBUG on
USUAL |= {"STATICFILES_STORAGE", "STORAGES.staticfiles", "WHITENOISE_AUTOREFRESH", "WHITENOISE_USE_FINDERS"}  # no build
USUAL |= {"SECURE_SSL_REDIRECT", "SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE", "SECURE_HSTS_SECONDS"}  # no HTTPS here
SERVER = {"bind", "reload", "reload_extra_files", "preload_app", "workers", "graceful_timeout"}
CONFIGURATION = """
from django.conf import settings
from django.urls import URLPattern, get_resolver
from sitecustomize import plain
found = {name: plain(getattr(settings, name)) for name in dir(settings) if name.isupper()}
found |= {f"STORAGES.{alias}": value for alias, value in found.pop("STORAGES", {}).items()}
def walk(patterns, prefix):
    for each in patterns:
        here = f"{prefix}{each.pattern}"
        yield from [(each.callback.__module__, here)] if isinstance(each, URLPattern) else walk(each.url_patterns, here)
answer([found, sorted(set(walk(get_resolver().url_patterns, "/")))])
"""


def test_honcho_starts_development_with_the_programs_of_production(deploy, day, tmp_path):
    if not shutil.which("honcho"):
        pytest.skip("needs honcho")
    place, name = deploy(), example().get("PROCFILE", "Procfile")
    lines = example() | {"DATABASE_URL": place.environment["DATABASE_URL"], "PORT": str(free_port()), "PROCFILE": name}
    (tmp_path / "env").write_text("".join(f"{key}={value}\n" for key, value in lines.items()))
    for key in ("SECRET_KEY", "ALLOWED_HOSTS", "DATABASE_URL", "TASKS"):
        place.environment.pop(key, None)
    honcho = place.start(f"honcho start -e {tmp_path / 'env'} -f {name}", PORT=lines["PORT"])
    up = wait(lambda: honcho.answers() or honcho.popen.poll() is not None) and honcho.popen.poll() is None
    FACTOR.demand(up, "`honcho start` does not bring development up", "read what it says", honcho.tail)
    missing = lambda: day.programs - programs(psutil.Process(honcho.popen.pid).children(recursive=True))  # noqa: E731
    wait(lambda: not missing(), 3)
    what = f"development does not run production's processes: no {', no '.join(sorted(missing()))}"
    FACTOR.demand(not missing(), what, f"write in {name} what the Procfile has")


def test_debug_changes_what_is_listed_and_nothing_else(deploy):
    place = deploy()
    asked = [place.asking(CONFIGURATION, DEBUG=debug) for debug in ("false", "true")]
    (one, routes), (other, more) = (result() for result in asked)
    found = {name: name for name in one.keys() | other.keys() if one.get(name) != other.get(name) and name not in USUAL}
    added = [app.strip("'") for app in other.get("INSTALLED_APPS", []) if app not in one.get("INSTALLED_APPS", [])]
    added = added if "INSTALLED_APPS" in ALLOWED.get("debug-changes", []) else []
    new = [f"{path}" for module, path in more if [module, path] not in routes and module.partition(".")[0] not in added]
    gone = [path for module, path in routes if [module, path] not in more]
    found |= {"urlpatterns": f"urlpatterns: {', '.join(new + gone)}"} if new + gone else {}
    options = {"PORT": "8000", "GUNICORN_CMD_ARGS": "--print-config"}
    if "gunicorn" in place.command("web"):
        printed = [place.run(place.command("web"), DEBUG=debug, **options).printed() for debug in ("false", "true")]
        one, other = (dict(re.findall(r"(?m)^(\w+) += (.*?)(?: at 0x.*)?$", each)) for each in printed)
        found |= {f"gunicorn's {name}": f"gunicorn's {name}" for name in one if one[name] != other.get(name)}
        found = {name: words for name, words in found.items() if name.removeprefix("gunicorn's ") not in SERVER}
    instead = "let a variable of its own decide, the same in development and production"
    FACTOR.allow_only("debug-changes", found, "DEBUG changes more than it may", instead)


def test_one_version_of_python_everywhere():
    version = ".".join((PROJECT / ".python-version").read_text().strip().split(".")[:2])
    paths = [*PROJECT.glob("Dockerfile*"), *PROJECT.glob(".github/workflows/*"), *PROJECT.glob("runtime.txt")]
    pattern = re.compile(r"python(?:-version)?[:=-]\s*[\"']?(3\.\d+)")
    named = {f"{path.name} ({each})" for path in paths for each in pattern.findall(path.read_text()) if each != version}
    FACTOR.demand(not named, f".python-version says {version}, but not so {named}", "name one version everywhere")
