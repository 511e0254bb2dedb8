"""X. Dev/prod parity: development, staging and production as alike as possible: https://12factor.net/dev-prod-parity.

Tested: development runs production's processes (more are fine); DEBUG changes what is listed here and nothing else.
Not testable here: the gaps in time and between people, and the one from SQLite to the kind of database in production.
"""

from tests.factors.day import ROUTES
from tests.factors.deploy import ALLOWED, Factor, example, procfile

FACTOR = Factor("X Dev/prod parity")
USUAL = {"DEBUG", "ALLOWED_HOSTS"}  # Django allows localhost with DEBUG on
USUAL |= {"STORAGES.staticfiles", "WHITENOISE_AUTOREFRESH", "WHITENOISE_USE_FINDERS"}  # no build
USUAL |= {"SECURE_SSL_REDIRECT", "SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE", "SECURE_HSTS_SECONDS"}  # no HTTPS here
USUAL |= {"GUNICORN bind", "GUNICORN debug", "GUNICORN host", "GUNICORN reload", "GUNICORN reload_extra_files"}
USUAL |= {"GUNICORN preload_app", "GUNICORN workers", "GUNICORN graceful_timeout", "STORAGES"}


def test_development_runs_the_processes_of_production():
    name = example().get("PROCFILE", "Procfile")
    step = lambda command: command.rpartition("&")[2].strip().removeprefix("exec ")  # noqa: E731
    for key, command in procfile().items():
        same = key == "release" or step(procfile(name).get(key, "")).startswith(step(command))
        what = f"development does not run production's processes: `{key}: {procfile(name).get(key, '')}`"
        FACTOR.demand(same, what, f"write `{step(command)}` in {name}")


def test_debug_changes_what_is_listed_and_nothing_else(deploy, variants):
    routes, more = (deploy().ask(ROUTES, DEBUG=debug)[0] for debug in ("false", "true"))
    one, other = ({f"STORAGES.{k}": v for k, v in each["STORAGES"].items()} | each for each in variants.debug)
    found = {name: name for name in (one.keys() | other.keys()) - USUAL if one.get(name) != other.get(name)}
    toolbar = set(other["INSTALLED_APPS"]) - set(one["INSTALLED_APPS"]) if "INSTALLED_APPS" in str(ALLOWED) else ()
    differ = [each for each in routes + more if (each in routes) != (each in more)]
    differ = [path for module, path in differ if not any(module.startswith(app.strip("'")) for app in toolbar)]
    found |= {"urlpatterns": f"the addresses {', '.join(differ)}"} if differ else {}
    FACTOR.allow_only("debug-changes", found, "DEBUG changes more than it may", "let a variable of its own decide")
