"""What each variable of .env.example changes: the settings and gunicorn.conf.py are loaded with many environments."""

from dataclasses import dataclass
from typing import Any

from tests.factors.deploy import SETTINGS, Place, documented, given, own

# Tried for each variable, besides its example and the words that describe it: what is refused says nothing.
VALUES = """true false 1 0 73571 another another.example.com https://another.example.com another@example.com
Europe/Paris debug error 10.0.0.9 another-key-0123456789-abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJ
sqlite:////elsewhere/another.sqlite3 postgres://user:password@elsewhere:5432/another redis://elsewhere:6379/1
mysql://user:password@elsewhere:3306/another rediss://elsewhere:6379/1 memcached://elsewhere:11211
smtp://elsewhere:25 file:///elsewhere s3://elsewhere?region=eu-central-1 amqp://elsewhere""".split()  # noqa: SIM905
KEPT = ("DEBUG", "SECRET_KEY", "DATABASE_URL", "ALLOWED_HOSTS", "PORT", "GUNICORN_CMD_ARGS")
LOAD = """
import importlib, os, runpy, sys
import sitecustomize
base = dict(os.environ)
def load(change):
    os.environ.clear()
    os.environ.update(base | change)
    for name in [name for name in sys.modules if name.partition(".")[0] in own]:
        del sys.modules[name]
    try:
        values = dict(vars(importlib.import_module(module)))
        if os.path.exists("gunicorn.conf.py"):
            values |= {"GUNICORN " + name: value for name, value in runpy.run_path("gunicorn.conf.py").items()}
    except BaseException:
        return None
    kinds = (bool, int, float, str, list, dict, tuple, set, type(None))
    return {k: sitecustomize.plain(v) for k, v in values.items() if k[:8].isupper() and isinstance(v, kinds)}
def changes(one, other):
    names = one.keys() | other.keys()
    return {name: (one.get(name), other.get(name)) for name in names if one.get(name) != other.get(name)}
def attempt(name, beside):
    before = load(beside)
    for value in candidates[name] if before else []:
        after = load(beside | {name: value})
        if after and (changed := changes(before, after)):
            yield value, changed
            if ":/" not in value:  # of URLs each may move another service
                return
def is_handed_on(name):  # to a library, as in sentry_sdk.init(environment=...)
    handed = []
    def look(frame, event, argument):
        if event == "call" and "site-packages" in frame.f_code.co_filename:
            handed.append("73571" in str(frame.f_locals))
    sys.setprofile(look)
    load({name: "73571"})
    sys.setprofile(None)
    return any(handed)
first = load({})
load(examples)
read = {target for event, target, by in sitecustomize.SEEN if event == "variable"}
found = {name: list(attempt(name, {})) or list(attempt(name, examples)) for name in candidates if name in read}
services = [{name: value} for name, values in found.items() for value, _ in values if ":/" in value]
for name in [name for name in found if not found[name]]:
    found[name] = next(filter(None, (list(attempt(name, beside)) for beside in services)), [])
deploys = {}
for name in found:
    results = {each: load({name: each}) for each in ("production", "staging", "development", "testing")}
    known = [(one, values) for one, values in results.items() if values]
    for (one, before), (other, after) in zip(known, known[1:]):
        pairs = changes(before, after).items()
        if told := sorted(key for key, (a, b) in pairs if repr(a).replace(one, other) != repr(b)):
            deploys[name] = told
answer([first, found, [name for name in found if not found[name] and not is_handed_on(name)], deploys])
"""


@dataclass
class Variants:
    """What was found."""

    base: dict[str, Any]  # the settings of production
    found: dict[str, list]  # by variable: values, and what each changes
    unused: list[str]  # variables that are read and change nothing
    deploys: dict[str, list[str]]  # variables in which the name of a deploy decides, and what
    events: list[dict[str, Any]]  # what loading the settings did

    def moves(self, setting: str, alias: str) -> bool:
        """Tell whether a variable changes the entry of an alias in a setting."""
        changes = [changed[setting] for values in self.found.values() for _, changed in values if setting in changed]
        return any((one or {}).get(alias) != (other or {}).get(alias) for one, other in changes)


def load_variants(place: Place) -> Variants:
    """Load the settings of a place with many environments."""
    words = {name: [word.strip("(),.:;`'") for word in above.split()] for name, (_, _, above) in documented().items()}
    values = {name: list(filter(None, dict.fromkeys([documented()[name][1], *VALUES, *words[name]]))) for name in words}
    examples = {name: value for name, (_, value, _) in documented().items() if name not in KEPT}
    names = {"own": own(), "candidates": values, "examples": examples, "module": SETTINGS}
    found = place.ask(given(LOAD, **names), load="os")
    return Variants(*found, place.processes[-1].events())
