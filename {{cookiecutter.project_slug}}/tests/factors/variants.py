"""What each variable of .env.example changes: the settings and gunicorn.conf.py are loaded with many environments."""

from types import SimpleNamespace

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
base, kinds = dict(os.environ), (bool, int, float, str, list, dict, tuple, set, type(None))
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
    return {k: sitecustomize.plain(v) for k, v in values.items() if k[:8].isupper() and isinstance(v, kinds)}
def attempt(name, beside):
    before = load(beside)
    for value in candidates[name] if before else []:
        after = load(beside | {name: value})
        if after and after != before:
            yield value, before, after
            if ":/" not in value:  # of URLs each may move another service
                return
def is_handed_on(name):  # to a library, as in sentry_sdk.init(environment=...)
    calls = []
    sys.setprofile(lambda frame, *_: calls.append(frame) if "site-packages" in frame.f_code.co_filename else None)
    load({name: "73571"})
    sys.setprofile(None)
    return any("73571" in str(frame.f_locals) for frame in calls)
first, _ = load({}), load(examples)
read = {target for event, target, by in sitecustomize.SEEN if event == "variable"}
found = {name: list(attempt(name, {})) or list(attempt(name, examples)) for name in candidates if name in read}
urls = [{name: value} for name, values in found.items() for value, *_ in values if ":/" in value]
for name in [name for name in found if not found[name]]:
    found[name] = next(filter(None, (list(attempt(name, beside)) for beside in urls)), [])
unused = [name for name in found if not found[name] and not is_handed_on(name)]
told_apart, moved = {}, {"DATABASES": [], "CACHES": []}
for name in found:
    known = [(each, values) for each in ("production", "staging", "development") if (values := load({name: each}))]
    for (one, before), (other, after) in zip(known, known[1:]):
        differ = [key for key in before if before[key] != after.get(key)]
        if differ := [key for key in differ if repr(before[key]).replace(one, other) != repr(after.get(key))]:
            told_apart[name] = differ
for before, after in (each[1:] for values in found.values() for each in values):
    for setting, aliases in moved.items():
        entries, others = before.get(setting) or {}, after.get(setting) or {}
        aliases += [alias for alias in entries if entries[alias] != others.get(alias)]
debug = [first, load({"DEBUG": "true"})]
answer({"base": first, "debug": debug, "unused": unused, "told_apart": told_apart, "moved": moved})
"""


def load_variants(place: Place) -> SimpleNamespace:
    """Return the settings of production and with DEBUG, the variables that change none, those in which the name of a
    deploy decides several, the aliases that a variable moves, and what loading the settings did."""
    words = {name: [word.strip("(),.:;`'") for word in above.split()] for name, (_, _, above) in documented().items()}
    values = {name: list(filter(None, dict.fromkeys([documented()[name][1], *VALUES, *words[name]]))) for name in words}
    examples = {name: value for name, (_, value, _) in documented().items() if name not in KEPT}
    found = place.ask(given(LOAD, own=own(), candidates=values, examples=examples, module=SETTINGS), load="os")
    return SimpleNamespace(**found, events=place.processes[-1].events())
