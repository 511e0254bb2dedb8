"""One watched day of a deploy: it starts, answers every page that needs no argument, runs a task, logs and stops.

What it left behind is told apart here, so that one file is the matter of one factor alone.
"""

import secrets
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

from tests.factors.deploy import PROJECT, Broken, Place, Process, documented, given, held, own, wait

# A user who may see everything, and the cookies of their session.
LOGIN = """
from contextlib import suppress
cookies = {}
with suppress(Exception):
    from django.contrib.auth import get_user_model
    from django.test import Client
    User, client = get_user_model(), Client()
    user = User(**{User.USERNAME_FIELD: "factors@example.com"}, is_staff=True, is_superuser=True)
    user.save()
    client.force_login(user)
    cookies = {name: morsel.value for name, morsel in client.cookies.items()}
answer(cookies)
"""
# The addresses of all pages that need no argument, and of some static files.
PAGES = """
from itertools import islice
from django.contrib.staticfiles.finders import get_finders
from django.contrib.staticfiles.storage import staticfiles_storage
from django.urls import URLPattern, get_resolver
def walk(patterns, prefix):
    for each in patterns:
        here = prefix + str(each.pattern).removeprefix("^").removesuffix("$").removesuffix(r"\\Z")
        yield from [here] if isinstance(each, URLPattern) else walk(each.url_patterns, here)
pages = sorted({path for path in walk(get_resolver().url_patterns, "/") if not set(path) & set("<>()[]*+?\\\\|^$")})
files = [staticfiles_storage.url(name) for finder in get_finders() for name, _ in islice(finder.list([]), 3)]
answer([pages[:200], files])
"""
# What an application does with its services; a part that it does not have is left out.
USE = """
import logging, sys
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
    try:
        use()
    except Exception:
        pass
loggers = sorted(name for name in {*sys.modules, *logging.root.manager.loggerDict} if name.partition(".")[0] in own)
for name in loggers:
    logging.getLogger(name).error("%s says %s", name, token)
files = {name: getattr(module, "__file__", None) for name, module in list(sys.modules.items())}
answer([loggers, files, work.enqueue("say", token), str(connection.settings_dict["NAME"])])
"""
# What keeps modules from being imported: the kind of error, and the module that is missing, or words.
IMPORT = """
import importlib
failed = {}
for name in names:
    try:
        importlib.import_module(name)
    except Exception as error:
        failed[name] = [type(error).__name__, getattr(error, "name", None) or str(error)]
answer(failed)
"""


class Day(SimpleNamespace):
    """What was seen."""

    def of(self, factor: str) -> dict[str, str]:
        """Return the files that are the matter of a factor, with words for each."""
        return {name: words for name, (matter, words) in self.files.items() if matter == factor}

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        return self.web.events(*kinds) + self.worker.events(*kinds)


def watch_a_day(place: Place, release: Process, cookies: dict[str, str]) -> Day:
    """Run a deploy for a while and return what was seen."""
    try:
        web = place.web()
    except Broken as broken:
        what = f"with nothing but what pyproject.toml declares, {broken.what}"
        raise Broken("II Dependencies", what, "declare it", broken.output, 'programs = ["…"]') from None
    token, worker = secrets.token_hex(12), place.worker()
    day = Day(place=place, web=web, worker=worker, release=release, token=token)
    pages, static = place.ask(PAGES)
    day.static = {path: web.get(path).status for path in static if path.startswith("/")}
    day.answers = {path: [web.get(path, dict(each)) for each in ({}, cookies)] for path in pages}
    day.loggers, day.modules, day.queued, _ = web.ask(given(USE, token=token, own=own())) or ([], {}, "", "")
    web.ask(f"raise RuntimeError('an error of {token}')")
    day.paths = [f"/{token}-{number}" for number in range(8)]
    for path in day.paths:
        web.ask("", path=path)
    wait(lambda: day.paths[-1] in web.printed(), 5)
    wait(lambda: day.queued != "READY" or token in worker.printed() or worker.popen.poll() is not None, 10)
    day.output, day.ended = (web.printed(), worker.printed()), worker.popen.poll() is not None
    day.listeners, day.sockets = web.listeners(), web.listeners("unix")
    running = left(day, {str(process.pid) for process in web.members() + worker.members()})
    for process in (web, worker):
        process.signal(15)
        process.finish()
    day.files = {name: each for name, each in running.items() if each[0] == "VIII Concurrency"} | left(day, set())
    return day


def left(day: Day, pids: set[str]) -> dict[str, tuple[str, str]]:
    """Return the files that processes wrote and did not remove: the factor of each, and words."""
    place, found = day.place, {}
    attached = (*(place.root / name for name in ("media", "mail")), Path("/dev"), Path("/proc"))
    database = urlsplit(place.environment["DATABASE_URL"]).path[1:] or "nothing"
    for event in day.events("write", "database"):
        path, name = Path(event["target"]), event["target"].removeprefix(f"{place.code}/")
        gone = not path.is_file() or path.suffix == ".pyc" or path.parent == place.root
        if gone or str(path).startswith(database) or name in found or any(map(path.is_relative_to, attached)):
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
    """Return what the project asked for and git does not hold; what is there where you work is the matter of I."""
    found, folders = {}, {str(folder) for name in held() for folder in Path(name).parents}
    usual = [place.root, *map(Path, ("/dev", "/proc", "/sys", "/usr", "/etc/localtime", sys.prefix, sys.base_prefix))]
    for event in [event for event in events if event["event"] in ("read", "look", "import") and not event["manage"]]:
        name = event["target"].partition("/code/")[2] or event["target"]
        if event["event"] == "import":
            name = f"{event['target'].replace('.', '/')}.py"
            known = name.removesuffix(".py") in folders or not (
                (PROJECT / name).exists() or name.split("/")[0] in own()
            )
        elif name[:1] == "/":
            known = Path(name).is_dir() or any(map(Path(name).is_relative_to, usual))
        else:
            known = name in folders or name.startswith(("staticfiles", "media", "mail")) or name.endswith(".pyc")
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
    here = Place(PROJECT, process.place.root / "here", process.place.environment["DATABASE_URL"])
    absent = strangers(process.events(), process.place, "I Codebase")
    asked = [event for event in process.events("variable") if event["target"] not in documented()]
    asked += [event for event in process.events("read", "look") if not Path(event["target"]).exists()]
    if absent or (module and not here.run(f'"{sys.executable}" manage.py check').popen.returncode):
        factor, instead = "I Codebase", "commit it, or make it a dependency"
        what = f"it starts where you work and not in a clone: git does not hold {[module, *absent]}"
    elif module:
        factor, instead = "II Dependencies", "declare it: `uv add`"
        what = f"{module} is imported, and no dependency of pyproject.toml brings it"
    elif asked and ("KeyError" in said or "FileNotFoundError" in said):
        factor, instead = "III Config", "read it from a variable that .env.example describes"
        what = f"without {asked[-1]['target']}, which {asked[-1]['by']} asks for, it does not start"
    return Broken(factor, what, instead, process.tail)
