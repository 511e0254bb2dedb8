"""The models and the migrations say the same."""

import pytest
from django.core.management import call_command


@pytest.mark.django_db
def test_no_migration_is_missing(settings):
    if not isinstance(settings.MIGRATION_MODULES, dict):  # with pytest's --no-migrations, which would hide them
        settings.MIGRATION_MODULES = {}
    call_command("makemigrations", "--check", "--dry-run")
