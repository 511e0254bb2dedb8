"""XI. Logs: a stream of events on stdout, which the app neither files nor rotates: https://12factor.net/logs.

Tested: what happens in the web and in the worker process is a line on stdout, while it happens and in order; no log
file appears in the project, in HOME, among the temporary files or at any other place that Python opened; logs go to
no socket; no handler is there to do so later.
Not testable here: where the platform takes the stream.
"""

import ast
import logging
import logging.handlers

from django.conf import settings
from django.utils.module_loading import import_string

from tests.factors.source import dotted, modules

FACTOR = "XI Logs"


def test_events_are_lines_on_stdout_while_they_happen(day):
    tasks = [(day.worker, "worker", "task")] if day.queued == "READY" else []  # without a queue: see IV
    for process, name, event in [(day.web, "web", "request"), *tasks]:
        where = "on stderr" if any(day.token in line for line in process.stderr) else "nowhere while the process ran"
        assert process.has(day.token), f"{FACTOR}: a {event} of the {name} process is logged {where}, not on stdout"


def test_lines_come_in_order(day):
    once = list(dict.fromkeys(path for line in day.web.stdout for path in day.paths if path in line))
    missing = [path for path in day.paths if path not in once]
    assert not missing, f"{FACTOR}: no line came for {', '.join(missing)} while the process ran: are they buffered?"
    assert once == day.paths, f"{FACTOR}: the lines of stdout are out of order: {once}"


def test_there_is_no_log_file(day):
    assert not day.of("XI"), f"{FACTOR}: events belong on stdout, but a log file {day.of('XI')}"
    sent = sorted({f"{note['target']} (by {note['by'] or 'logging'})" for note in day.connections if note["logs"]})
    assert not sent, f"{FACTOR}: events belong on stdout, but logging connects to {', '.join(sent)}"


ELSEWHERE = (
    logging.FileHandler,
    logging.handlers.SocketHandler,
    logging.handlers.SysLogHandler,
    logging.handlers.SMTPHandler,
    logging.handlers.HTTPHandler,
)


def test_no_handler_leads_elsewhere():
    handlers = settings.LOGGING.get("handlers", {}).items()
    found = [
        f"the handler {name} of LOGGING is a {handler['class']}"
        for name, handler in handlers
        if isinstance(handler.get("class"), str) and issubclass(import_string(handler["class"]), ELSEWHERE)
    ]
    names = {handler.__name__ for handler in ELSEWHERE} | {"RotatingFileHandler", "TimedRotatingFileHandler"}
    for path, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                name = dotted(node.func).rpartition(".")[2]
                filename = any(keyword.arg == "filename" for keyword in node.keywords)
                if name in names or (name == "basicConfig" and filename):
                    found.append(f"{path}:{node.lineno} calls {name}")
    assert not found, f"{FACTOR}: events belong on stdout, and {'; '.join(found)}"
