"""Logs are lines on stdout (https://12factor.net/logs): Django's and gunicorn's in one format and one time zone.

Nothing is written to a file and nothing is rotated: what runs the process decides where its output goes.
"""

import json
import logging
import random
import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.signals import request_finished
from django.http import HttpRequest, HttpResponse

LEVELS = ("debug", "info", "warning", "error", "critical")
FORMATS = ("json", "text")
HARMLESS_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")  # for logs and headers

access = logging.getLogger("gunicorn.access")
request_id: ContextVar[str] = ContextVar("request_id", default="-")
request_finished.connect(lambda **_: request_id.set("-"), weak=False)


def request_id_middleware(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[..., HttpResponse]:
    """Give each request an id for its log lines and its response: the proxy's, if it sent a harmless one."""

    def middleware(request: HttpRequest) -> HttpResponse:
        # META, because request.headers converts every header first (20 µs). The id is no secret: `random` is enough.
        sent = request.META.get("HTTP_X_REQUEST_ID", "")
        current = sent if HARMLESS_ID.fullmatch(sent) else f"{random.getrandbits(128):032x}"
        request_id.set(current)
        response = get_response(request)
        response.headers["X-Request-ID"] = current
        return response

    return middleware


def log_access(response: Any, environ: Mapping[str, Any], duration: timedelta) -> None:
    """Log that gunicorn sent `response`; gunicorn.conf.py calls this in place of gunicorn's own access log."""
    fields = {
        "method": environ["REQUEST_METHOD"],
        # Still percent-encoded, so without control characters; the query string is left out, as it may hold secrets.
        "path": environ["RAW_URI"].partition("?")[0],
        "status": int((response.status or "500")[:3]),  # without a status gunicorn is about to answer 500
        "bytes": response.sent,
        "duration_ms": round(duration.total_seconds() * 1000, 1),
    }
    if access.isEnabledFor(logging.INFO):
        # access.info() would also look up the file and line of its caller, which say nothing here: 5 µs a request.
        message = "%(method)s %(path)s %(status)s %(duration_ms)sms"
        record = access.makeRecord(access.name, logging.INFO, "", 0, message, (fields,), None, extra=fields)
        access.handle(record)


def prepare(record: logging.LogRecord) -> bool:
    """Filter the handler's records: add the id of the request, and shorten Django's reports of bad requests.

    A 404 is in the access log already, so Django's line is dropped. A wrong Host header, which any client can send, is
    a warning of one line instead of an error with a traceback.
    """
    record.request_id = request_id.get()
    if record.name == "django.request" and getattr(record, "status_code", None) == 404:
        return False
    if record.name.startswith("django.security."):
        record.levelno, record.levelname, record.exc_info = logging.WARNING, "WARNING", None
        return logging.getLogger().isEnabledFor(logging.WARNING)
    return True


class TextFormatter(logging.Formatter):
    """Lines of text, with times in UTC: gunicorn starts before Django sets TIME_ZONE, and a log has one time zone."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802  logging's name
        """Return the time with milliseconds, such as 2027-01-31T12:00:00.000+00:00."""
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")

    def format(self, record: logging.LogRecord) -> str:
        """Escape lone surrogates, which names of files can have: stdout would refuse the whole line."""
        return super().format(record).encode(errors="backslashreplace").decode()


# The attributes of every record, and Django's `request` object. All others come from `extra`.
NOT_EXTRA = {*vars(logging.makeLogRecord({})), "message", "asctime", "request_id", "request"}
encode_json = json.JSONEncoder(default=str, skipkeys=True).encode


class JsonFormatter(TextFormatter):
    """One JSON object a line; what `extra` holds becomes fields."""

    def format(self, record: logging.LogRecord) -> str:
        event: dict[str, Any] = {"time": self.formatTime(record), "level": record.levelname, "logger": record.name}
        event |= {"process": record.process, "request_id": getattr(record, "request_id", "-")}
        event["message"] = record.getMessage()
        extra = {name: value for name, value in vars(record).items() if name not in NOT_EXTRA}
        event |= extra | event  # the line's own fields win
        if record.exc_info:
            event["exc_info"] = self.formatException(record.exc_info)
        if record.stack_info:
            event["stack_info"] = record.stack_info
        return encode_json(event)


def logging_config(level: str, format: str) -> dict[str, Any]:
    """Return the dictConfig for Django's LOGGING and gunicorn's logconfig_dict; `format` is json or text."""
    stdout = {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "filters": [prepare], "formatter": format}
    to_root = {"handlers": [], "level": "NOTSET", "propagate": True}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "text": {"()": TextFormatter, "format": "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"},
            "json": {"()": JsonFormatter},
        },
        "handlers": {"stdout": stdout},
        "root": {"handlers": ["stdout"], "level": level.upper()},
        # Django and gunicorn give these loggers handlers, which would print each line twice.
        "loggers": dict.fromkeys(("django", "django.server", "gunicorn.error", "gunicorn.access"), to_root),
    }
