"""What each variable of .env.example changes: the settings and gunicorn.conf.py are loaded with many environments."""

from dataclasses import dataclass
from typing import Any

from django.conf import settings

from tests.factors.day import tops
from tests.factors.deploy import PROJECT, Place

# Tried for each variable, besides its example and the words of its description: what is refused says nothing.
VALUES = [
    "true",
    "false",
    "1",
    "0",
    "7",
    "another",
    "another.example.com",
    "https://another.example.com",
    "another@example.com",
    "Europe/Paris",
    "debug",
    "error",
    "10.0.0.9",
    "another-key-0123456789-abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJ",
]
URLS = [
    "sqlite:////elsewhere/another.sqlite3",
    "postgres://user:password@elsewhere:5432/another",
    "rediss://elsewhere:6379/1",
    "mysql://user:password@elsewhere:3306/another",
    "redis://elsewhere:6379/1",
    "memcached://elsewhere:11211",
    "smtp://elsewhere:25",
    "file:///elsewhere",
    "s3://elsewhere?region=eu-central-1",
    "amqp://elsewhere",
]
UNCHANGED = ("DEBUG", "SECRET_KEY", "DATABASE_URL", "ALLOWED_HOSTS", "PORT", "GUNICORN_CMD_ARGS")
DEPLOYS = ["production", "staging", "development", "testing"]

LOAD = """
import importlib, os, runpy, sys
import sitecustomize
base, found = dict(os.environ), {}
def load(change):
    os.environ.clear()
    os.environ.update(base | change)
    for name in [name for name in sys.modules if name.partition(".")[0] in tops]:
        del sys.modules[name]
    try:
        values = dict(vars(importlib.import_module(module)))
        if os.path.exists("gunicorn.conf.py"):
            values |= {f"GUNICORN {k}": v for k, v in runpy.run_path("gunicorn.conf.py").items() if is_plain(v)}
    except BaseException:
        return None
    return {name: sitecustomize.plain(value) for name, value in values.items() if name[:8].isupper()}
def is_plain(value):
    return isinstance(value, (bool, int, float, str, list, dict, tuple))
def changes(one, other):
    names = one.keys() | other.keys()
    return {name: [one.get(name), other.get(name)] for name in names if one.get(name) != other.get(name)}
def attempt(name, beside, values):
    before = load(beside)
    for value in values if before is not None else []:
        after = load(beside | {name: value})
        if after is not None and (changed := changes(before, after)):
            yield value, changed
            if ":/" not in value:  # of the URLs each may move another service
                return
# A value that goes on to a library is used as well: sentry_sdk.init(environment=...).
def is_handed_on(name):
    handed = []
    def look(frame, event, arg):
        if event == "call" and "site-packages" in frame.f_code.co_filename:
            if frame.f_globals.get("__name__", "").partition(".")[0] not in sitecustomize.READERS | {"dj_database_url"}:
                values = list(frame.f_locals.values())
                values += [each for value in values if isinstance(value, dict) for each in value.values()]
                handed.extend(v for v in values if type(v) in (str, int, float) and str(v) in ("another", "7", "7.0"))
    sys.setprofile(look)
    for value in ("another", "7"):
        load({name: value})
    sys.setprofile(None)
    return bool(handed)
def read():
    return {target for event, target, by in sitecustomize.SEEN if event == "variable"}
first = load({})
load(examples)
candidates = {name: values for name, values in candidates.items() if name in read()}
for name, values in candidates.items():
    found[name] = list(attempt(name, {}, values)) or list(attempt(name, examples, values))
services = [{name: value} for name, values in found.items() for value, _ in values if ":/" in value]
for name in [name for name in candidates if not found[name]]:
    trials = (list(attempt(name, beside, candidates[name])) for beside in services)
    found[name] = next(filter(None, trials), [])
unused = [name for name in candidates if not found[name] and not is_handed_on(name)]
deploys = {}
for name in candidates:
    results = {each: load({name: each}) for each in named}
    for one, before in results.items():
        for other, after in results.items():
            if before and after and one < other:
                pairs = changes(before, after).items()
                told = [key for key, (a, b) in pairs if repr(a).replace(one, other) != repr(b)]
                if told:
                    deploys[name] = sorted(told)
answer([first, found, unused, deploys])
"""


@dataclass
class Variants:
    """What was found."""

    base: dict[str, Any]  # the settings of production
    found: dict[str, list]  # by variable: values, and the settings that each changes
    unused: list[str]  # variables that are read and change nothing
    deploys: dict[str, list[str]]  # variables in which the name of a deploy decides, and what
    events: list[dict[str, Any]]  # what loading the settings did

    def moves(self, setting: str, alias: str) -> bool:
        """Tell whether a variable changes the entry of an alias in a setting."""
        changes = [changed[setting] for values in self.found.values() for _, changed in values if setting in changed]
        return any(one.get(alias) != other.get(alias) for one, other in changes)


def load_variants(place: Place) -> Variants:
    """Load the settings of a place with many environments."""
    names = {"tops": tops(), "candidates": candidates(), "named": DEPLOYS, "module": settings.SETTINGS_MODULE}
    names["examples"] = {name: value for name, (value, _) in described().items() if name not in UNCHANGED}
    given = "".join(f"{name} = {value!r}\n" for name, value in names.items())
    asking = place.asking(given + LOAD, load="os")
    process = place.processes[-1]
    return Variants(*asking(), process.events())


def described() -> dict[str, tuple[str, str]]:
    """Return each variable of .env.example, with its example and its description."""
    found, description, fresh = {}, "", True
    for line in (PROJECT / ".env.example").read_text(encoding="utf-8").splitlines():
        name, _, value = line.removeprefix("# ").partition("=")
        if name.isupper() and name.replace("_", "").isalnum():
            found[name], fresh = (value, description), True
        elif not line:
            description = ""
        else:
            description = line if fresh else f"{description} {line}"
            fresh = False
    return found


def candidates() -> dict[str, list[str]]:
    """Return the values to try for each variable that the project may read."""
    found = {}
    for name, (value, description) in described().items():
        words = [word.strip("(),.:;`'") for word in description.split()]
        found[name] = list(dict.fromkeys([value, *VALUES, *URLS, *(word for word in words if word)]))
    return found
