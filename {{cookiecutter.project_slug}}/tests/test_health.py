"""/livez and /readyz, and the probes behind them."""

import threading
import time

import pytest

from config import health


def test_livez_answers_without_a_database(client):
    # Without the django_db mark pytest-django refuses every query.
    response = client.get("/livez", headers={"host": "10.0.0.1:8000"})
    assert (response.status_code, response.text) == (200, "process: ok\n")


@pytest.mark.django_db
def test_readyz_asks_the_services(client, settings):
    settings.ALLOWED_HOSTS = ["www.example.com"]
    settings.SECURE_SSL_REDIRECT = True
    response = client.get("/readyz", headers={"host": "10.0.0.1:8000"})
    assert (response.status_code, response.headers["Cache-Control"]) == (200, "no-store")
    assert "database: ok\n" in response.text


def test_readyz_names_the_service_that_fails(client, monkeypatch):
    def ask():
        raise ConnectionError("no answer from db.example")

    monkeypatch.setitem(health.PROBES, "database", health.Probe("database", ask))
    response = client.get("/readyz")
    assert (response.status_code, response.text) == (503, "database: failed\n")


def test_a_stuck_service_counts_as_failed_and_is_asked_once(monkeypatch):
    monkeypatch.setattr(health, "TIMEOUT", 0.2)
    release, asked = threading.Event(), []

    def ask():
        asked.append(1)
        release.wait(10)

    probe = health.Probe("database", ask)
    assert isinstance(probe.error(), TimeoutError)
    started = time.monotonic()
    assert all(isinstance(probe.error(), TimeoutError) for _ in range(50))
    assert time.monotonic() - started < 0.2  # at once: the time of the first question is over
    assert len(asked) == 1
    release.set()
    probe.answer.result(timeout=10)
    assert probe.error() is None
    assert len(asked) == 2


def test_a_service_that_is_back_counts_again():
    answers = [ConnectionError("gone"), None]

    def ask():
        if error := answers.pop(0):
            raise error

    probe = health.Probe("database", ask)
    assert isinstance(probe.error(), ConnectionError)
    assert probe.error() is None
