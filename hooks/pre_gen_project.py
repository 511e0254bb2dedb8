"""Refuse answers that cannot work, before anything is written. Standard library only, like every hook."""

import json
import re
import sys
import unicodedata

# Never between quotes as it stands: an answer with a quote in it would end the string, and the rest would run.
# tojson escapes ' and leaves ", so these quotes stay single.
NAME = json.loads(r'{{ cookiecutter.project_name | tojson }}')  # fmt: skip
SLUG = json.loads(r'{{ cookiecutter.project_slug | tojson }}')  # fmt: skip

RULE = "lower-case letters, digits and single words of them joined by _, starting with a letter, 2 to 40 characters"

# A project that bears the name of one of its dependencies depends on itself; one named pip uninstalls what installs it.
DEPENDENCIES = """
asgiref boto3 botocore brotli colorama dj_database_url django django_storages django_stubs_ext django_tasks_db
gunicorn honcho iniconfig jmespath packaging pip pluggy psycopg psycopg_binary psycopg_pool pygments pymemcache pymysql
pytest pytest_django python_dateutil python_json_logger redis ruff s3transfer setuptools six sqlparse typing_extensions
tzdata urllib3 uv whitenoise
""".split()


def problem(name: str, slug: str) -> str:
    """Return what is wrong with the answers, or nothing."""
    for character in name:
        # A title is one line, TOML forbids control characters, and half a surrogate pair is not text.
        if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp"):
            return f"project_name has {character!r} in it: write one line, without control characters."
    if not re.fullmatch(r"[a-z][a-z0-9_]*[a-z0-9]", slug) or len(slug) > 40:
        return f"project_slug {slug!r} cannot be used: write {RULE}."
    if re.sub("_+", "_", slug) in DEPENDENCIES:
        return f"project_slug {slug!r} is the name of a package that the project depends on: write my_{slug}, say."
    return ""


if __name__ == "__main__":
    if message := problem(NAME, SLUG):
        sys.exit(message)
