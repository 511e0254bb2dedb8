"""Notes what a process does to the outside: Python imports this at start when PYTHONPATH names its directory.

One JSON line an event, in the file that FACTORS_WATCH names: files opened for writing, programs started, addresses
connected to (https://docs.python.org/3/library/audit_events.html). What C libraries do is not seen here.
"""

import json
import os
import sys
import time
from types import FrameType

FILE = os.environ["FACTORS_WATCH"]
PROJECT = os.getcwd() + os.sep
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
PROGRAMS = {"subprocess.Popen", "os.system", "os.posix_spawn"}
CONNECTIONS = {"socket.connect", "socket.sendto"}
READS = "FACTORS_WATCH_READS" in os.environ

noting = False


def frames() -> list[FrameType]:
    """Return who called, the innermost first."""
    found, frame = [], sys._getframe(2)
    while frame:
        found.append(frame)
        frame = frame.f_back
    return found


def note(event: str, target: str) -> None:
    """Write an event down, with the line of the project that caused it, if one did."""
    calls = frames()
    ours = [
        f"{call.f_code.co_filename.removeprefix(PROJECT)}:{call.f_lineno}"
        for call in calls
        if call.f_code.co_filename.startswith(PROJECT) and call.f_code.co_filename != __file__
    ]
    logs = any("/logging/" in call.f_code.co_filename for call in calls)
    line = {"event": event, "target": target, "by": ours[0] if ours else "", "logs": logs, "time": time.time()}
    descriptor = os.open(FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, json.dumps(line).encode() + b"\n")
    os.close(descriptor)


def hook(event: str, args: tuple) -> None:
    """See every audit event."""
    global noting
    if noting:
        return
    if event == "open":
        if not isinstance(args[0], (str, bytes)) or not (READS or args[2] & WRITING):
            return
        target = os.path.abspath(os.fsdecode(args[0]))
        event = "write" if args[2] & WRITING else "read"
    elif event in PROGRAMS:
        target = os.fsdecode(args[0] if event != "subprocess.Popen" else args[0] or args[1][0])
    elif event in CONNECTIONS:
        address = args[1]
        target = os.fsdecode(address) if isinstance(address, (str, bytes)) else f"{address[0]}:{address[1]}"
    elif event == "sqlite3.connect":
        target = os.path.abspath(os.fsdecode(args[0])) if isinstance(args[0], (str, bytes)) else str(args[0])
    else:
        return
    noting = True
    try:
        note(event, target)
    finally:
        noting = False


# Modules that a process is to do without, as if they were not installed.
for name in os.environ.get("FACTORS_WITHOUT", "").split():
    sys.modules[name] = None

sys.addaudithook(hook)
