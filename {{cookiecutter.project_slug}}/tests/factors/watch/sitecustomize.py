"""Notes what a process does to the outside: Python imports this at start, because PYTHONPATH names its directory.

Each event is one line of JSON in the file that FACTORS_EVENTS names, with the line of the project behind it. Most come
from Python's audit hooks (https://docs.python.org/3/library/audit_events.html); what C libraries do is not seen.
"""

import importlib.util
import json
import os
import re
import sys
import threading
import time
from types import FrameType, SimpleNamespace
from typing import Any

EVENTS, CODE = os.environ["FACTORS_EVENTS"], os.environ["FACTORS_CODE"] + os.sep
TESTS = CODE + os.path.join("tests", "factors") + os.sep
SETTINGS = os.environ["FACTORS_SETTINGS"]  # their file, or the directory of their package
STOP = {"write", "program", "address", "settings"} if "FACTORS_STOP" in os.environ else set()  # end before these

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
# Audit events, and which of their arguments tell what it is about.
PROGRAMS = {"subprocess.Popen": 1, "os.system": 0, "os.exec": 1, "os.posix_spawn": 1, "os.spawn": 2}
ADDRESSES = {"socket.connect": 1, "socket.sendto": 1, "socket.getaddrinfo": slice(2), "socket.gethostbyname": 0}
# Modules that do what their caller asks for, who is the one that did it. Others act for themselves: argparse reads
# COLUMNS, mimetypes reads /etc/mime.types, platform runs uname.
READERS = {"os", "_collections_abc", "collections", "contextlib", "environs", "environ", "decouple", "dotenv"}
OPENERS = READERS | {"io", "codecs", "pathlib", "posixpath", "genericpath", "configparser", "json", "tomllib", "csv"}
OPENERS |= {"shelve", "dbm", "shutil", "runpy", "tempfile", "zipfile", "gzip", "fileinput", "yaml"}
STARTERS = {"os", "subprocess", "asyncio", "contextlib", "sh"}
NAMERS = {"os", "socket", "platform"}
IMPORTERS = {"importlib", "_frozen_importlib", "_frozen_importlib_external"}

SEEN: set[tuple[str, str, str]] = set()
thread = threading.local()


def file_of(frame: FrameType) -> str:
    """Return the file of a frame that runs code of the project, these tests apart, or nothing."""
    name = frame.f_code.co_filename
    file = os.path.join(CODE, name)
    return file if file.startswith(CODE) and not file.startswith(TESTS) and name[:1] != "<" else ""


def is_ours(through: set[str]) -> bool:
    """Tell whether the project did something: its frame is the innermost one, but for those of some modules."""
    frame = sys._getframe(1)
    while frame and frame.f_globals.get("__name__", "").partition(".")[0] in through | {"sitecustomize"}:
        frame = frame.f_back
    return bool(frame and file_of(frame))


def note(event: str, target: str, direct: bool = True) -> None:
    """Write an event down, once for each line of the project."""
    frames, frame = [], sys._getframe(1)
    while frame:
        frames.append(frame)
        frame = frame.f_back
    ours = [(file, each.f_lineno) for each in frames if (file := file_of(each))]
    by = f"{ours[0][0].removeprefix(CODE)}:{ours[0][1]}" if ours else ""
    if (event, target, by) in SEEN:
        return
    SEEN.add((event, target, by))
    files, names = [file for file, _ in ours], [each.f_code.co_name for each in frames]
    line = {"event": event, "target": target, "by": by, "time": time.time()}
    line["direct"] = direct  # done by that line, and not by a library that it called
    line["settings"] = any(file.startswith(SETTINGS) or file.endswith("gunicorn.conf.py") for file in files)
    line["manage"] = files[-1:] == [CODE + "manage.py"] and "execute_from_command_line" not in names
    line["logs"] = any(each.f_globals.get("__name__", "").startswith("logging") for each in frames)
    descriptor = os.open(EVENTS, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, json.dumps(line).encode() + b"\n")
    os.close(descriptor)
    if event in STOP:
        os._exit(0)


def unseen(function: Any) -> Any:
    """Let what a function does itself go unnoted."""

    def wrapper(*args: Any) -> None:
        if not getattr(thread, "busy", False):
            thread.busy = True
            try:
                function(*args)
            finally:
                thread.busy = False

    return wrapper


def text(value: Any, separator: str = "") -> str:
    parts = value if isinstance(value, (list, tuple)) else [value]
    return separator.join(os.fsdecode(part) if isinstance(part, (bytes, os.PathLike)) else str(part) for part in parts)


@unseen
def see(event: str, args: tuple) -> None:
    if event == "open" and isinstance(args[0], (str, bytes)):
        if args[2] & WRITING:
            note("write", os.path.abspath(text(args[0])), is_ours(OPENERS))
        elif is_ours(OPENERS) or not os.path.exists(args[0]):
            note("read", os.path.abspath(text(args[0])), is_ours(OPENERS))
    elif event in PROGRAMS:
        note("program", text(args[PROGRAMS[event]], " "), is_ours(STARTERS))
    elif event in ADDRESSES:
        note("address", text(args[ADDRESSES[event]], ":"))
    elif event == "sqlite3.connect":
        note("database", os.path.abspath(text(args[0])) if args[0] != ":memory:" else args[0])
    elif event == "socket.gethostname" and is_ours(NAMERS):
        note("hostname", "")
    elif event == "import" and is_ours(IMPORTERS):
        note("import", args[0])


@unseen
def see_ours(event: str, target: str, through: set[str]) -> None:
    if is_ours(through):
        note(event, target)


def watch_environment() -> None:
    """Note the variables that are read; a copy of them all, for a program say, reads none."""
    getitem = os._Environ.__getitem__

    def keys(self: os._Environ) -> Any:
        thread.copying = (id(sys._getframe(1)), sys._getframe(1).f_lasti)
        return super(os._Environ, self).keys()

    def read(self: os._Environ, name: Any) -> str:
        frame = sys._getframe(1)
        copying = (id(frame), frame.f_lasti) == getattr(thread, "copying", None)
        if not copying and frame.f_code.co_name != "__iter__":  # of items() and values()
            see_ours("variable", text(name), READERS)
        return getitem(self, name)

    os._Environ.keys, os._Environ.__getitem__ = keys, read


def watch_function(owner: Any, name: str, event: str, through: set[str]) -> None:
    """Note the calls of a function that has no audit event."""
    function = getattr(owner, name)

    def wrapper(*args: Any, **options: Any) -> Any:
        path = args[0] if args and isinstance(args[0], (str, bytes, os.PathLike)) else ""
        see_ours(event, os.path.abspath(text(path)), through)
        return function(*args, **options)

    setattr(owner, name, wrapper)
    for functions in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks):
        functions |= {wrapper} if function in functions else set()


class Arguments(list):
    """sys.argv, which notes who looks at it."""


def run(script: str, **names: Any) -> None:
    """Run a script of the tests in this process; what it answers is found in a file beside it."""

    def answer(value: Any) -> None:
        with open(f"{script}.new", "w") as file:
            json.dump(value, file, default=str)
        os.replace(f"{script}.new", f"{script}.json")

    with open(script) as file:
        exec(compile(file.read(), script, "exec"), {"__name__": "__factors__", "answer": answer, **names})


def plain(value: Any) -> Any:
    """Return a value so that another process can compare it: no addresses in memory, sets in order."""
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(json.dumps(plain(each)) for each in value)
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value)).replace(CODE[:-1], ".")


def answer_request(_: Any, request: Any) -> Any:
    """Run the script that a request carries, in the middle of Django's handling, where a view would run."""
    if "HTTP_X_FACTORS" not in request.META:
        return None
    run(request.META["HTTP_X_FACTORS"], request=request)
    return sys.modules["django.http"].HttpResponse("done")


# Methods of Django, and what is done before each call; what that returns, if anything, is answered instead.
CHANGES = {
    "django.core.handlers.base": ("BaseHandler", "_get_response", answer_request),
    "django.core.management.base": (
        "BaseCommand",
        "execute",
        lambda self, *_: unseen(note)("command", self.__module__),
    ),
    "django.conf": ("Settings", "__init__", lambda _, module: unseen(note)("settings", module)),
}


def change(module: Any, owner: str, name: str, action: Any) -> None:
    method = getattr(getattr(module, owner), name)
    changed = lambda self, *args, **options: action(self, *args) or method(self, *args, **options)  # noqa: E731
    setattr(getattr(module, owner), name, changed)


def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
    """Load a module of CHANGES, changed; others are not found here."""
    wanted = CHANGES.pop(name, None)
    spec = importlib.util.find_spec(name) if wanted else None
    if spec:
        load = spec.loader.exec_module
        spec.loader.exec_module = lambda module: (load(module), change(module, *wanted))
    return spec


if "FACTORS_BUILD" in os.environ:
    sys.modules["brotli"] = None  # compressing takes four fifths of a build, and nothing here looks at it
sys.meta_path.insert(0, SimpleNamespace(find_spec=find_spec))
watch_environment()
watch_function(os, "stat", "look", OPENERS)
watch_function(os, "uname", "hostname", NAMERS)
for method in ("__getitem__", "__contains__", "__iter__", "__len__", "__eq__", "index", "count"):
    watch_function(Arguments, method, "argv", set())
sys.argv = Arguments(sys.argv)
sys.addaudithook(see)
