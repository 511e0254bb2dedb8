"""Events are lines on stdout (https://12factor.net/logs): Django's and gunicorn's in one format and one time zone.

Nothing is written to a file and nothing is rotated: what runs the process decides where its output goes.
"""

import logging
import re
import secrets
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.core.signals import request_finished
from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

LEVELS = ("debug", "info", "warning", "error", "critical")
FORMATS = ("json", "text")

HARMLESS_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

access = logging.getLogger("gunicorn.access")

request_id: ContextVar[str] = ContextVar("request_id", default="-")

request_finished.connect(lambda **_: request_id.set("-"), weak=False, dispatch_uid="request_id")


def request_id_middleware(get_response: Callable[["HttpRequest"], "HttpResponse"]) -> Callable:
    """Give the request an id, for every line that it logs and for its response.

    The id is that of the proxy in front, if it sent a harmless one: it ends up in logs and headers.
    """

    def middleware(request: "HttpRequest") -> "HttpResponse":
        # Each page pays for this: from META, as request.headers translates every header first, which takes 20 µs.
        sent = request.META.get("HTTP_X_REQUEST_ID", "")
        current = sent if HARMLESS_ID.fullmatch(sent) else secrets.token_hex(16)
        request_id.set(current)
        response = get_response(request)
        response.headers["X-Request-ID"] = current
        return response

    return middleware


def log_access(response: Any, environ: Mapping[str, Any], duration: timedelta) -> None:
    """Log that gunicorn sent `response`, with its parts as fields; gunicorn.conf.py has it called for each.

    gunicorn's own way collects some sixty values for every line, and takes a quarter longer.
    """
    # As it was sent, so without control characters; the query string may hold what logs must not.
    path = environ["RAW_URI"].partition("?")[0]
    fields = {
        "method": environ["REQUEST_METHOD"],
        "path": path,
        "status": int((response.status or "500").split()[0]),  # none: gunicorn is about to say that it failed
        "bytes": response.sent,
        "duration_ms": round(duration / timedelta(milliseconds=1), 1),
    }
    access.info("%(method)s %(path)s %(status)s %(duration_ms)sms", fields, extra=fields)


def add_request(record: logging.LogRecord) -> bool:
    """Complete a record, as a logging filter: every line of a request has its id."""
    record.request_id = request_id.get()
    return True


class Utc(logging.Formatter):
    """Stamps lines in UTC: gunicorn starts before Django sets TIME_ZONE, and one log has one time zone."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802, D102
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")

    def format(self, record: logging.LogRecord) -> str:
        """Escape half a surrogate pair, as in the name of a file: stdout would refuse the whole line."""
        return super().format(record).encode(errors="backslashreplace").decode()


class Json(Utc, JsonFormatter):
    """One JSON object a line; what `extra` holds becomes fields."""


def logging_config(level: str, format: str) -> dict[str, Any]:
    """Return the dictConfig for Django's LOGGING and gunicorn's logconfig_dict; `format` is json or text."""
    to_root = {"handlers": [], "level": "NOTSET", "propagate": True}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "text": {"()": Utc, "format": "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"},
            "json": {
                "()": Json,
                "format": "%(asctime)s %(levelname)s %(name)s %(process)d %(request_id)s %(message)s",
                "rename_fields": {"asctime": "time", "levelname": "level", "name": "logger"},
                "reserved_attrs": [*RESERVED_ATTRS, "request"],  # Django's, an object
            },
        },
        "handlers": {
            "stdout": {
                "class": "logging.StreamHandler",
                "stream": "ext://sys.stdout",
                "filters": [add_request],
                "formatter": format,
            }
        },
        "root": {"handlers": ["stdout"], "level": (level or "info").upper()},
        # These come with handlers of their own, which would print their lines twice.
        "loggers": dict.fromkeys(("django", "django.server", "gunicorn.error", "gunicorn.access"), to_root),
    }
