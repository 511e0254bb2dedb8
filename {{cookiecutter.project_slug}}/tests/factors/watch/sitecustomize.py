"""Notes what a process does to the outside: Python imports this at start, because PYTHONPATH names its directory.

Each event is one line of JSON in the file that FACTORS_EVENTS names, with the line of the project behind it. Most come
from Python's audit hooks (https://docs.python.org/3/library/audit_events.html); what C libraries do is not seen.
"""

import errno
import importlib.util
import json
import os
import re
import sys
import threading
import time
from types import FrameType, ModuleType, SimpleNamespace

EVENTS = os.environ["FACTORS_EVENTS"]
CODE = os.environ["FACTORS_CODE"] + os.sep
TESTS = CODE + os.path.join("tests", "factors") + os.sep
SETTINGS = os.environ["FACTORS_SETTINGS"]  # the file of the settings, or the directory of its package
STOP = "FACTORS_STOP" in os.environ  # end where the settings load, and touch nothing until then

READ_ONLY = "FACTORS_READ_ONLY" in os.environ  # let nobody write to the code
SEEN: set[tuple[str, str, str]] = set()

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
PROGRAMS = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn"}
ADDRESSES = {"socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"}

# Modules that do what their caller asks for, which is then the one that did it. Others act for themselves:
# argparse reads COLUMNS, mimetypes reads /etc/mime.types, platform runs uname.
READERS = {"os", "_collections_abc", "collections", "environs", "environ", "decouple", "dotenv", "starlette"}
OPENERS = {
    "io",
    "codecs",
    "pathlib",
    "posixpath",
    "genericpath",
    "configparser",
    "json",
    "tomllib",
    "csv",
    "shelve",
    "dbm",
}
OPENERS |= READERS | {"shutil", "runpy", "tempfile", "zipfile", "gzip", "fileinput", "yaml", "contextlib"}
STARTERS = {"os", "subprocess", "asyncio", "contextlib", "sh"}
NAMERS = {"os", "socket", "platform"}
IMPORTERS = {"importlib", "_frozen_importlib", "_frozen_importlib_external"}

thread = threading.local()


def is_ours(frame: FrameType) -> bool:
    """Tell whether a frame runs code of the project, these tests apart."""
    file = frame.f_code.co_filename
    return os.path.join(CODE, file).startswith(CODE) and not file.startswith(("<", TESTS))


def caller(through: set[str]) -> FrameType | None:
    """Return the innermost frame that is not of such modules, if it is the project's."""
    frame = sys._getframe(1)
    while frame and frame.f_globals.get("__name__", "").partition(".")[0] in through | {"sitecustomize"}:
        frame = frame.f_back
    return frame if frame and is_ours(frame) else None


def note(event: str, target: str, direct: bool = True) -> None:
    """Write an event down."""
    frames, frame = [], sys._getframe(1)
    while frame:
        frames.append(frame)
        frame = frame.f_back
    ours = [each for each in frames if is_ours(each)]
    files = [os.path.join(CODE, each.f_code.co_filename) for each in ours]
    by = f"{files[0].removeprefix(CODE)}:{ours[0].f_lineno}" if ours else ""
    if (event, target, by) in SEEN:
        return
    SEEN.add((event, target, by))
    line = {
        "event": event,
        "target": target,
        "by": by,
        "direct": direct,  # done by that line, and not by a library that it called
        "settings": any(file.startswith(SETTINGS) or file.endswith("gunicorn.conf.py") for file in files),
        "manage": files[-1:] == [CODE + "manage.py"]
        and all(each.f_code.co_name != "execute_from_command_line" for each in frames),
        "logs": any(each.f_globals.get("__name__", "").partition(".")[0] == "logging" for each in frames),
        "time": time.time(),
    }
    descriptor = os.open(EVENTS, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, json.dumps(line).encode() + b"\n")
    os.close(descriptor)


def unseen(function):
    """Let a function run once a thread: what it does itself is not noted."""

    def wrapper(*args: object) -> None:
        if not getattr(thread, "busy", False):
            thread.busy = True
            try:
                function(*args)
            finally:
                thread.busy = False

    return wrapper


@unseen
def see(event: str, args: tuple) -> None:
    """See every audit event."""
    if event == "open":
        if not isinstance(args[0], (str, bytes)):
            return
        path = os.path.abspath(os.fsdecode(args[0]))
        if args[2] & WRITING:
            note("write", path, bool(caller(OPENERS)))
            if READ_ONLY and path.startswith(CODE):
                raise PermissionError(errno.EROFS, os.strerror(errno.EROFS), path)
        elif caller(OPENERS):
            note("read", path)
    elif event in PROGRAMS:
        words = args[0] if event == "os.system" else args[2] if event == "os.spawn" else args[1]
        words = [words] if isinstance(words, (str, bytes)) else list(words)
        note("program", " ".join(os.fsdecode(word) for word in words), bool(caller(STARTERS)))
    elif event in ADDRESSES:
        address = args[:2] if event == "socket.getaddrinfo" else args[-1]
        address = (address,) if isinstance(address, (str, bytes)) else address
        note("address", ":".join(os.fsdecode(part) if isinstance(part, bytes) else str(part) for part in address[:2]))
    elif event == "sqlite3.connect":
        note("database", os.path.abspath(os.fsdecode(args[0])) if isinstance(args[0], (str, bytes)) else str(args[0]))
    elif event == "socket.gethostname" and caller(NAMERS):
        note("hostname", event)
    elif event == "import" and caller(IMPORTERS):
        note("import", args[0])
        return
    else:
        return
    if STOP and event != "sqlite3.connect" and not (event == "open" and not args[2] & WRITING):
        raise PermissionError("the tests of the factors let this do nothing")


@unseen
def seen(event: str, target: str, through: set[str]) -> None:
    """Note what has no audit event, when the project did it."""
    if caller(through):
        note(event, target)


def watch_environment() -> None:
    """Note the variables that are read; a copy of them all, for a program say, reads none."""
    getitem = os._Environ.__getitem__

    def keys(self: os._Environ) -> object:
        frame = sys._getframe(1)
        thread.copying = (id(frame), frame.f_lasti)
        return super(os._Environ, self).keys()

    def read(self: os._Environ, name: str) -> str:
        frame = sys._getframe(1)
        copying = (id(frame), frame.f_lasti) == getattr(thread, "copying", None)
        if not copying and frame.f_code.co_name != "__iter__":  # of items() and values()
            seen("variable", os.fsdecode(name) if isinstance(name, (str, bytes)) else str(name), READERS)
        return getitem(self, name)

    os._Environ.keys, os._Environ.__getitem__ = keys, read


def watch_function(name: str, event: str, through: set[str]) -> None:
    """Note the calls of a function of os."""
    function = getattr(os, name)

    def wrapper(*args: object, **options: object) -> object:
        path = args[0] if args and isinstance(args[0], (str, bytes, os.PathLike)) else name
        seen(event, os.path.abspath(os.fsdecode(path)), through)
        return function(*args, **options)

    setattr(os, name, wrapper)
    for functions in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks):
        if function in functions:
            functions.add(wrapper)


class Arguments(list):
    """sys.argv, which notes who looks at it."""


def watch_arguments() -> None:
    """Note who looks at sys.argv."""
    for name in ("__getitem__", "__contains__", "__iter__", "__len__", "__eq__", "index", "count"):

        def look(self: list, *args: object, method: object = getattr(list, name)) -> object:
            seen("argv", "sys.argv", set())
            return method(self, *args)

        setattr(Arguments, name, look)
    sys.argv = Arguments(sys.argv)


def run(script: str, **names: object) -> None:
    """Run a script of the tests in this process; what it answers is found in a file beside it."""

    def answer(value: object) -> None:
        with open(f"{script}.new", "w") as file:
            json.dump(value, file, default=str)
        os.replace(f"{script}.new", f"{script}.json")

    with open(script) as file:
        exec(compile(file.read(), script, "exec"), {"__name__": "__factors__", "answer": answer, **names})


def plain(value: object) -> object:
    """Return a value so that it can be compared with that of another process: no addresses in memory, sets in order."""
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(json.dumps(plain(each)) for each in value)
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value)).replace(CODE[:-1], ".")


def handler(module: ModuleType) -> None:
    """Let a request carry a script of the tests, which runs in the middle of Django's handling, as a view does."""
    get_response = module.BaseHandler._get_response

    def _get_response(self: object, request: object) -> object:
        from django.http import HttpResponse

        if "HTTP_X_FACTORS" not in request.META:
            return get_response(self, request)
        run(request.META["HTTP_X_FACTORS"], request=request)
        return HttpResponse("done")

    module.BaseHandler._get_response = _get_response


def commands(module: ModuleType) -> None:
    """Note each command of manage.py."""
    execute = module.BaseCommand.execute

    def noted(self: object, *args: object, **options: object) -> object:
        unseen(note)("command", type(self).__module__.rpartition(".")[2])
        return execute(self, *args, **options)

    module.BaseCommand.execute = noted


def settings(module: ModuleType) -> None:
    """Note which settings are loaded."""
    init = module.Settings.__init__

    def noted(self: object, name: str) -> None:
        unseen(note)("settings", name)
        if STOP:
            os._exit(0)
        init(self, name)

    module.Settings.__init__ = noted


# What is changed in a module of Django once it is loaded.
CHANGES = {"django.core.handlers.base": handler, "django.core.management.base": commands, "django.conf": settings}


def find_spec(name: str, path: object = None, target: object = None) -> object:
    """Load a module of CHANGES, changed; others are not found here."""
    change = CHANGES.pop(name, None)
    spec = importlib.util.find_spec(name) if change else None
    if spec:
        load = spec.loader.exec_module
        spec.loader.exec_module = lambda module: (load(module), change(module))
    return spec


sys.meta_path.insert(0, SimpleNamespace(find_spec=find_spec))
watch_environment()
watch_function("stat", "look", OPENERS)
watch_function("uname", "hostname", NAMERS)
watch_arguments()
sys.addaudithook(see)
