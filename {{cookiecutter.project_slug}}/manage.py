#!/usr/bin/env python
"""Django's command-line utility for administrative tasks, as in `honcho run python manage.py migrate`."""

import os
import sys


def main() -> None:
    """Run administrative tasks."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        from django.core.management import execute_from_command_line
    except ImportError as exc:
        raise ImportError(
            "Django cannot be imported. Is it installed in this environment? `uv run` installs it, and so does "
            "`pip install . --group dev` in an activated virtual environment."
        ) from exc
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
