"""The answers to health probes: /livez says that the process works, /readyz that its backing services do too.

Whatever runs the process restarts it when /livez fails, and sends it no requests while /readyz fails. Both are answered
before host validation and the redirect to HTTPS, because a probe's Host header is an address. They need a free
thread, as any page does: while slow clients hold all threads, probes wait, unless a proxy in front buffers requests.
"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing
from threading import Lock, Thread

from django.conf import settings
from django.core.cache import caches
from django.db import connections
from django.http import HttpRequest, HttpResponse

from config.service_urls import CONNECT_TIMEOUT

logger = logging.getLogger(__name__)

# Seconds until a service without an answer counts as down: less than the timeouts of platforms' probes.
TIMEOUT = 2.0


class Probe:
    """Runs a check of a backing service in a background thread, one check at a time.

    A service that hangs holds that one thread; a request waits for TIMEOUT at most for each service. The check raises
    what is wrong.
    """

    def __init__(self, name: str, check: Callable[[], object]) -> None:
        self.name = name
        self.check = check
        self.lock = Lock()
        self.result: Future[object] | None = None
        self.deadline = 0.0

    def error(self) -> BaseException | None:
        """Return what is wrong with the service, or None, within TIMEOUT seconds."""
        with self.lock:
            if self.result is None or self.result.done():
                result: Future[object] = Future()
                Thread(target=self._run, args=(result,), daemon=True).start()
                self.result, self.deadline = result, time.monotonic() + TIMEOUT
            result, deadline = self.result, self.deadline
        try:
            error = result.exception(timeout=max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            error = TimeoutError(f"no answer within {TIMEOUT:.0f} s")
        if error:
            # The client's message, which names the host but no password.
            logger.warning("%s is not ready: %s: %s", self.name, type(error).__name__, " ".join(str(error).split()))
        return error

    def _run(self, result: Future[object]) -> None:
        try:
            result.set_result(self.check())
        except Exception as error:
            result.set_exception(error)


def check_database(alias: str = "default") -> None:
    """Raise unless the database answers and is migrated: SQLite makes a new, empty database of a mistyped path.

    The connection is new, because an existing one may wait for a host that is gone.
    """
    with closing(connections[alias].copy()) as connection:
        connection.settings_dict["OPTIONS"].pop("pool", None)
        if connection.vendor == "mysql":  # its connect_timeout does not cover the server's greeting
            connection.settings_dict["OPTIONS"]["read_timeout"] = CONNECT_TIMEOUT
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM django_migrations LIMIT 1")


def check_cache() -> None:
    """Raise unless every server of the cache answers on a new connection: 32 keys are spread over all of them."""
    with closing(caches.create_connection("default")) as cache:
        cache.get_many([f"readyz-{number}" for number in range(32)])


PROBES = {"database": Probe("database", check_database), "cache": Probe("cache", check_cache)}


def required_probes() -> list[Probe]:
    """Return the probes of the services that no request can do without: the cache is one if sessions live in it."""
    in_cache = "cache" in settings.SESSION_ENGINE
    return [probe for name, probe in PROBES.items() if name != "cache" or in_cache]


def health_middleware(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Answer /livez and /readyz, and pass on every other request."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if request.path == "/livez":
            return _response({"process": None})
        if request.path == "/readyz":
            return _response({probe.name: probe.error() for probe in required_probes()})
        return get_response(request)

    return middleware


def _response(errors: dict[str, BaseException | None]) -> HttpResponse:
    lines = [f"{name}: {'failed' if error else 'ok'}\n" for name, error in errors.items()]
    status = 503 if any(errors.values()) else 200
    return HttpResponse(lines, content_type="text/plain", status=status, headers={"Cache-Control": "no-store"})
