"""One watched day of a deploy, what it left behind, told apart by factor; and what each variable changes."""

import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, urlsplit

from tests.factors.deploy import PROJECT, SETTINGS, Broken, Place, Process, documented, given, held, own, wait

ROUTES = """
from itertools import islice
from django.apps import apps
from django.contrib.staticfiles.finders import get_finders
from django.contrib.staticfiles.storage import staticfiles_storage
from django.urls import URLPattern, get_resolver
def walk(patterns, prefix):
    for each in patterns:
        here = prefix + str(each.pattern).removeprefix("^").removesuffix("$").removesuffix(r"\\Z")
        yield from [[each.callback.__module__, here]] if isinstance(each, URLPattern) else walk(each.url_patterns, here)
ignored = apps.get_app_config("staticfiles").ignore_patterns
files = [staticfiles_storage.url(name) for finder in get_finders() for name, _ in islice(finder.list(ignored), 3)]
answer([sorted(walk(get_resolver().url_patterns, "/")), files])
"""
# What an application does with its services; a part that it does not have is left out.
USE = """
import contextlib, logging, sys
from django.core.cache import caches
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.mail import send_mail
from django.db import connection
from tests.factors import work
uses = [lambda alias=alias: caches[alias].set(token, "kept", 60) for alias in caches]
uses += [lambda: send_mail(token, "Text", None, ["ada@example.com"])]
uses += [lambda: default_storage.save(token + ".txt", ContentFile(b"an upload"))]
for use in uses:
    with contextlib.suppress(Exception):
        use()
loggers = sorted(name for name in {*sys.modules, *logging.root.manager.loggerDict} if name.partition(".")[0] in own)
for name in loggers:
    logging.getLogger(name).error("%s says %s", name, token)
answer([loggers, work.enqueue("say", f"{token}-done"), str(connection.settings_dict["NAME"])])
"""


class Day(SimpleNamespace):
    """What was seen; of(factor) are the files that are the matter of one, with words for each."""

    def of(self, factor: str) -> dict[str, str]:
        return {name: words for name, (matter, words) in self.files.items() if matter == factor}

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        return self.web.events(*kinds) + self.worker.events(*kinds)


def watch_a_day(place: Place, python: Path, release: Process) -> Day:
    try:
        web = place.web()
    except Broken as broken:
        what = f"with nothing but what pyproject.toml declares, {broken.what}"
        raise Broken("II Dependencies", what, "declare it", broken.output, 'programs = ["…"]') from None
    token, worker = secrets.token_hex(12), place.worker()
    day = Day(place=place, python=python, web=web, worker=worker, release=release, token=token)
    routes, static = place.ask(ROUTES)
    pages = sorted({quote(path) for _, path in routes if not set(path) & set("<>()[]*+?\\|^$")})[:200]
    others = [path for path in static if path[0] != "/" and urlsplit(path).hostname not in str(place.environment)]
    day.static = {path: web.get(path).status for path in static if path[0] == "/"} | dict.fromkeys(others, "elsewhere")
    day.answers = {path: web.get(path).headers for path in pages}
    day.loggers, day.queued, _ = web.ask(given(USE, token=token, own=own())) or ([], "", "")
    web.ask(f"raise RuntimeError('an error of {token}')")
    day.paths = [f"/{token}-{number}" for number in range(8)]
    for path in day.paths:
        web.ask("", path=path)
        wait(lambda path=path: path in web.printed(), 1)  # the line may come after the answer
    wait(lambda: day.queued != "READY" or token in worker.printed() or worker.popen.poll() is not None, 10)
    day.output, day.ended = (web.printed(), worker.printed()), worker.popen.poll() is not None
    day.listeners, day.sockets = web.listeners(), web.listeners("unix")
    running = left(day, {str(process.pid) for process in web.members() + worker.members()})
    for process in (web, worker):
        process.signal(15)
        process.finish()
    day.files = left(day, set()) | {name: each for name, each in running.items() if each[0] == "VIII Concurrency"}
    return day


def left(day: Day, pids: set[str]) -> dict[str, tuple[str, str]]:
    """Return the files that processes wrote and did not remove: the factor of each, and words."""
    place, found = day.place, {}
    attached = (*(place.root / name for name in ("media", "mail")), Path("/dev"), Path("/proc"))
    named = (place.environment.get(name, "") for name in documented())  # a file where a variable says is attached
    named = tuple(value.partition("///")[2] or value for value in named if {".", "/"} & set(value[1:]))
    for event in day.events("write", "database"):
        path, name = Path(event["target"]), event["target"].removeprefix(f"{place.code}/")
        gone = not path.is_file() or path.suffix == ".pyc" or path.parent == place.root
        if gone or name.startswith(named) or name in found or any(map(path.is_relative_to, attached)):
            continue
        content, factor = path.read_bytes(), "VI Processes"
        if event["logs"] or f" says {day.token}".encode() in content:
            factor = "XI Logs"
        elif name in held():
            factor = "I Codebase"
        elif content.startswith(b"SQLite format 3") or name.endswith(("-wal", "-shm", "-journal")):
            factor = "IV Backing services"
        elif content.decode(errors="ignore").strip() in pids:
            factor = "VIII Concurrency"
        elif path.is_relative_to(place.code) and event["time"] < day.web.begun + day.web.seconds:
            factor = "V Build, release, run"
        found[name] = (factor, f"{name}, written by {event['by'] or 'a library'}")
    return found


def strangers(events: list[dict[str, Any]], place: Place, factor: str) -> dict[str, str]:
    """Return what the project asked for and git does not hold: the matter of I if you have it, else of III."""
    found, folders = {}, {str(folder) for name in held() for folder in Path(name).parents}
    usual = [place.root, *map(Path, ("/dev", "/proc", "/sys", "/usr", "/etc/localtime", sys.prefix, sys.base_prefix))]
    for event in [event for event in events if event["event"] in ("read", "look", "import") and not event["manage"]]:
        name = event["target"].partition("/code/")[2] or event["target"]
        if event["event"] == "import":
            name = f"{event['target'].replace('.', '/')}.py"
            exists = (PROJECT / name).exists() or name.split("/")[0] in own()
            known = name.removesuffix(".py") in folders or not exists
        elif name[:1] == "/":
            known = Path(name).is_dir() or any(map(Path(name).is_relative_to, usual))
        else:
            known = name in folders or name.startswith(("staticfiles/", "media/", "mail/")) or name.endswith(".pyc")
            known = known or (event["event"] == "look" and "." not in Path(name).name)  # a directory, perhaps
        here = name[:1] != "/" and (PROJECT / name).exists()
        matter = "I Codebase" if here and not event["settings"] else "III Config"
        if matter == factor and not known and name not in held() and (event["direct"] or here):
            found[name] = f"{event['by'] or 'a library'} asks for {name}"
    return found


def why(process: Process, broken: Broken | None = None) -> Broken:
    """Return the factor that keeps a process from starting, as far as what it did tells."""
    said, code = f"{process.printed()}\n{process.printed('err')}", process.popen.poll()
    if broken and (code is None or broken.factor != "VII Port binding"):
        return broken
    factor, instead = broken.factor if broken else "V Build, release, run", "read what it says"
    what = f"`{process.command}` ends with exit code {code}"
    module = said.rpartition("No module named '")[2].partition("'")[0] if "No module named '" in said else ""
    here = Place(PROJECT, process.place.root / "here", f"sqlite:///{process.place.root}/here.sqlite3")
    absent = strangers(process.events(), process.place, "I Codebase")
    earlier = [event for each in process.place.processes for event in each.events("change") if event["manage"]]
    changed = sorted({event["target"] for event in earlier} & documented().keys())
    if absent or (module and not here.run(f'"{sys.executable}" manage.py check').popen.returncode):
        factor, instead = "I Codebase", "commit it, or make it a dependency"
        what = f"it starts where you work and not in a clone: git does not hold {', '.join(absent) or module}"
    elif changed:
        factor, instead = "XII Admin processes", "let manage.py choose the settings, and nothing else"
        what = f"manage.py sets {', '.join(changed)}, which the web process does not have: {what}"
    elif module:
        factor, instead = "II Dependencies", "declare it: `uv add`"
        what = f"{module} is imported, and no dependency of pyproject.toml brings it"
    return Broken(factor, what, instead, process.tail)


# Tried for each variable, besides its example and the words that describe it. Where all are refused, nothing is said.
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
    return {k: sitecustomize.plain(v) for k, v in values.items() if k[:8].isupper()}
def attempt(name, beside):
    before = load(beside)
    for value in candidates[name] if before else []:
        after = load(beside | {name: value})
        taken.update({name} if after and value != (base | beside).get(name) else ())
        if after and after != before:
            yield value, before, after
            if ":/" not in value:  # of URLs each may move another service
                return
place = lambda entry: [(entry or {}).get(key) for key in ("HOST", "PORT", "NAME", "LOCATION")]
first, taken = load({}), set()
sitecustomize.IGNORED |= {"read", "look"}  # files that the values below name
examples = examples if load(examples) else {name: examples[name] for name in examples if load({name: examples[name]})}
read = {target for event, target, by in sitecustomize.SEEN if event == "variable"}
found = {name: list(attempt(name, {})) or list(attempt(name, examples)) for name in candidates if name in read}
urls = [[(name, value) for value, *_ in values if ":/" in value] for name, values in found.items()]
urls = [dict(each[row % len(each)] for each in urls if each) for row in range(max(map(len, urls)))]
switched = {name: values[0][0] for name, values in found.items() if values and values[0][0] in ("true", "false")}
for name in [name for name in found if not found[name]]:
    found[name] = next(filter(None, (list(attempt(name, beside)) for beside in [*urls, switched])), [])
unused, moved = [name for name in taken if not found[name]], {"DATABASES": [], "CACHES": []}
for before, after in (each[1:] for values in found.values() for each in values):
    for setting, aliases in moved.items():
        entries, others = before.get(setting) or {}, after.get(setting) or {}
        aliases += [alias for alias in entries if place(entries[alias]) != place(others.get(alias))]
answer({"base": first, "debug": [first, load({"DEBUG": "true"})], "unused": unused, "moved": moved})
"""


def load_variants(place: Place) -> Callable[[], SimpleNamespace]:
    """Return a function: the settings, the variables that change none, the aliases that one moves, what it did."""
    names = documented().keys() - {"PORT", "WEB_CONCURRENCY", "WEB_THREADS"}  # VII and VIII look at what these change
    words = {name: [word.strip("(),.:;`'") for word in documented()[name][2].split()] for name in names}
    values = {name: list(filter(None, dict.fromkeys([documented()[name][1], *VALUES, *words[name]]))) for name in words}
    examples = {name: value for name, (_, value, _) in documented().items() if name not in KEPT}
    code = given(LOAD, own=own(), candidates=values, examples=examples, module=SETTINGS)
    answer = place.asking(code, load="os")
    return lambda: SimpleNamespace(**answer(), events=place.processes[-1].events())
