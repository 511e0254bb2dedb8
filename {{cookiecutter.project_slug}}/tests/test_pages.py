"""What comes with every page: errors that look like it, security headers, static files; and the admin."""

import pytest
from django.contrib.auth import get_user_model
from django.contrib.staticfiles import finders
from django.test import Client
from django.urls import path, reverse

from config.urls import urlpatterns as ours


def broken(request):
    raise RuntimeError("broken")


urlpatterns = [*ours, path("broken", broken)]


def test_a_missing_page_looks_like_the_others(client):
    response = client.get("/nowhere")
    assert response.status_code == 404
    assert "<h1>Not found</h1>" in response.text
    assert "style.css" in response.text


@pytest.mark.urls(__name__)
def test_an_error_looks_like_the_others():
    response = Client(raise_request_exception=False).get("/broken")
    assert response.status_code == 500
    assert "<h1>Something went wrong</h1>" in response.text


@pytest.mark.django_db
def test_the_page_for_errors_needs_no_static_file(settings, tmp_path):
    settings.STATIC_ROOT = tmp_path  # nothing is collected
    settings.STORAGES = settings.STORAGES | {"staticfiles": {"BACKEND": "config.static.StaticFilesStorage"}}
    response = Client(raise_request_exception=False).get("/nowhere")
    assert (response.status_code, "<h1>Something went wrong</h1>" in response.text) == (500, True)


def test_every_page_forbids_inline_code(client):
    policy = client.get("/nowhere").headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe-inline" not in policy


@pytest.mark.parametrize("name", ["style.css", "favicon.svg"])
def test_static_files_are_there_without_a_build(name, client):
    assert finders.find(name)
    response = client.get(f"/static/{name}")
    assert response.status_code == 200
    assert b"".join(response.streaming_content)


@pytest.mark.django_db
def test_the_admin_lets_a_superuser_in(client):
    user = get_user_model().objects.create_superuser("ada", password="a-long-password")
    assert user.password.startswith("md5$"), "passwords are hashed fast in tests"
    login = {"username": "ada", "password": "a-long-password"}
    index = reverse("admin:index")
    assert client.post(f"{reverse('admin:login')}?next={index}", login).url == index
    assert client.get(reverse(f"admin:{user._meta.app_label}_user_changelist")).status_code == 200
