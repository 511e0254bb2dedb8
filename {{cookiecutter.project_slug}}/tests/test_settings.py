"""config/settings.py: what an environment makes of it."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from django.utils.csp import CSP
from django.utils.module_loading import import_string

from config import services
from config.static import StaticFilesStorage
from tests.environment import VARIABLES

PROJECT = Path(__file__).parent.parent

KEY = "0123456789-abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# From .env.example, so that a variable that you add to it is here too.
PRODUCTION = VARIABLES | {
    "DEBUG": "false",
    "SECRET_KEY": KEY,
    "ALLOWED_HOSTS": "www.example.com",
    "DATABASE_URL": "sqlite:///db.sqlite3",
    "EMAIL_URL": "smtp://mail.example.com",
}


@pytest.fixture
def settings_of(monkeypatch):
    """Return a function that runs settings.py in an environment and returns what it defines."""

    def run(**environment: str) -> dict:
        monkeypatch.setattr(os, "environ", environment)
        return runpy.run_path(str(PROJECT / "config" / "settings.py"))

    return run


def manage(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run manage.py in a process that has nothing but `environment`."""
    return subprocess.run(
        [sys.executable, "-W", "error", "manage.py", *arguments],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_an_empty_environment_is_told_everything_it_lacks_at_once():
    result = manage("check")
    assert result.returncode == 3
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    for name in ("SECRET_KEY", "DATABASE_URL", "ALLOWED_HOSTS"):
        assert f"  {name} is missing" in result.stderr


# Values of which each is wrong.
WRONG = {
    "DEBUG": "ture",
    "SECRET_KEY": f"{VARIABLES['SECRET_KEY']} None {KEY[:49]} {'abcd' * 20} ${{SECRET_KEY:-{KEY}}} $(echo){KEY}",
    "SECRET_KEY_FALLBACKS": f"{KEY},django-insecure-{KEY} short",
    "ALLOWED_HOSTS": "https://www.example.com www.example.com:8000 www.example.com/shop www.example.com. *.example.com "
    "www..example.com None null - ::1 [::g] www.bücher.example",
    "CSRF_TRUSTED_ORIGINS": "www.example.com https://www.example.com/ https://www.example.com/shop https://*.com "
    "https://www.example.com?shop https://www.example.com#shop https://ada@www.example.com "
    "'https://www.example.com' https://www.example.com\" https://www.example.com:99999 https://* "
    "https://www.example.com:443 http://www.example.com:80 https://\u212a.example",
    "DATABASE_URL": "sqlite://secret.sqlite3",
    "DATABASE_CONN_MAX_AGE": "sixty",
    "CACHE_URL": "redis://",
    "CACHE_TLS_VERIFY": "never",
    "EMAIL_URL": "smtp:mail.example.org",
    "DEFAULT_FROM_EMAIL": "www.example.com Ada<ada@example> a@example.com,b@example.com",
    "STORAGE_URL": "s4://uploads file:.",
    "SESSION_ENGINE": "file",
    "TASKS": "celery",
    "TIME_ZONE": "Mars/Olympus ../etc",
    "LOG_LEVEL": "loud",
    "LOG_FORMAT": "xml",
    "SECURE_HSTS_SECONDS": "1h",
    "SECURE_SSL_REDIRECT": "maybe",
    "SECURE_CSP": "default-src",
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in WRONG for value in WRONG[name].split(" ")])
def test_a_wrong_variable_ends_the_process_by_name_with_an_example_that_works(name, value, settings_of, capsys):
    with pytest.raises(SystemExit) as ended:
        settings_of(**PRODUCTION | {name: value})
    message = capsys.readouterr().err
    assert ended.value.code == 3
    assert re.findall(r"(?m)^  ([A-Z_]+) ", message) == [name]
    assert f" {value}" not in message
    example = re.search(rf"Example: {name}=(.*)", message)[1]
    assert settings_of(**PRODUCTION | {name: example})


def test_a_misspelt_debug_is_the_only_problem_of_development(settings_of, capsys):
    with pytest.raises(SystemExit):
        settings_of(**VARIABLES | {"DEBUG": "ture"})
    assert re.findall(r"(?m)^  ([A-Z_]+) ", capsys.readouterr().err) == ["DEBUG"]


def test_uploads_publish_neither_the_database_nor_the_mails(settings_of, capsys):
    for name, url in {"DATABASE_URL": "sqlite:////data/a.sqlite3", "EMAIL_URL": "file:///data/mail"}.items():
        with pytest.raises(SystemExit):
            settings_of(**PRODUCTION | {"STORAGE_URL": "file:///data", name: url})
        assert "STORAGE_URL would publish" in capsys.readouterr().err
        settings = settings_of(**PRODUCTION | {"STORAGE_URL": "file:///data/media", name: url})
        assert (settings["MEDIA_ROOT"], settings["MEDIA_URL"]) == ("/data/media", "/media/")


def test_a_storage_of_another_kind_needs_no_line_elsewhere(settings_of, monkeypatch):
    google = {"BACKEND": "storages.backends.gcloud.GoogleCloudStorage", "OPTIONS": {"bucket_name": "uploads"}}
    service = services.Service(google, "Google", url="https://storage.googleapis.com/uploads/")
    monkeypatch.setattr(services, "uploads", lambda url: service)
    settings = settings_of(**PRODUCTION)
    assert settings["STORAGES"]["default"] == google
    assert "https://storage.googleapis.com/uploads/" in settings["SECURE_CSP"]["img-src"]
    assert (settings["MEDIA_ROOT"], settings["MEDIA_URL"]) == ("", "https://storage.googleapis.com/uploads/")


def test_sessions_live_in_no_cache_that_processes_do_not_share(settings_of, capsys):
    with pytest.raises(SystemExit):
        settings_of(**PRODUCTION, SESSION_ENGINE="cache", CACHE_URL="locmem://")
    assert "SESSION_ENGINE needs a CACHE_URL" in capsys.readouterr().err
    settings = settings_of(**PRODUCTION, SESSION_ENGINE="cache", CACHE_URL="redis://cache.example:6379/0")
    assert settings["SESSION_ENGINE"] == "django.contrib.sessions.backends.cache"


def test_the_minimal_environment_is_ready_for_production():
    result = manage("check", "--deploy", "--fail-level", "WARNING", **PRODUCTION)
    assert result.returncode == 0, result.stderr


def test_security_is_on_unless_debug_is(settings_of):
    switches = ["SECURE_SSL_REDIRECT", "SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE", "SECURE_HSTS_SECONDS"]
    for_subdomains = ["SECURE_HSTS_INCLUDE_SUBDOMAINS", "SECURE_HSTS_PRELOAD"]  # could lock other hosts out
    production, development = settings_of(**PRODUCTION), settings_of(**PRODUCTION | {"DEBUG": "true"})
    assert [production[name] for name in switches] == [True, True, True, 3600]
    assert [development[name] for name in switches] == [False, False, False, 0]
    assert [production[name] for name in for_subdomains] == [False, False]


def test_all_mail_has_one_sender(settings_of):
    settings = settings_of(**PRODUCTION | {"DEFAULT_FROM_EMAIL": "shop@example.com"})
    assert settings["DEFAULT_FROM_EMAIL"] == settings.get("SERVER_EMAIL") == "shop@example.com"


def test_static_files_have_hashed_names_in_production(settings_of):
    backend = settings_of(**PRODUCTION)["STORAGES"]["staticfiles"]["BACKEND"]
    assert issubclass(import_string(backend), StaticFilesStorage)


def test_no_site_may_frame_a_page_and_no_page_starts_a_plugin(settings_of):
    policy = settings_of(**PRODUCTION)["SECURE_CSP"]
    assert policy["frame-ancestors"] == policy["object-src"] == [CSP.NONE]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("SECURE_SSL_REDIRECT", "false", False),
        ("SESSION_COOKIE_SECURE", "false", False),
        ("CSRF_COOKIE_SECURE", "false", False),
        ("SECURE_HSTS_SECONDS", "0", 0),
        ("SECURE_HSTS_INCLUDE_SUBDOMAINS", "true", True),
        ("SECURE_HSTS_PRELOAD", "true", True),
        ("SECURE_CSP", "false", {}),
        ("TIME_ZONE", "Europe/Paris", "Europe/Paris"),
        ("SECRET_KEY_FALLBACKS", f"{KEY}1,{KEY}$(2", [f"{KEY}1", f"{KEY}$(2"]),
        ("ALLOWED_HOSTS", ".example.com,web_1,[::1],*", [".example.com", "web_1", "[::1]", "*"]),
        ("CSRF_TRUSTED_ORIGINS", "https://*.A.example,http://[::1]:8080", ["https://*.a.example", "http://[::1]:8080"]),
    ],
)
def test_each_switch_switches_alone(name, value, expected, settings_of):
    before, after = settings_of(**PRODUCTION), settings_of(**PRODUCTION | {name: value})
    assert after[name] == expected
    assert [setting for setting in before if setting.isupper() and before[setting] != after[setting]] == [name]
