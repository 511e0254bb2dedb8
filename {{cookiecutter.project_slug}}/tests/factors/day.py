"""One watched day of a deploy: it starts, answers every page that needs no argument, runs a task, logs and stops.

What it left behind is told apart here, so that one file is the matter of one factor alone.
"""

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.factors import work
from tests.factors.deploy import PROJECT, Broken, Place, Process, Response, git, held, wait

# The addresses of all pages that need no argument, and a session of somebody who may see them.
PAGES = """
from django.conf import settings
from django.urls import URLPattern, get_resolver
def walk(patterns, prefix):
    for pattern in patterns:
        here = prefix + str(pattern.pattern).removeprefix("^").removesuffix("$").removesuffix(r"\\Z")
        if isinstance(pattern, URLPattern):
            yield here
        else:
            yield from walk(pattern.url_patterns, here)
pages = sorted({path for path in walk(get_resolver().url_patterns, "/") if not set(path) & set("<>()[]*+?\\\\|^$")})
"""
STATIC = """
from itertools import islice
from django.contrib.staticfiles.finders import get_finders
from django.contrib.staticfiles.storage import staticfiles_storage
static = []
for name in islice((name for finder in get_finders() for name, _ in finder.list([])), 5):
    try:
        static.append(staticfiles_storage.url(name))
    except Exception:
        static.append(settings.STATIC_URL + name)
"""
LOGIN = """
from django.contrib.auth import get_user_model
from django.test import Client
cookies = {}
try:
    User = get_user_model()
    who = {User.USERNAME_FIELD: "factors@example.com"}
    user = User.objects.filter(**who).first() or User(**who, is_staff=True, is_superuser=True)
    user.set_unusable_password()
    user.save()
    client = Client()
    client.force_login(user)
    cookies = {name: morsel.value for name, morsel in client.cookies.items()}
except Exception:
    pass
"""

# What an application does with its services, in the middle of a request; a part that it does not have is left out.
USE = """
import logging, sys
from contextlib import suppress
from django.core.cache import caches
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.mail import send_mail
from tests.factors import work
for alias in caches:
    with suppress(Exception):
        caches[alias].set({token!r}, "kept", 60)
with suppress(Exception):
    send_mail({token!r}, "Text", None, ["ada@example.com"])
with suppress(Exception):
    default_storage.save({token!r} + ".txt", ContentFile(b"an upload"))
tops = {tops!r}
names = {{name for name in [*sys.modules, *logging.root.manager.loggerDict] if name.partition(".")[0] in tops}}
for name in sorted(names):
    logging.getLogger(name).error("%s says %s", name, {token!r})
answer([sorted(names), work.enqueue("say", {token!r})])
"""


@dataclass
class File:
    """A file that a process wrote and left."""

    name: str
    by: str  # the line of the project, as far as it is known
    factor: str

    def __str__(self) -> str:
        """Name the file, and who wrote it."""
        return f"{self.name}, written by {self.by or 'a library'}"


@dataclass
class Day:
    """What was seen."""

    place: Place
    web: Process
    worker: Process
    release: Process
    token: str
    answers: dict[str, list[Response]] = field(default_factory=dict)  # by path, as nobody and logged in
    loggers: list[str] = field(default_factory=list)
    queued: str = ""
    paths: list[str] = field(default_factory=list)  # requested one after the other
    sockets: list[str] = field(default_factory=list)
    listeners: set[tuple[str, int]] = field(default_factory=set)
    files: list[File] = field(default_factory=list)
    output: str = ""  # of the web process while it ran
    worker_output: str = ""
    errors: dict[str, str] = field(default_factory=dict)  # what came to stderr
    status: str = ""  # what git says has changed
    worker_code: int | None = None
    static: dict[str, int] = field(default_factory=dict)  # what static files answer
    before: dict[Path, int] = field(default_factory=dict)

    def of(self, factor: str) -> dict[str, str]:
        """Return the files that are the matter of a factor, with words for each."""
        return {file.name: str(file) for file in self.files if file.factor == factor}

    def absent(self) -> list[dict[str, Any]]:
        """Return what pages that failed read here, where you work, and git does not hold."""
        failed = any(answer.status >= 500 for answers in self.answers.values() for answer in answers)
        missing = [event for event in self.events("read", "import") if event["direct"] and failed]
        return [event for event in missing if is_left_out(event, self.place.code) and event["target"] in self.output]

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        """Return what the web and the worker process did."""
        return self.web.events(*kinds) + self.worker.events(*kinds)


def is_left_out(event: dict[str, Any], code: Path) -> bool:
    """Tell whether a file or module of the project is here, where you work, and git does not hold it."""
    path = Path(event["target"])
    if event["event"] == "import":
        path = code / f"{event['target'].replace('.', '/')}.py"
    here = str(path.relative_to(code)) if path.is_relative_to(code) else ""
    return bool(here) and here not in held() and (PROJECT / here).is_file()


def tops() -> set[str]:
    """Return the names of the project's own packages and modules."""
    names = {Path(name).parts[0].removesuffix(".py") for name in held() if name.endswith(".py")}
    return names - {"tests", "gunicorn.conf", "conftest"}


def watch_a_day(place: Place, release: Process, cookies: dict[str, str]) -> Day:
    """Run a deploy for a while and return what was seen."""
    before = snapshot(place)
    try:
        web = place.web()
    except Broken as broken:
        what = f"with nothing but what pyproject.toml declares, {broken.what}"
        instead, output = "declare what is missing, or allow it", place.processes[0].tail
        raise Broken("II Dependencies", what, instead, 'programs = ["…"]', output) from None
    day = Day(place, web, place.worker(work.OPTIONS), release, secrets.token_hex(12), before=before)
    pages, static = place.ask(f"{PAGES}{STATIC}answer([pages, static])")
    day.static = {path: web.get(path).status for path in static if path.startswith("/")}
    for path in pages[:200]:
        day.answers[path] = [web.get(path), *([web.get(path, dict(cookies))] if cookies else [])]
    day.loggers, day.queued = web.ask(USE.format(token=day.token, tops=tops())) or ([], "")
    web.ask(f"raise RuntimeError('an error of {day.token}')")
    day.paths = [f"/{day.token}-{number}" for number in range(8)]
    for path in day.paths:
        web.ask("", path=path)
    wait(lambda: day.paths[-1] in web.stdout, 5)
    if day.queued == "READY":
        wait(lambda: day.token in day.worker.stdout or day.worker.popen.poll() is not None, 10)
    day.output, day.worker_output, day.listeners = web.stdout, day.worker.stdout, web.listeners()
    for process in web.members():
        day.sockets += [each.laddr for each in process.net_connections("unix") if each.laddr]
    day.worker_code = day.worker.popen.poll()
    pids = {str(process.pid) for process in web.members() + day.worker.members()}
    running = [file for file in left(day, pids) if file.factor == "VIII Concurrency"]
    place.stop(web)
    place.stop(day.worker)
    day.files = running + [file for file in left(day) if file.name not in {each.name for each in running}]
    day.errors = {"web": web.stderr, "worker": day.worker.stderr}
    day.status = git("status", "--porcelain", "--untracked-files=no", directory=place.code) or ""
    return day


def snapshot(place: Place) -> dict[Path, int]:
    """Return when each file of a place was last written, the attached services and our own files apart."""
    found = [path for name in ("code", "home", "tmp") for path in (place.root / name).rglob("*")]
    return {path: path.lstat().st_mtime_ns for path in found if path.is_file() and path.suffix != ".pyc"}


def left(day: Day, pids: set[str] | None = None) -> list[File]:
    """Return the files that the processes wrote and did not remove; `pids` are of those that run."""
    place, found = day.place, []
    written = {event["target"]: event for event in reversed(day.events("write", "database"))}
    for path, at in snapshot(place).items():
        if day.before.get(path) != at:
            written.setdefault(str(path), {"by": "", "logs": False, "time": 0.0})
    attached = [place.root / "media", place.root / "mail", place.code / ".git", Path("/dev"), Path("/proc")]
    database = urlsplit(place.environment["DATABASE_URL"]).path[1:] or "nothing"
    for name, event in written.items():
        path = Path(name)
        if not path.is_file() or path.suffix == ".pyc" or any(path.is_relative_to(each) for each in attached):
            continue
        if not name.startswith(database):
            here = str(path.relative_to(place.code)) if path.is_relative_to(place.code) else ""
            found.append(File(here or name, event["by"], factor_of(path, here, event, day, pids or set())))
    return found


def factor_of(path: Path, here: str, event: dict[str, Any], day: Day, pids: set[str]) -> str:
    """Return the factor whose matter a file is that a process wrote."""
    content = path.read_bytes()
    if here in held():
        return "I Codebase"
    if content.startswith(b"SQLite format 3") or path.name.endswith(("-wal", "-shm", "-journal")):
        return "IV Backing services"
    if event["logs"] or (day.token.encode() in content and b" says " in content):
        return "XI Logs"
    if content.decode(errors="ignore").strip() in pids:
        return "VIII Concurrency"
    started = event["time"] and event["time"] < day.web.begun_at + day.web.seconds_to_start
    return "V Build, release, run" if here and started else "VI Processes"


def why(process: Process) -> Broken:
    """Return the factor that keeps a process from starting, as far as what it did tells."""
    said = f"{process.stdout}\n{process.stderr}"
    code = process.popen.poll()
    what = f"`{process.command}` ends with exit code {code}" if code is not None else "nothing answers on PORT"
    elsewhere = sorted(process.place.elsewhere(process))
    if code is None and elsewhere:
        what += f", it listens on {', '.join(map(str, elsewhere))}"
    broken = Broken(
        "VII Port binding", f"the web process does not start: {what}", "read what it says", output=process.tail
    )
    if code is None:
        return broken
    module = said.rpartition("No module named '")[2].partition("'")[0] if "No module named '" in said else ""
    file = module.replace(".", "/")
    place = Place(PROJECT, process.place.root / "here", process.environment)
    place.root.mkdir(exist_ok=True)
    if module.partition(".")[0] in tops() or place.load_alone().popen.returncode == 0:
        name = f"{file}.py" if module else "something that it needs"
        what = f"it starts where you work and not in a clone: git does not hold {name}"
        return Broken("I Codebase", what, "commit it, or make it a dependency", output=process.tail)
    if module:
        what = f"{module} is imported, and no dependency of pyproject.toml brings it"
        return Broken(
            "II Dependencies", what, f"run `uv add` with the distribution that has {module}", output=process.tail
        )
    programs = [event for event in process.events("program") if event["direct"]]
    if programs and "FileNotFoundError" in said:
        what = f"{programs[-1]['by']} starts {programs[-1]['target'].split()[0]}, which is not here"
        return Broken("II Dependencies", what, "use a library that pyproject.toml declares", output=process.tail)
    documented = (PROJECT / ".env.example").read_text(encoding="utf-8")
    for event in reversed(process.events("variable", "read", "look")):
        path = Path(event["target"])
        hidden = event["event"] == "variable" and f"{event['target']}=" not in documented
        if hidden or (event["event"] != "variable" and not path.exists() and not path.is_relative_to("/dev")):
            what = f"without {event['target']}, which {event['by']} reads, it does not start"
            return Broken(
                "III Config", what, "read it from a variable that .env.example describes", output=process.tail
            )
    return broken
