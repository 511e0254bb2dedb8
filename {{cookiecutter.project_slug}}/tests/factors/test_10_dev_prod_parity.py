"""X. Dev/prod parity: development, staging and production as alike as possible: https://12factor.net/dev-prod-parity.

Tested: `honcho start` on .env.example brings the site up, with production's processes (more are fine); DEBUG changes
the settings listed here and no others, no address and no server; one version of Python is named everywhere.
Not testable here: the gaps in time and between people, and the one from SQLite to the kind of database in production.
"""

import re

from tests.factors.deploy import ALLOWED, PROJECT, Factor, example, free_port, procfile, wait

FACTOR = Factor("X Dev/prod parity")
USUAL = {"DEBUG", "ALLOWED_HOSTS"}  # Django allows localhost with DEBUG on
USUAL |= {"STATICFILES_STORAGE", "STORAGES.staticfiles", "WHITENOISE_AUTOREFRESH", "WHITENOISE_USE_FINDERS"}  # no build
USUAL |= {"SECURE_SSL_REDIRECT", "SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE", "SECURE_HSTS_SECONDS"}  # no HTTPS here
USUAL |= {f"GUNICORN {name}" for name in ("bind", "reload", "reload_extra_files", "preload_app", "graceful_timeout")}
USUAL |= {"GUNICORN debug", "GUNICORN host", "GUNICORN workers"}
ROUTES = """
from django.urls import URLPattern, get_resolver
def walk(patterns, prefix):
    for each in patterns:
        here = f"{prefix}{each.pattern}"
        yield from [(each.callback.__module__, here)] if isinstance(each, URLPattern) else walk(each.url_patterns, here)
answer(sorted(set(walk(get_resolver().url_patterns, "/"))))
"""


def test_honcho_starts_development_with_the_processes_of_production(deploy, tmp_path):
    place, name = deploy(), example().get("PROCFILE", "Procfile")
    step = lambda command: command.rpartition("&&")[2].strip().removeprefix("exec ")  # noqa: E731
    for key, command in procfile().items():
        same = key == "release" or step(procfile(name).get(key, "")).startswith(step(command))
        what = f"development does not run production's processes: `{key}: {procfile(name).get(key, '')}`"
        FACTOR.demand(same, what, f"write `{step(command)}` in {name}")
    lines = example() | {"DATABASE_URL": place.environment["DATABASE_URL"], "PORT": str(free_port()), "PROCFILE": name}
    (tmp_path / "env").write_text("".join(f"{key}={value}\n" for key, value in lines.items()))
    place.environment = {
        k: v for k, v in place.environment.items() if k not in ("SECRET_KEY", "ALLOWED_HOSTS", "TASKS")
    }
    honcho = place.start(f"honcho start -e {tmp_path / 'env'} -f {name}", PORT=lines["PORT"])
    up = wait(lambda: honcho.answers() or honcho.popen.poll() is not None) and honcho.popen.poll() is None
    FACTOR.demand(up, "`honcho start` does not bring development up", "read what it says", honcho.tail)


def test_debug_changes_what_is_listed_and_nothing_else(deploy, variants):
    place = deploy()
    routes, more = (result() for result in [place.asking(ROUTES, DEBUG=debug) for debug in ("false", "true")])
    one, other = ({f"STORAGES.{k}": v for k, v in each["STORAGES"].items()} | each for each in variants.debug)
    names = (one.keys() | other.keys()) - USUAL - {"STORAGES"}
    found = {name: name for name in names if one.get(name) != other.get(name)}
    toolbar = set(other["INSTALLED_APPS"]) - set(one["INSTALLED_APPS"] if "INSTALLED_APPS" in str(ALLOWED) else other)
    differ = [
        path
        for module, path in routes + more
        if ([module, path] in routes) != ([module, path] in more)
        and not any(module.startswith(app.strip("'")) for app in toolbar)
    ]
    found |= {"urlpatterns": f"the addresses {', '.join(differ)}"} if differ else {}
    instead = "let a variable of its own decide, the same in development and production"
    FACTOR.allow_only("debug-changes", found, "DEBUG changes more than it may", instead)


def test_one_version_of_python_everywhere():
    version = ".".join((PROJECT / ".python-version").read_text().strip().split(".")[:2])
    paths = [*PROJECT.glob("Dockerfile*"), *PROJECT.glob(".github/workflows/*"), *PROJECT.glob("runtime.txt")]
    pattern = re.compile(r"python(?:-version)?[:=-]\s*[\"']?(3\.\d+)")
    named = {f"{path.name} ({each})" for path in paths for each in pattern.findall(path.read_text()) if each != version}
    FACTOR.demand(not named, f".python-version says {version}, but not so {named}", "name one version everywhere")
