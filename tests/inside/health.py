"""A probe asks a service in one thread at a time, whatever the service does."""

import threading
import time

import pytest
from config import health


def test_a_stuck_service_counts_as_failed_and_is_asked_once(monkeypatch):
    monkeypatch.setattr(health, "TIMEOUT", 0.2)
    release, asked = threading.Event(), []

    def check():
        asked.append(1)
        release.wait(10)

    probe = health.Probe("database", check)
    assert isinstance(probe.error(), TimeoutError)
    started = time.monotonic()
    assert all(isinstance(probe.error(), TimeoutError) for _ in range(50))
    assert time.monotonic() - started < 0.2  # at once: the time of the first question is over
    assert len(asked) == 1
    release.set()
    probe.result.result(timeout=10)
    assert probe.error() is None
    assert len(asked) == 2


def test_a_service_that_is_back_counts_again(caplog):
    answers = [ConnectionError("gone\nor slow"), None]

    def check():
        if error := answers.pop(0):
            raise error

    probe = health.Probe("database", check)
    assert isinstance(probe.error(), ConnectionError)
    assert caplog.messages == ["database is not ready: ConnectionError: gone or slow"]
    assert probe.error() is None


def test_a_thread_that_cannot_start_is_tried_again(monkeypatch):
    def start(_):
        raise RuntimeError("can't start new thread")

    probe = health.Probe("database", lambda: None)
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", start)
        with pytest.raises(RuntimeError):
            probe.error()
    assert probe.error() is None
