"""/livez says that the process answers, /readyz that its backing services do, to whoever sends it requests.

Restart what fails /livez; send no requests to what fails /readyz. Both are answered before host validation and the
redirect to HTTPS, since probes come to an address and not to a name.
"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock, Thread

from django.conf import settings
from django.core.cache import caches
from django.db import connections
from django.http import HttpRequest, HttpResponse

logger = logging.getLogger(__name__)

# Seconds until a service that has not answered counts as down: below the timeouts of the probes that platforms send.
TIMEOUT = 2.0


class Probe:
    """A question to a backing service, asked in a thread of its own, never twice at a time.

    A host that drops packets keeps a thread waiting for long. It is this one, and not those that answer requests.
    """

    def __init__(self, name: str, ask: Callable[[], None]) -> None:
        """`ask` raises what is wrong with the service called `name`."""
        self.name = name
        self.ask = ask
        self.lock = Lock()
        self.answer: Future[None] | None = None
        self.deadline = 0.0

    def error(self) -> Exception | None:
        """Return what is wrong with the service, or None, within TIMEOUT seconds."""
        with self.lock:
            if self.answer is None or self.answer.done():
                self.answer, self.deadline = Future(), time.monotonic() + TIMEOUT
                Thread(target=self._run, args=(self.answer,), daemon=True).start()
            answer, deadline = self.answer, self.deadline
        try:
            error = answer.exception(timeout=max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            error = TimeoutError(f"no answer within {TIMEOUT:.0f} s")
        if error:
            # The client's own words, which name the host but no password.
            logger.warning("%s does not answer: %s: %s", self.name, type(error).__name__, " ".join(str(error).split()))
        return error

    def _run(self, answer: Future[None]) -> None:
        try:
            self.ask()
        except Exception as error:
            answer.set_exception(error)
        else:
            answer.set_result(None)


def ask_database() -> None:
    """Raise unless the database answers on a new connection: one from before may wait for a host that is gone."""
    connection = connections["default"].copy()
    connection.settings_dict["OPTIONS"].pop("pool", None)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    finally:
        connection.close()


def ask_cache() -> None:
    """Raise unless each server of the cache answers, on new connections too; many keys, as each belongs to one."""
    cache = caches.create_connection("default")
    try:
        cache.get_many([f"readyz-{number}" for number in range(32)])
    finally:
        cache.close()


PROBES = {"database": Probe("database", ask_database), "cache": Probe("cache", ask_cache)}


def needed() -> list[Probe]:
    """Return the probes of what a request cannot do without: the cache is needed when sessions live there."""
    in_cache = settings.SESSION_ENGINE.endswith(("cache", "cached_db"))
    return [probe for name, probe in PROBES.items() if name == "database" or in_cache]


def health_middleware(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable:
    """Answer /livez and /readyz, and hand on every other request."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if request.path == "/livez":
            return _response({"process": None})
        if request.path == "/readyz":
            return _response({probe.name: probe.error() for probe in needed()})
        return get_response(request)

    return middleware


def _response(errors: dict[str, Exception | None]) -> HttpResponse:
    lines = [f"{name}: {'failed' if error else 'ok'}\n" for name, error in errors.items()]
    return HttpResponse(
        lines,
        status=503 if any(errors.values()) else 200,
        content_type="text/plain; charset=utf-8",
        headers={"Cache-Control": "no-store"},
    )
