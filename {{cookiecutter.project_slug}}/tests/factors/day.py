"""One watched day of a deploy: it starts, answers every page that needs no argument, runs a task, logs and stops.

What it left behind is told apart here, so that one file is the matter of one factor alone.
"""

import secrets
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

from tests.factors.deploy import PROJECT, Broken, Place, Process, documented, git, given, held, own, wait

# A user who may see everything, and the cookies of their session.
LOGIN = """
from contextlib import suppress
cookies = {}
with suppress(Exception):
    from django.contrib.auth import get_user_model
    from django.test import Client
    User = get_user_model()
    user = User(**{User.USERNAME_FIELD: "factors@example.com"}, is_staff=True, is_superuser=True)
    user.set_unusable_password()
    user.save()
    client = Client()
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
files = [name for finder in get_finders() for name, _ in islice(finder.list([]), 3)]
answer([pages[:200], [staticfiles_storage.url(name) for name in files]])
"""
# What an application does with its services, in the middle of a request; a part that it does not have is left out.
USE = """
import logging, sys
from contextlib import suppress
from django.core.cache import caches
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.mail import send_mail
from django.db import connection
from tests.factors import work
for alias in caches:
    with suppress(Exception):
        caches[alias].set(token, "kept", 60)
with suppress(Exception):
    send_mail(token, "Text", None, ["ada@example.com"])
with suppress(Exception):
    default_storage.save(token + ".txt", ContentFile(b"an upload"))
loggers = sorted(name for name in {*sys.modules, *logging.root.manager.loggerDict} if name.partition(".")[0] in own)
for name in loggers:
    logging.getLogger(name).error("%s says %s", name, token)
answer([loggers, work.enqueue("say", token), str(connection.settings_dict["NAME"])])
"""


@dataclass
class Day:
    """What was seen."""

    place: Place
    web: Process
    worker: Process
    release: Process
    before: dict[Path, int]  # the files, and when they were written
    token: str = field(default_factory=lambda: secrets.token_hex(12))
    answers: dict[str, list[SimpleNamespace]] = field(default_factory=dict)  # by page, as nobody and logged in
    static: dict[str, int] = field(default_factory=dict)  # the status of each file
    paths: list[str] = field(default_factory=list)  # requested one after the other
    files: dict[str, tuple[str, str]] = field(default_factory=dict)  # left behind: the factor, and words

    def of(self, factor: str) -> dict[str, str]:
        """Return the files that are the matter of a factor, with words for each."""
        return {name: words for name, (matter, words) in self.files.items() if matter == factor}

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        """Return what the web and the worker process did."""
        return self.web.events(*kinds) + self.worker.events(*kinds)


def watch_a_day(place: Place, release: Process, cookies: dict[str, str]) -> Day:
    """Run a deploy for a while and return what was seen."""
    before = written(place)
    try:
        web = place.web()
    except Broken as broken:
        what = f"with nothing but what pyproject.toml declares, {broken.what}"
        raise Broken("II Dependencies", what, "declare it", broken.output, 'programs = ["…"]') from None
    day = Day(place, web, place.worker(), release, before)
    pages, static = place.ask(PAGES)
    day.static = {path: web.get(path).status for path in static if path.startswith("/")}
    for path in pages:
        day.answers[path] = [web.get(path, dict(each)) for each in ({}, cookies)[: 1 + bool(cookies)]]
    day.loggers, day.queued, _ = web.ask(given(USE, token=day.token, own=own())) or ([], "", "")
    web.ask(f"raise RuntimeError('an error of {day.token}')")
    day.paths = [f"/{day.token}-{number}" for number in range(8)]
    for path in day.paths:
        web.ask("", path=path)
    wait(lambda: day.paths[-1] in web.printed(), 5)
    if day.queued == "READY":
        wait(lambda: day.token in day.worker.printed() or day.worker.popen.poll() is not None, 10)
    day.output, day.ended = (web.printed(), day.worker.printed()), day.worker.popen.poll() is not None
    day.listeners, day.sockets = web.listeners(), web.listeners("unix")
    members = web.members() + day.worker.members()
    day.programs, pids = programs(members), {str(process.pid) for process in members}
    running = {name: each for name, each in left(day, pids).items() if each[0] == "VIII Concurrency"}
    for process in (web, day.worker):
        process.signal(15)
        process.finish()
    day.files = running | left(day, set())
    day.status = git("status", "--porcelain", "--untracked-files=no", directory=place.code) or ""
    return day


def programs(processes: list[Any]) -> set[str]:
    """Return what runs: of each command line the program and what it is told to do, without Python and options."""
    lines = [[word.rpartition("/")[2] for word in process.cmdline()] for process in processes]
    lines = [line[1:] if line and line[0].startswith("python") else line for line in lines]
    return {" ".join([word for word in line if word[:1] != "-"][:2]) for line in lines if line[:1] != ["sh"]} - {""}


def written(place: Place) -> dict[Path, int]:
    """Return when each file of a place was last written, those of its services apart."""
    found = [path for name in ("code", "home", "tmp") for path in (place.root / name).rglob("*")]
    return {path: path.lstat().st_mtime_ns for path in found if path.is_file() and path.suffix != ".pyc"}


def left(day: Day, pids: set[str]) -> dict[str, tuple[str, str]]:
    """Return the files that processes wrote and did not remove: the factor of each, and words."""
    place, found = day.place, {}
    events = {event["target"]: event for event in reversed(day.events("write", "database"))}
    for path, at in written(place).items():
        if day.before.get(path) != at:
            events.setdefault(str(path), {"by": "", "logs": False, "time": 0.0})
    attached = (*(place.root / name for name in ("media", "mail", "code/.git")), Path("/dev"), Path("/proc"))
    database = urlsplit(place.environment["DATABASE_URL"]).path[1:]
    for target, event in events.items():
        path, name = Path(target), target.removeprefix(f"{place.code}/")
        gone = not path.is_file() or path.suffix == ".pyc" or any(map(path.is_relative_to, attached))
        if gone or target.startswith(database or "nothing"):
            continue
        content, factor = path.read_bytes(), "VI Processes"
        if name in held():
            factor = "I Codebase"
        elif content.startswith(b"SQLite format 3") or name.endswith(("-wal", "-shm", "-journal")):
            factor = "IV Backing services"
        elif event["logs"] or f" says {day.token}".encode() in content:
            factor = "XI Logs"
        elif content.decode(errors="ignore").strip() in pids:
            factor = "VIII Concurrency"
        elif name != target and 0 < event["time"] < day.web.begun + day.web.seconds:
            factor = "V Build, release, run"
        found[name] = (factor, f"{name}, written by {event['by'] or 'a library'}")
    return found


def strangers(events: list[dict[str, Any]], place: Place, factor: str) -> dict[str, str]:
    """Return what the project asked for and git does not hold; what is there where you work is the matter of I."""
    found = {}
    usual = [place.root, *map(Path, ("/dev", "/proc", "/sys", "/usr", "/etc/localtime", sys.prefix, sys.base_prefix))]
    for event in events:
        name = event["target"].partition("/code/")[2] or event["target"]
        if event["event"] == "import":
            name = event["target"].replace(".", "/")
            known = name.partition("/")[0] not in own() and not (PROJECT / f"{name}.py").exists()
            known = known or any(file == f"{name}.py" or file.startswith(f"{name}/") for file in held())
        elif name[:1] == "/":
            known = Path(name).is_dir() or any(map(Path(name).is_relative_to, usual))
        else:
            known = name in held() or name.endswith(".pyc") or any(file.startswith(f"{name}/") for file in held())
            known = known or name.startswith(("staticfiles", "media", "mail"))
            known = known or (event["event"] == "look" and "." not in Path(name).name)  # a directory, perhaps
        here = name[:1] != "/" and ((PROJECT / name).exists() or (PROJECT / f"{name}.py").exists())
        matter = "I Codebase" if here and not event["settings"] else "III Config"
        counts = (event["direct"] or here) and not event["manage"] and event["event"] in ("read", "look", "import")
        if counts and not known and matter == factor:
            found[name] = f"{event['by'] or 'a library'} asks for {name}"
    return found


def why(process: Process, broken: Broken | None = None) -> Broken:
    """Return the factor that keeps a process from starting, as far as what it did tells."""
    said, code = f"{process.printed()}\n{process.printed('err')}", process.popen.poll()
    module = said.rpartition("No module named '")[2].partition("'")[0] if "No module named '" in said else ""
    if code is None or (broken and broken.factor != "VII Port binding"):
        return broken
    factor = "V Build, release, run" if broken is None else broken.factor
    what, instead = f"`{process.command}` ends with exit code {code}", "read what it says"
    here = Place(PROJECT, process.place.root / "here", process.place.environment["DATABASE_URL"])
    starts = [event for event in process.events("program") if event["direct"]]
    hidden = [event for event in process.events("variable") if event["target"] not in documented()]
    hidden += [event for event in process.events("read", "look") if not Path(event["target"]).exists()]
    if module.partition(".")[0] in own() or not here.run(f'"{sys.executable}" manage.py check').popen.returncode:
        factor, instead = "I Codebase", "commit it, or make it a dependency"
        what = f"it starts where you work and not in a clone: git does not hold {module.replace('.', '/')}.py"
    elif module:
        factor, instead = "II Dependencies", "declare it: `uv add`"
        what = f"{module} is imported, and no dependency of pyproject.toml brings it"
    elif starts and "FileNotFoundError" in said:
        factor, instead = "II Dependencies", "use a library that pyproject.toml declares"
        what = f"{starts[-1]['by']} starts {starts[-1]['target']}, which is not here"
    elif hidden and ("KeyError" in said or "FileNotFoundError" in said):
        factor, instead = "III Config", "read it from a variable that .env.example describes"
        what = f"without {hidden[-1]['target']}, which {hidden[-1]['by']} asks for, it does not start"
    return Broken(factor, what, instead, process.tail)
