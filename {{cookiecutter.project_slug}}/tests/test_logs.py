"""config/logs.py: one line an event, with the id of its request."""

import io
import json
import logging
import logging.config
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace

import pytest
from django.http import HttpResponse
from django.test import Client
from django.urls import path

from config import logs


def broken(request):
    logging.getLogger("shop").info("before")
    raise RuntimeError("broken")


urlpatterns = [path("broken", broken), path("form", lambda request: HttpResponse())]


def handler404(request, exception):
    return HttpResponse(status=404)


def handler500(request):
    return HttpResponse(status=500)


@pytest.fixture
def no_other_pages(settings):
    """Ask the pages above, without the project's own pages and middleware."""
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = ["config.logs.request_id_middleware", "django.middleware.csrf.CsrfViewMiddleware"]


@pytest.fixture
def lines(monkeypatch):
    """Log with the project's configuration; return a function that gives the lines since."""
    stream = io.StringIO()

    def start(format: str, level: str = "info"):
        config = logs.logging_config(level, format)
        config["handlers"]["stdout"]["stream"] = stream
        logging.config.dictConfig(config)
        return lambda: stream.getvalue().splitlines()

    yield start
    logging.config.dictConfig(logs.logging_config("info", "text"))


def test_an_event_is_one_line_of_json(lines):
    logged = lines("json")
    try:
        raise ValueError("several\nlines")
    except ValueError:
        logging.getLogger("shop").exception("order %s failed", 7, extra={"order": 7, "level": 3})
    (line,) = logged()
    event = json.loads(line)
    assert event["message"] == "order 7 failed"
    assert (event["level"], event["logger"], event["order"]) == ("ERROR", "shop", 7)
    assert "ValueError: several\nlines" in event["exc_info"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", event["time"])


def test_what_json_cannot_say_is_written_as_text(lines):
    logged = lines("json")
    day = datetime(2026, 1, 2, tzinfo=UTC)
    logging.getLogger("shop").info("\ud800 \x1b", extra={"day": day, "total": Decimal("1.50"), "by": {("a", 1): 2}})
    assert logged()[0].isascii()
    event = json.loads(logged()[0])
    assert (event["day"], event["total"], event["by"]) == ("2026-01-02 00:00:00+00:00", "1.50", {})


def test_an_event_is_a_line_of_text(lines):
    logged = lines("text")
    logging.getLogger("shop").info("open")
    assert re.fullmatch(r"\S+\+00:00 INFO shop \[-\] open", logged()[0])


@pytest.mark.usefixtures("no_other_pages")
def test_every_line_of_a_request_has_its_id(client, lines):
    client.raise_request_exception = False
    logged = lines("json")
    response = client.get("/broken", headers={"X-Request-ID": "abc.DEF_1-2"})
    events = [json.loads(line) for line in logged()]
    assert response.headers["X-Request-ID"] == "abc.DEF_1-2"
    assert [event["logger"] for event in events] == ["shop", "django.request"]
    assert {event["request_id"] for event in events} == {"abc.DEF_1-2"}
    logging.getLogger("shop").info("after")
    assert json.loads(logged()[-1])["request_id"] == "-"


@pytest.mark.usefixtures("no_other_pages")
def test_a_page_that_is_not_there_is_only_in_the_access_log(client, lines):
    logged = lines("json")
    assert client.get("/nowhere").status_code == 404
    assert logged() == []
    assert Client(enforce_csrf_checks=True).post("/form").status_code == 403
    assert [json.loads(line)["logger"] for line in logged()] == ["django.security.csrf"]


@pytest.mark.parametrize("level", ["info", "error"])
def test_a_refused_request_is_one_warning(level, client, lines, settings):
    settings.ALLOWED_HOSTS, settings.DEBUG = ["www.example.com"], False
    logged = lines("json", level)
    assert client.get("/", headers={"host": "elsewhere.example"}).status_code == 400
    events = [json.loads(line) for line in logged()]
    assert [(event["level"], event["logger"]) for event in events] == {
        "info": [("WARNING", "django.security.DisallowedHost")],
        "error": [],
    }[level]
    assert not any("exc_info" in event for event in events)


@pytest.mark.parametrize("sent", ["", "a b", "a\nb", "<script>", "ü", "x" * 129, "a;b"])
def test_a_harmful_request_id_is_replaced(sent, client):
    given = client.get("/livez", headers={"X-Request-ID": sent}).headers["X-Request-ID"]
    assert re.fullmatch(r"[0-9a-f]{32}", given)


def test_an_access_line_leaves_out_the_query(lines):
    logged = lines("json")
    answer = SimpleNamespace(status="200 OK", sent=12)
    request = {"REQUEST_METHOD": "GET", "RAW_URI": "/a%0Ab%20c?token=s3cret"}
    logs.log_access(answer, request, timedelta(microseconds=2500))
    event = json.loads(logged()[0])
    assert event["logger"] == "gunicorn.access"
    assert event["message"] == "GET /a%0Ab%20c 200 2.5ms"
    assert (event["method"], event["path"], event["status"]) == ("GET", "/a%0Ab%20c", 200)
    assert (event["bytes"], event["duration_ms"]) == (12, 2.5)
    assert "s3cret" not in logged()[0]


def test_an_access_line_passes_filters_and_levels_like_any_other(lines):
    def slow(record: logging.LogRecord) -> bool:
        return record.duration_ms > 100

    def log(milliseconds: int) -> None:
        request = {"REQUEST_METHOD": "GET", "RAW_URI": f"/{milliseconds}"}
        logs.log_access(SimpleNamespace(status="200 OK", sent=0), request, timedelta(milliseconds=milliseconds))

    logged = lines("json")
    logs.access.addFilter(slow)
    try:
        log(50)
        log(200)
    finally:
        logs.access.removeFilter(slow)
    assert [json.loads(line)["path"] for line in logged()] == ["/200"]
    logged = lines("json", "warning")
    log(300)
    assert "/300" not in str(logged())


def test_an_answer_without_a_status_is_an_error(lines):
    logged = lines("json")
    answer = SimpleNamespace(status=None, sent=0)
    logs.log_access(answer, {"REQUEST_METHOD": "GET", "RAW_URI": "/"}, timedelta())
    assert json.loads(logged()[0])["status"] == 500


@pytest.mark.parametrize("format", ["json", "text"])
def test_half_a_surrogate_pair_does_not_lose_the_line(format, lines):
    logged = lines(format)
    logging.getLogger("shop").info("no such file: \udcff")
    (line,) = logged()
    assert rb"no such file: \udcff" in line.encode()
