"""XI. Logs: a stream of events on stdout, which the app neither files nor rotates: https://12factor.net/logs.

Tested: the line of an answered request, of a task, and of an error with its traceback are on stdout, while the process
runs and in order; each logger of the project gets there; stderr is empty; no log file appears, logs go to no socket.
Not testable here: where the platform takes the stream.
"""

from tests.factors.deploy import Factor

FACTOR = Factor("XI Logs")
INSTEAD = "write to stdout, at once, as config/logs.py does"


def test_events_are_lines_on_stdout_while_they_happen(day):
    output, of_the_worker = day.output
    once = list(dict.fromkeys(path for line in output.splitlines() for path in day.paths if path in line))
    FACTOR.demand(once, "an answered request has no line on stdout while the process runs", INSTEAD)
    FACTOR.demand(once == day.paths, f"the lines of eight requests come late or in another order: {once}", INSTEAD)
    error = f"an error of {day.token}" in output and "Traceback" in output
    FACTOR.demand(error, "an error has no traceback on stdout while the process runs", INSTEAD)
    task = f"{day.token}-done" in output + of_the_worker or day.queued != "READY" or day.ended
    FACTOR.demand(task, "a task has no line on stdout while the worker runs", INSTEAD)
    silent = {name: name for name in day.loggers if f"{name} says {day.token}" not in output}
    FACTOR.allow_only("loggers", silent, "errors of some loggers do not come to stdout", INSTEAD)


def test_nothing_is_written_or_sent_elsewhere(day):
    said = "".join(each.printed("err") for each in (day.web, day.worker) if each.popen.returncode != 127).strip()
    FACTOR.demand(not said, "events belong on stdout, and stderr is not empty", INSTEAD, said[-1500:])
    where = [*day.of(FACTOR).values(), *(event["target"] for event in day.events("address") if event["logs"])]
    FACTOR.demand(not where, f"events belong on stdout, and are logged elsewhere: {'; '.join(where)}", INSTEAD)
