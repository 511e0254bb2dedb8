"""XI. Logs: a stream of events on stdout, which the app neither files nor rotates: https://12factor.net/logs.

Tested: the line of an answered request, of a task, and of an error with its traceback are on stdout, while the process
runs and in order; each logger of the project gets there; stderr is empty; no log file appears, logs go to no socket.
Not testable here: where the platform takes the stream.
"""

from tests.factors.deploy import allow_only, demand

FACTOR = "XI Logs"
INSTEAD = "write to stdout, at once, as config/logs.py does"


def test_events_are_lines_on_stdout_while_they_happen(day):
    lines = [line for line in day.output.splitlines() if any(path in line for path in day.paths)]
    demand(lines, FACTOR, "an answered request has no line on stdout while the process runs", INSTEAD)
    once = list(dict.fromkeys(path for line in lines for path in day.paths if path in line))
    demand(once == day.paths, FACTOR, f"the lines of eight requests came so: {once}", INSTEAD)
    error = [line for line in day.output.splitlines() if f"an error of {day.token}" in line]
    demand(error and "Traceback" in day.output, FACTOR, "an error has no traceback on stdout", INSTEAD)
    if day.queued == "READY" and day.worker_code is None:
        what = "a task has no line on stdout while the worker runs"
        demand(day.token in day.worker_output, FACTOR, what, INSTEAD)


def test_each_logger_gets_there(day):
    silent = {name: name for name in day.loggers if f"{name} says {day.token}" not in day.output}
    allow_only("loggers", silent, FACTOR, "loggers whose errors do not come to stdout", INSTEAD)


def test_stderr_is_empty(day):
    said = {name: text.strip().splitlines()[-3:] for name, text in day.errors.items() if text.strip()}
    demand(not said, FACTOR, f"events belong on stdout, and stderr has {said}", INSTEAD)


def test_nothing_is_logged_elsewhere(day):
    files = "; ".join(day.of(FACTOR).values())
    demand(not files, FACTOR, f"events belong on stdout, and there is a log file: {files}", INSTEAD)
    sent = sorted(
        {f"{event['target']} (by {event['by'] or 'logging'})" for event in day.events("address") if event["logs"]}
    )
    demand(not sent, FACTOR, f"events belong on stdout, and logging sends them to {', '.join(sent)}", INSTEAD)
