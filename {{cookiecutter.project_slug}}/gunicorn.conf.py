"""The web process: https://gunicorn.org/reference/settings/ describes each value. GUNICORN_CMD_ARGS overrides them."""

import gc
import os
import sys
from datetime import timedelta
from typing import Any

from gunicorn import glogging
from gunicorn.arbiter import Arbiter
from gunicorn.workers.gthread import ThreadWorker

from config import logs
from config.env import Env

# Garbage collection is off in the master: it would find nothing while the application loads, and take 60 ms.
gc.disable()

env = Env(os.environ)
debug = env.boolean("DEBUG", default=False)
port = env.integer("PORT", default=8000, minimum=1, maximum=65535)
# With DEBUG on, error pages show code and settings: to this machine only.
host = "127.0.0.1" if debug else "0.0.0.0"  # noqa: S104  in a container the platform decides who gets in
bind = f"{host}:{port}"


class Worker(ThreadWorker):
    """gunicorn's worker with threads, which also closes its listening sockets as soon as it stops.

    gunicorn keeps them open until the last request is answered, up to 25 s, but accepts nothing: clients that connect
    meanwhile wait and are then cut off. With the sockets closed they are refused, and a proxy tries again.
    Remove this class when gunicorn does the same: https://github.com/benoitc/gunicorn/pull/3612
    """

    def set_accept_enabled(self, enabled: bool | None) -> None:
        """Accept connections or not. The main loop's last call comes after `alive` became False."""
        super().set_accept_enabled(enabled)
        if enabled or self.alive:
            return
        for listener in self.sockets:
            for _ in range(self.worker_connections - self.nr_conns):
                self.accept(listener)  # clients that have connected already; nothing happens when none waits
            # Not shutdown(): that would also end the socket for other workers, or for a parent such as systemd.
            listener.close()
        self.sockets: list[Any] = []


# Threads, because requests wait: when each waits 50 ms, 4 threads answer 4 times as many as the sync worker does.
worker_class = Worker
threads = env.integer("WEB_THREADS", default=4, minimum=1, maximum=256)

# About one process a core. The application is loaded once and forked, which saves memory.
concurrency = env.integer("WEB_CONCURRENCY", default=1, minimum=1, maximum=256)

# In development an edit restarts the worker: of any .py file, imported or not, and of templates, which Django caches.
# A preloaded application would stay as it was, and several workers would race.
workers = 1 if debug else concurrency
preload_app = not debug
reload = debug
reload_extra_files = ["**/*.py", "**/templates/**/*.*"]


def when_ready(server: Arbiter) -> None:
    """Before the fork, end the process if no page can work, and freeze the memory that the workers share."""
    if not server.cfg.preload_app:
        return
    from django.contrib.staticfiles.storage import ManifestFilesMixin
    from django.core.files.storage import storages
    from django.urls import get_resolver

    get_resolver().url_patterns  # noqa: B018  imports urls.py and all views
    static_files = storages["staticfiles"]
    if isinstance(static_files, ManifestFilesMixin) and not static_files.hashed_files:
        sys.exit("The static files are not collected. Run: python manage.py collectstatic --noinput")
    # Garbage collection writes to every object, which copies the shared memory: without the freeze 4 workers take 1.4
    # times the memory after 10 s of load. https://docs.python.org/3/library/gc.html#gc.freeze
    gc.freeze()


def post_fork(server: Arbiter, worker: Worker) -> None:
    """Turn garbage collection on. Without preloading, forget config/, so that the worker imports its edits."""
    gc.enable()
    if not server.cfg.preload_app:
        for name in [name for name in sys.modules if name.split(".")[0] == "config"]:
            del sys.modules[name]


# Longer than the idle time of the proxy in front, which would otherwise send a request into a connection just closed:
# Heroku's router keeps 90 s, an AWS load balancer 60. https://devcenter.heroku.com/articles/http-routing#keepalives
keepalive = 100

# Platforms kill 30 s after SIGTERM: https://devcenter.heroku.com/articles/dynos#graceful-shutdown-with-sigterm
graceful_timeout = 2 if debug else 25

# Proxies whose X-Forwarded-Proto is trusted. By default gunicorn also trusts the headers SCRIPT_NAME and PATH_INFO,
# which change the requested path, and which few proxies remove from a client's request.
forwarded_allow_ips = env.text("FORWARDED_ALLOW_IPS", default="127.0.0.1,::1")
forwarder_headers = ""

# The heartbeat is a file; on a disk it can block. https://gunicorn.org/faq/#blocking-os-fchmod
if os.path.isdir("/dev/shm"):  # noqa: S108
    worker_tmp_dir = "/dev/shm"  # noqa: S108

# The control socket is unused, and it would need a writable HOME.
control_socket_disable = True

logconfig_dict = logs.logging_config(
    level=env.choice("LOG_LEVEL", logs.LEVELS, default="info"),
    format=env.choice("LOG_FORMAT", logs.FORMATS, default="json"),
)


class Logger(glogging.Logger):
    """gunicorn's logger, with the access lines of config/logs.py."""

    def access(self, resp: Any, req: Any, environ: Any, request_time: timedelta) -> None:
        # In development the worker has a newer config.logs than this file imported, or none after a syntax error.
        sys.modules.get("config.logs", logs).log_access(resp, environ, request_time)


logger_class = Logger

env.verify()
