"""Pages that the benchmark adds to both projects: nothing, a query, something that takes 50 ms, or 2 s."""

import time

from django.contrib.auth import get_user_model
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.urls import path


def plain(request: HttpRequest) -> HttpResponse:
    """Answer at once."""
    return HttpResponse("plain")


def query(request: HttpRequest) -> HttpResponse:
    """Answer after one query."""
    return HttpResponse(f"{get_user_model().objects.count()} users")


def wait(request: HttpRequest) -> HttpResponse:
    """Answer as a page does that asks another service and gets its answer after 50 ms."""
    time.sleep(0.05)
    return HttpResponse("waited")


def slow(request: HttpRequest) -> HttpResponse:
    """Answer as a page does that makes a report."""
    time.sleep(2)
    return HttpResponse("done")


def query_time(request: HttpRequest) -> HttpResponse:
    """Answer how many seconds the query took, on a connection that is open and was found well before."""
    connection.ensure_connection()
    connection.close_if_health_check_failed()
    started = time.perf_counter()
    get_user_model().objects.count()
    return HttpResponse(str(time.perf_counter() - started))


urlpatterns = [
    path("plain/", plain),
    path("query/", query),
    path("query-time/", query_time),
    path("wait/", wait),
    path("slow/", slow),
]
