"""The models and the migrations say the same."""

import pytest
from django.core.management import call_command


@pytest.mark.django_db
def test_no_migration_is_missing(settings):
    settings.MIGRATION_MODULES = {}  # pytest's --no-migrations would hide them
    call_command("makemigrations", "--check", "--dry-run")
