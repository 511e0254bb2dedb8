"""The storage of static files in production works out each address once."""

from config.static import StaticFilesStorage


def test_the_address_of_a_file_is_worked_out_once(tmp_path):
    storage = StaticFilesStorage(location=tmp_path, base_url="/static/")
    storage.hashed_files = {"style.css": "style.0123456789ab.css"}
    assert storage.url("style.css") == "/static/style.0123456789ab.css"
    storage.hashed_files = {}
    assert storage.url("style.css") == "/static/style.0123456789ab.css"
