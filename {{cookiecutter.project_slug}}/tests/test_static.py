"""Static files: a page names them by addresses that change only with a release."""

import pytest
from django.test import Client

from config.static import StaticFilesStorage


def test_the_address_of_a_file_is_worked_out_once(tmp_path):
    storage = StaticFilesStorage(location=tmp_path, base_url="/static/")
    storage.hashed_files = {"style.css": "style.0123456789ab.css"}
    assert storage.url("style.css") == "/static/style.0123456789ab.css"
    storage.hashed_files = {}
    assert storage.url("style.css") == "/static/style.0123456789ab.css"


@pytest.mark.django_db
def test_the_page_for_errors_needs_no_static_file(settings, tmp_path):
    settings.STATIC_ROOT = tmp_path  # nothing is collected
    settings.STORAGES = settings.STORAGES | {"staticfiles": {"BACKEND": "config.static.StaticFilesStorage"}}
    response = Client(raise_request_exception=False).get("/nowhere")
    assert (response.status_code, "<h1>Something went wrong</h1>" in response.text) == (500, True)
