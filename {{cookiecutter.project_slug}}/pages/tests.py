"""The first page. Delete this file with the page."""

import pytest

from config import caches
from config.settings import attached

pytestmark = pytest.mark.django_db


def test_the_first_page_says_that_it_works(client):
    response = client.get("/")
    assert response.status_code == 200
    assert "<h1>It works</h1>" in response.text
    assert "This deploy" not in response.text


def test_with_debug_on_it_shows_the_attached_services(client, settings):
    settings.DEBUG = True
    page = client.get("/").text
    assert "This deploy" in page
    assert "answers" in page


def test_it_shows_what_a_service_is_but_no_credentials(client, settings, monkeypatch):
    settings.DEBUG = True
    monkeypatch.setitem(attached, "cache", caches.cache("redis://the-user:the-password@cache.example/0"))
    page = client.get("/").text
    assert "Redis at cache.example" in page
    assert "the-user" not in page
    assert "the-password" not in page


def test_pages_without_an_icon_have_one(client):
    assert client.get("/favicon.ico").url.startswith("/static/favicon")
