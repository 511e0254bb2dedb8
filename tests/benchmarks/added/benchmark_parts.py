"""Print what parts of the generated project take: a JSON object of milliseconds."""

import json
import logging.config
import os
import sys
import timeit
from datetime import timedelta
from types import SimpleNamespace

import django
from gunicorn.config import Config
from gunicorn.glogging import Logger

answers, sys.stdout = sys.stdout, open(os.devnull, "w")
django.setup()

from config.logs import log_access, logging_config  # noqa: E402  with the settings
from whitenoise.middleware import WhiteNoiseMiddleware  # noqa: E402

TIMES = 5_000
TOOK = timedelta(milliseconds=3)
request = SimpleNamespace(headers=[("HOST", "www.example.com"), ("USER-AGENT", "Mozilla/5.0 (X11; Linux x86_64)")])
response = SimpleNamespace(status="200 OK", sent=2345, response_length=2345, headers=[("Content-Type", "text/html")])
environ = {
    "REMOTE_ADDR": "127.0.0.1",
    "REQUEST_METHOD": "GET",
    "RAW_URI": "/admin/login/?next=/admin/",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "PATH_INFO": "/admin/login/",
    "QUERY_STRING": "next=/admin/",
}

config = Config()
config.set("accesslog", "-")
theirs = Logger(config)
logging.config.dictConfig(logging_config("info", "json"))
took = {
    "line": timeit.timeit(lambda: log_access(response, environ, TOOK), number=TIMES) / TIMES,
    "gunicorn's line": timeit.timeit(lambda: theirs.access(response, request, environ, TOOK), number=TIMES) / TIMES,
    "scan": timeit.timeit(lambda: WhiteNoiseMiddleware(lambda _: None), number=1),
}
print(json.dumps({name: 1000 * seconds for name, seconds in took.items()}), file=answers)
