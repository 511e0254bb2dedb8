"""What people upload: kept by default_storage, shown in a sandbox."""

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage


@pytest.fixture(autouse=True)
def storage(settings, tmp_path):
    """Keep uploads in a directory of the test's own."""
    settings.MEDIA_ROOT, settings.MEDIA_URL = str(tmp_path / "media"), "/media/"
    settings.STORAGES = settings.STORAGES | {"default": {"BACKEND": "django.core.files.storage.FileSystemStorage"}}
    (tmp_path / "secret.txt").write_text("not an upload")


def test_an_upload_is_shown_in_a_sandbox(client):
    name = default_storage.save("picture.svg", ContentFile(b"<svg><script>alert(document.cookie)</script></svg>"))
    response = client.get(default_storage.url(name))
    assert (response.status_code, response.headers["Content-Type"]) == (200, "image/svg+xml")
    assert b"".join(response.streaming_content) == b"<svg><script>alert(document.cookie)</script></svg>"
    policy = response.headers["Content-Security-Policy"].split("; ")
    assert sorted(policy) == ["default-src 'none'", "sandbox"]


@pytest.mark.parametrize("kind", ["js", "mjs", "css", "html", "xml", "xsl", "wasm", "json", "pdf", "unknown", "js.gz"])
def test_what_a_page_could_run_is_a_download(kind, client):
    name = default_storage.save(f"file.{kind}", ContentFile(b"alert(1)"))
    response = client.get(default_storage.url(name))
    assert b"".join(response.streaming_content) == b"alert(1)"
    assert response.headers["Content-Type"] == "application/octet-stream"
    assert response.headers["Content-Disposition"] == "attachment"
    assert "Content-Encoding" not in response.headers
    assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "path", ["../secret.txt", "%2e%2e/secret.txt", "..%2Fsecret.txt", "nothing.txt", "", "a" * 256, "%00"]
)
def test_nothing_else_is_shown(path, client):
    assert client.get(f"/media/{path}").status_code in (400, 404)
