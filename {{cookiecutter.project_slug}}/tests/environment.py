"""A pytest plugin for the tests of every app: they run on .env.example, unless a variable is set.

It is named with -p in pyproject.toml, because a conftest.py would come after Django's settings.
"""

import os
import re
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connections

EXAMPLE = (Path(__file__).parent.parent / ".env.example").read_text(encoding="utf-8")
VARIABLES = dict(re.findall(r"(?m)^([A-Z][A-Z0-9_]*)=(.*)$", EXAMPLE))

for name, value in VARIABLES.items():
    if not os.environ.get(name, "").strip():
        os.environ[name] = value


@pytest.fixture(scope="session", autouse=True)
def fast_passwords():
    """Hash passwords in microseconds: Django's own hasher takes a fifth of a second each time, on purpose."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(scope="session", autouse=True)
def databases_in_files(tmp_path_factory):
    """Let tests on SQLite use files, as every deploy does; Django's choice is a database in memory."""
    for connection in connections.all():
        if connection.vendor == "sqlite":
            connection.settings_dict["TEST"]["NAME"] = tmp_path_factory.mktemp(connection.alias) / "test.sqlite3"
