"""Events are lines on stdout (https://12factor.net/logs): Django's and gunicorn's in one format and one time zone.

Nothing is written to a file and nothing is rotated: what runs the process decides where its output goes.
"""

import logging
import re
import uuid
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.core.signals import request_finished
from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

LEVELS = ("debug", "info", "warning", "error", "critical")
FORMATS = ("json", "text")

request_id: ContextVar[str] = ContextVar("request_id", default="-")

request_finished.connect(lambda **_: request_id.set("-"), weak=False, dispatch_uid="request_id")


def request_id_middleware(get_response: Callable[["HttpRequest"], "HttpResponse"]) -> Callable:
    """Give the request an id, for every line that it logs and for its response.

    The id is that of the proxy in front, if it sent a harmless one: it ends up in logs and headers.
    """

    def middleware(request: "HttpRequest") -> "HttpResponse":
        sent = request.headers.get("X-Request-ID", "")
        current = sent if re.fullmatch(r"[A-Za-z0-9._-]{1,128}", sent) else uuid.uuid4().hex
        request_id.set(current)
        response = get_response(request)
        response.headers["X-Request-ID"] = current
        return response

    return middleware


def add_request(record: logging.LogRecord) -> bool:
    """Complete a record, as a logging filter: the id of the request, and an access line's parts as fields."""
    record.request_id = request_id.get()
    if record.name == "gunicorn.access" and isinstance(record.args, dict):
        atoms = record.args  # https://gunicorn.org/reference/settings/#access_log_format
        record.request_id = atoms["{x-request-id}o"]
        record.method = atoms["m"]
        # As it was sent, so without control characters; the query string may hold what logs must not.
        record.path = atoms["{raw_uri}e"].partition("?")[0]
        record.status = int(atoms["s"])
        record.bytes = atoms["B"]
        record.duration_ms = round(atoms["D"] / 1000, 1)
        record.msg = f"{record.method} {record.path} {record.status} {record.duration_ms}ms"
        record.args = ()
    return True


class Utc(logging.Formatter):
    """Stamps lines in UTC: gunicorn starts before Django sets TIME_ZONE, and one log has one time zone."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802, D102
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


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
