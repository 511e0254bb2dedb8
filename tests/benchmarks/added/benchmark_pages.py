"""Pages that the benchmark adds to every project."""

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


def compute(request: HttpRequest) -> HttpResponse:
    """Answer after some 5 ms of the CPU, which one thread at a time has."""
    return HttpResponse(str(sum(number * number for number in range(60_000))))


def mixed(request: HttpRequest) -> HttpResponse:
    """Compute, ask the database, and wait 10 ms for another service."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    time.sleep(0.01)
    return compute(request)


urlpatterns = [
    path("plain/", plain),
    path("query/", query),
    path("wait/", wait),
    path("compute/", compute),
    path("mixed/", mixed),
]
