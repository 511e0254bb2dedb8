"""One day of a deploy, watched: both processes start, pages are visited, a task runs.

What they left behind is told apart here, so that one file is the matter of one factor alone.
"""

import json
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.factors.processes import WATCH, Deploy, Process, wait, with_home
from tests.factors.source import committed

# The addresses of all pages that need no argument, and the cookie of somebody who may see them.
PAGES = """
from django.urls import get_resolver, URLPattern, reverse, NoReverseMatch
names = [key for key in get_resolver().reverse_dict if isinstance(key, str)]
paths = set()
for name in names:
    try:
        paths.add(reverse(name))
    except NoReverseMatch:
        pass
answer([sorted(paths | {"/"}), queued])
"""

ENQUEUE = "from tests.factors import work\nqueued = work.{task}.enqueue(*{arguments!r}).status\n"

CODE = {".py", ".html", ".css", ".js", ".svg", ".mo", ".po", ".toml", ".lock", ".gz", ".br"}


@dataclass
class Write:
    """A file that a process wrote and left."""

    path: Path
    by: str  # the line of the project that opened it, as far as it is known
    factors: set[str]

    def __str__(self) -> str:
        """Name the file, and who wrote it."""
        return f"{self.path} was written" + (f" by {self.by}" if self.by else "")


@dataclass
class Day:
    """What was seen."""

    web: Process
    worker: Process
    token: str
    paths: list[str]  # requested one after the other, and not found
    queued: str  # the state of the task when it was enqueued: SUCCESSFUL where no worker was needed
    writes: list[Write]
    connections: list[dict]
    programs: list[dict]

    def of(self, factor: str) -> str:
        """Return the files that are the matter of a factor, in words, or nothing."""
        return "; ".join(str(write) for write in self.writes if factor in write.factors)


def snapshot(directories: list[Path]) -> dict[Path, int]:
    """Return when each file was last written."""
    files = [path for directory in directories for path in directory.rglob("*") if path.is_file()]
    return {path: path.stat().st_mtime_ns for path in files if "__pycache__" not in path.parts}


def read_notes(file: Path) -> list[dict]:
    """Return what the watched processes noted."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def watched(deploy: Deploy) -> dict[str, str]:
    """Return the variables that make a process note what it does."""
    return {"PYTHONPATH": str(WATCH), "FACTORS_WATCH": str(deploy.root / "notes")}


def watch_a_day(deploy: Deploy) -> Day:
    """Run the deploy for a while and return what was seen."""
    places = [deploy.code, deploy.root / "home", deploy.root / "tmp"]
    before = snapshot(places)
    token = secrets.token_hex(12)
    worker = deploy.start(deploy.command("worker"), **watched(deploy))
    web = deploy.web(**watched(deploy))
    started = time.time()
    pages, queued = deploy.ask(ENQUEUE.format(task="say", arguments=[token]) + PAGES)
    for path in pages:
        web.get(path)
    paths = [f"/{token}-{number}" for number in range(8)]
    for path in paths:
        web.get(path)
    if queued == "READY":
        wait(lambda: any(token in line for line in worker.stdout + worker.stderr) or worker.popen.poll() is not None)
    wait(lambda: web.has(paths[-1]), 5)

    notes = read_notes(deploy.root / "notes")
    openers = {note["target"]: note for note in reversed(notes) if note["event"] == "write"}
    changed = {path for path, at in snapshot(places).items() if before.get(path) != at}
    opened = {Path(target) for target in openers if Path(target).is_file()}
    attached = [deploy.root / "media", deploy.root / "mail", deploy.root / "notes", Path("/dev"), Path("/proc")]
    database = urlsplit(deploy.environment["DATABASE_URL"]).path[1:]
    pids = set(map(str, with_home(deploy.environment["HOME"])))
    writes = []
    for path in sorted(changed | opened):
        if path.suffix == ".pyc" or any(path.is_relative_to(place) for place in attached):
            continue
        if str(path).startswith(database) and database:
            continue
        note = openers.get(str(path), {"by": "", "logs": False, "time": 0})
        factors = blame(path, deploy.code, token, note, started, pids)
        name = path.relative_to(deploy.code) if path.is_relative_to(deploy.code) else path
        writes.append(Write(name, note["by"], factors))
    hosts = attached_hosts(deploy.environment)
    connections = [
        note
        for note in notes
        if (note["event"] in ("socket.connect", "socket.sendto") and note["target"] not in hosts)
        or (note["event"] == "sqlite3.connect" and not note["target"].startswith((database or "/dev/null", ":memory:")))
    ]
    programs = [note for note in notes if note["event"] in ("subprocess.Popen", "os.system", "os.posix_spawn")]
    return Day(web, worker, token, paths, queued, writes, connections, programs)


def enqueue(deploy: Deploy, *tasks: tuple[str, list]) -> None:
    """Enqueue tasks of work.py for the workers of a deploy."""
    code = "".join(ENQUEUE.format(task=task, arguments=arguments) for task, arguments in tasks)
    if deploy.ask(f"{code}answer(queued)") != "READY":
        deploy.fail("no task waits for a worker, with TASKS=database: see IV Backing services")


def attached_hosts(environment: dict[str, str]) -> set[str]:
    """Return host:port of every service that the environment names by URL."""
    ports = {"postgres": 5432, "postgresql": 5432, "mysql": 3306, "redis": 6379, "rediss": 6379, "smtp": 25}
    found = set()
    for name, value in environment.items():
        if name.endswith("_URL") and "://" in value:
            for part in value.split(","):
                url = urlsplit(part if "://" in part else f"//{part}")
                if url.hostname:
                    port = url.port or ports.get(url.scheme, 0)
                    hosts = (url.hostname, "127.0.0.1", "::1") if url.hostname == "localhost" else (url.hostname,)
                    found |= {f"{host}:{port}" for host in hosts}
    return found


def blame(path: Path, code: Path, token: str, note: dict, started: float, pids: set[str]) -> set[str]:
    """Return the factor whose matter a written file is; code of the commit is that of two."""
    content = path.read_bytes()
    here = path.relative_to(code) if path.is_relative_to(code) else None
    if content.startswith(b"SQLite format 3") or path.name.endswith(("-wal", "-shm", "-journal")):
        return {"IV"}
    if note["logs"] or token.encode() in content or ".log" in path.name or path.parent.name in ("log", "logs"):
        return {"XI"}
    if here in committed():
        return {"I", "V"} if path.suffix in CODE - {".svg"} else {"I"}
    if path.suffix == ".pid" or content.strip().decode(errors="ignore") in pids:
        return {"VIII"}
    if here and ("static" in here.parts[0] or path.suffix in CODE or 0 < note["time"] < started):
        return {"V"}
    return {"VI"}
