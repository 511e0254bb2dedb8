"""The web process: https://gunicorn.org/reference/settings/ describes each value.

gunicorn reads FORWARDED_ALLOW_IPS by itself, and GUNICORN_CMD_ARGS, which overrides what is here.
"""

import os
from datetime import timedelta
from typing import Any

from gunicorn import glogging
from gunicorn.arbiter import Arbiter
from gunicorn.workers.gthread import ThreadWorker

from config import logs
from config.env import Env

env = Env(os.environ)
port = env.integer("PORT", default=8000, minimum=1, maximum=65535)
workers = env.integer("WEB_CONCURRENCY", default=1, minimum=1)
threads = env.integer("WEB_THREADS", default=4, minimum=1)

# With DEBUG on the pages of errors show the code and the settings: to this machine only.
debug = env.boolean("DEBUG", default=False)
host = "127.0.0.1" if debug else "0.0.0.0"  # noqa: S104  in a container the platform decides who gets in
bind = f"{host}:{port}"


class Worker(ThreadWorker):
    """gunicorn's worker with threads, which also closes its listening sockets as soon as it stops.

    gunicorn keeps them open until the last request is answered, up to 25 s, but accepts nothing: clients that connect
    meanwhile wait and are then cut off. With the sockets closed they are refused, and a proxy tries again.
    Remove this class when gunicorn does the same: https://github.com/benoitc/gunicorn/pull/3612
    """

    def set_accept_enabled(self, enabled: bool) -> None:
        """Accept connections or not; the main loop's last call is with False, after SIGTERM has ended `alive`."""
        super().set_accept_enabled(enabled)
        if enabled or self.alive:
            return
        for listener in self.sockets:
            for _ in range(self.cfg.backlog):
                self.accept(listener)  # clients that have connected already; nothing happens when none waits
            # Not shutdown(): that would also end the socket for other workers, or for a parent such as systemd.
            listener.close()
        self.sockets = []


# Threads, because requests wait: when each waits 50 ms, 4 threads answer 4 times as many as the sync worker does.
worker_class = Worker

# About one process a core. Loaded once and forked, four take 99 MiB instead of 179, and a wrong environment ends
# the master, once.
preload_app = True


def when_ready(server: Arbiter) -> None:
    """Load before the fork what the first request would: addresses, templates' tags, forms, names of static files.

    A mistake in urls.py ends the master too then, and not each page.
    """
    if server.cfg.preload_app:
        from django.core.files.storage import storages
        from django.forms.renderers import get_default_renderer
        from django.template import engines
        from django.urls import get_resolver

        storages["staticfiles"]
        get_default_renderer().engine  # noqa: B018  a property that imports
        engines.all()
        get_resolver().url_patterns  # noqa: B018


# An edit restarts the worker, that of a template included, as Django caches those, and that of a module not imported
# so far: gunicorn would notice edits only from a second after its import. A preloaded application would stay as it was,
# and more than one worker would race.
if debug:
    reload = True
    reload_extra_files = ["**/*.py", "**/templates/**/*.*"]
    preload_app = False
    workers = 1

# Longer than the idle time of the proxy in front, or it sends a request into a connection just closed: Heroku's
# router keeps 90 s, an AWS load balancer 60. https://devcenter.heroku.com/articles/http-routing#keepalives
keepalive = 100

# Platforms kill 30 s after SIGTERM: https://devcenter.heroku.com/articles/dynos#graceful-shutdown-with-sigterm
# In development nobody waits that long for Ctrl-C because a page hangs.
graceful_timeout = 2 if debug else 25

# The heartbeat is a file; on a disk it can block. https://gunicorn.org/faq/#blocking-os-fchmod
if os.path.isdir("/dev/shm"):  # noqa: S108
    worker_tmp_dir = "/dev/shm"  # noqa: S108

# It would write to $HOME, which may be read-only, and nobody here talks to it.
control_socket_disable = True

logconfig_dict = logs.logging_config(
    level=env.choice("LOG_LEVEL", logs.LEVELS, default="info"),
    format=env.choice("LOG_FORMAT", logs.FORMATS, default="json"),
)


class Logger(glogging.Logger):
    """gunicorn's, but for the access line, which is written as all others are."""

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: timedelta) -> None:
        """Log an answer."""
        logs.log_access(resp, environ, request_time)


logger_class = Logger

env.verify()
