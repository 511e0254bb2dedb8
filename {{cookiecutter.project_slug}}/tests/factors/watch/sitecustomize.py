"""Notes what a process does to the outside, by Python's audit hooks: Python imports this at start, as PYTHONPATH says.

Each event is a line of JSON in FACTORS_EVENTS, with the line of the project behind it; C libraries are not seen.
"""

import json
import os
import re
import sys
import threading
import time
import traceback
from typing import Any

EVENTS, CODE = os.environ["FACTORS_EVENTS"], os.environ["FACTORS_CODE"] + os.sep
TESTS = CODE + os.path.join("tests", "factors") + os.sep
SETTINGS = os.environ["FACTORS_SETTINGS"]  # their file, or the directory of their package
STOP = {"write", "program", "address", "settings"} if "FACTORS_STOP" in os.environ else set()  # end before these
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
# Audit events, and which of their arguments tell what it is about.
CHANGES = {"os.rename": 1, "os.remove": 0, "os.rmdir": 0, "shutil.rmtree": 0}  # os.replace is a rename
PROGRAMS = {"subprocess.Popen": 1, "os.system": 0, "os.exec": 1, "os.posix_spawn": 1}
ADDRESSES = {"socket.connect": 1, "socket.sendto": 1, "socket.getaddrinfo": slice(2), "socket.gethostbyname": 0}
# Modules that act for their caller. Others act for themselves: argparse reads COLUMNS, mimetypes /etc/mime.types.
READERS = {"os", "collections", "contextlib", "environs", "environ", "decouple", "dotenv"}
OPENERS = READERS | {"io", "codecs", "pathlib", "posixpath", "genericpath", "configparser", "json", "tomllib", "csv"}
OPENERS |= {"shelve", "dbm", "shutil", "runpy", "tempfile", "zipfile", "gzip", "fileinput", "yaml"}
STARTERS, NAMERS = {"os", "subprocess", "asyncio", "contextlib", "sh"}, {"os", "socket", "platform"}
SEEN, IGNORED, thread = set[tuple[str, str, str]](), set[str](), threading.local()


def file_of(frame: Any) -> str:
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
    """Write an event down, once for each line of the project; direct: not done by a library that it called."""
    frames = [frame for frame, _ in traceback.walk_stack(sys._getframe(1))]
    ours = [(file, each.f_lineno) for each in frames if (file := file_of(each))]
    by = f"{ours[0][0].removeprefix(CODE)}:{ours[0][1]}" if ours else ""
    if (event, target, by) in SEEN or event in IGNORED:
        return
    SEEN.add((event, target, by))
    files, functions = [file for file, _ in ours], [each.f_code.co_name for each in frames]
    line = {"event": event, "target": target, "by": by, "direct": direct, "time": time.time()}
    line["settings"] = any(file.startswith(SETTINGS) or file.endswith("gunicorn.conf.py") for file in files)
    line["manage"] = files[-1:] == [CODE + "manage.py"] and "execute_from_command_line" not in functions
    line["logs"] = any(each.f_globals.get("__name__", "").startswith("logging") for each in frames)
    with open(EVENTS, "a") as file:
        file.write(json.dumps(line) + "\n")
    if event in STOP:
        os._exit(0)


def text(value: Any, separator: str = "") -> str:
    parts = value if isinstance(value, (list, tuple)) else [value]
    return separator.join(os.fsdecode(part) if isinstance(part, (bytes, os.PathLike)) else str(part) for part in parts)


def look(event: str, args: tuple) -> None:
    if event == "open" and isinstance(args[0], (str, bytes)):
        if (caller := sys._getframe(1).f_back) and caller.f_code.co_name[:7] == "_rmtree":  # names in an open directory
            return
        path, ours = os.path.abspath(text(args[0])), is_ours(OPENERS)
        if args[2] & WRITING or ours or not os.path.exists(path):
            note("write" if args[2] & WRITING else "read", path, ours)
    elif event in CHANGES and (STOP or event == "os.rename"):
        note("write", os.path.abspath(text(args[CHANGES[event]])), is_ours(OPENERS))
    elif event in PROGRAMS:
        note("program", text(args[PROGRAMS[event]], " "), is_ours(STARTERS))
    elif event in ADDRESSES:
        note("address", text(args[ADDRESSES[event]], ":"))
    elif event == "sqlite3.connect":
        note("database", os.path.abspath(text(args[0])) if args[0] != ":memory:" else args[0])
    elif event == "socket.gethostname" and is_ours(NAMERS):
        note("hostname", "")
    elif event == "import":
        watch_django()
        if is_ours({"importlib", "_frozen_importlib", "_frozen_importlib_external"}):
            note("import", args[0])
    elif event == "factors" and (args[2] is None or is_ours(args[2])):
        note(args[0], args[1])


def hook(event: str, args: tuple) -> None:
    if not getattr(thread, "busy", False):  # what seeing an event causes is not seen
        thread.busy = True
        try:
            look(event, args)
        finally:
            thread.busy = False


def watch(owner: Any, name: str, event: str, through: set[str] | None, tell: Any, instead: Any = None) -> None:
    """Note the calls of a method or function, with the target that `tell` makes of its arguments."""
    function = getattr(owner, name)

    def wrapper(*args: Any, **options: Any) -> Any:
        if not options.get("dir_fd") and (target := tell(*args)) is not None:
            sys.audit("factors", event, target, through)
        return (instead and instead(*args)) or function(*args, **options)

    setattr(owner, name, wrapper)
    for functions in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks):
        functions |= {wrapper} if function in functions else set()


def copy(_: Any) -> None:  # of all variables, for a program say: that reads none
    thread.copying = (id(sys._getframe(2)), sys._getframe(2).f_lasti)


def read(_: Any, name: Any) -> str | None:
    frame = sys._getframe(2)
    copies = (id(frame), frame.f_lasti) == getattr(thread, "copying", None)
    return None if copies or frame.f_code.co_name == "__iter__" else text(name)  # of items() and values()


def looked_at(path: Any, *_: Any) -> str | None:
    resolves = sys._getframe(3).f_code.co_name == "resolve"  # on Python 3.12 Path.resolve() looks for loops of links
    return None if resolves or isinstance(path, int) else os.path.abspath(text(path))


def run(script: str, **names: Any) -> Any:  # what the script answers is found in a file beside it
    def answer(value: Any) -> None:
        with open(script.replace(".py", ".json"), "w") as file:
            json.dump(value, file, default=str)

    with open(script) as file:
        exec(compile(file.read(), script, "exec"), {"__name__": "__factors__", "answer": answer, **names})
    return "request" in names and sys.modules["django.http"].HttpResponse("done")


def plain(value: Any) -> Any:  # for another process to compare: no addresses in memory, sets in order
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(each) for each in (sorted(value, key=repr) if isinstance(value, (set, frozenset)) else value)]
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value)).replace(CODE[:-1], ".")


asked = lambda _, each: "HTTP_X_FACTORS" in each.META and run(each.META["HTTP_X_FACTORS"], request=each)  # noqa: E731
DJANGO = {  # methods that are watched once their module is loaded
    "django.core.handlers.base": ("BaseHandler", "_get_response", "request", None, lambda *_: None, asked),
    "django.core.management.base": ("BaseCommand", "execute", "command", None, lambda self, *_: self.__module__),
    "django.conf": ("Settings", "__init__", "settings", None, lambda _, module: module),
}


def watch_django() -> None:
    for module in [name for name in DJANGO if hasattr(sys.modules.get(name), DJANGO[name][0])]:
        owner, *what = DJANGO.pop(module)
        watch(getattr(sys.modules[module], owner), *what)


Arguments = type("Arguments", (list,), {})  # sys.argv, which notes who looks at it
sys.modules |= {"brotli": None} if "FACTORS_BUILD" in os.environ else {}  # which takes four fifths of a build
watch(os._Environ, "keys", "", None, copy)
watch(os._Environ, "__getitem__", "variable", READERS, read)
watch(os._Environ, "__setitem__", "change", READERS, lambda _, name, __: text(name))
watch(os, "stat", "look", OPENERS, looked_at)
watch(os, "uname", "hostname", NAMERS, lambda: "")
for method in ("__getitem__", "__contains__", "__iter__", "__len__", "__eq__", "index", "count"):
    watch(Arguments, method, "argv", set(), lambda *_: "")
sys.argv = Arguments(sys.argv)
sys.addaudithook(hook)
