"""The pages and what comes with each of them."""

import pytest
from django.contrib.auth import get_user_model
from django.contrib.staticfiles import finders
from django.test import Client
from django.urls import reverse

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


def test_with_debug_on_it_shows_no_credentials(client, settings, monkeypatch):
    settings.DEBUG = True
    monkeypatch.setitem(settings.DATABASES["default"], "USER", "the-user")
    monkeypatch.setitem(settings.DATABASES["default"], "PASSWORD", "the-password")
    page = client.get("/").text
    assert "the-user" not in page
    assert "the-password" not in page


def test_a_missing_page_looks_like_the_others(client):
    response = client.get("/nowhere")
    assert response.status_code == 404
    assert "<h1>Not found</h1>" in response.text
    assert "style.css" in response.text


def test_an_error_looks_like_the_others(monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("broken")

    monkeypatch.setattr("pages.views.render", fail)
    response = Client(raise_request_exception=False).get("/")
    assert response.status_code == 500
    assert "<h1>Something went wrong</h1>" in response.text


def test_every_page_forbids_inline_code(client):
    policy = client.get("/").headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe-inline" not in policy


@pytest.mark.parametrize("name", ["style.css", "favicon.svg"])
def test_static_files_are_there_without_a_build(name, client):
    assert finders.find(name)
    response = client.get(f"/static/{name}")
    assert response.status_code == 200
    assert b"".join(response.streaming_content)


def test_the_admin_lets_a_superuser_in(client, settings):
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # Django's takes a second, on purpose
    user = get_user_model().objects.create_superuser("ada", password="a-long-password")
    assert user._meta.label == "accounts.User"
    assert (
        client.post("/admin/login/?next=/admin/", {"username": "ada", "password": "a-long-password"}).url == "/admin/"
    )
    assert client.get(reverse("admin:accounts_user_changelist")).status_code == 200
