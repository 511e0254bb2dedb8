"""Refuse answers that cannot work, before anything is written. Standard library only, like every hook."""

import json
import os
import re
import sys
import unicodedata
from contextlib import suppress

# As JSON: an answer between quotes could end them. tojson escapes ' and leaves ", so these quotes stay single.
ANSWERS = json.loads(r'{{ cookiecutter | tojson }}')  # fmt: skip

# A project that bears the name of one of its dependencies depends on itself; one named pip uninstalls what installs it.
DEPENDENCIES = """asgiref ast_serialize boto3 botocore brotli cffi click colorama cryptography deptry dj_database_url
django django_storages django_stubs django_stubs_ext django_tasks_db gunicorn honcho iniconfig jmespath librt mypy
mypy_extensions packaging pathspec pip pluggy psutil psycopg psycopg_binary psycopg_pool pycparser pygments pymemcache
pymysql pytest pytest_django python_dateutil redis requirements_parser ruff s3transfer setuptools six sqlparse tomli
types_pyyaml typing_extensions tzdata urllib3 uv whitenoise""".split()


def problem(project_name: str, project_slug: str, database: str, deploy: str, **_: object) -> str:
    """Return what is wrong with the answers, or nothing."""
    # A title is one line, TOML forbids control characters, and half a surrogate pair is not text.
    if bad := [character for character in project_name if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")]:
        return f"project_name has {bad[0]!r} in it: write one line, without control characters."
    if not re.fullmatch(r"[a-z](_?[a-z0-9])+", project_slug) or len(project_slug) > 40:
        return f"project_slug {project_slug!r} cannot be used: write 2 to 40 of a-z, 0-9 and single _, a letter first."
    if project_slug in DEPENDENCIES:
        return f"project_slug {project_slug!r} is the name of a package that the project depends on: take another."
    if database == "sqlite" and deploy == "kubernetes":
        return "deploy kubernetes cannot be used with database sqlite: pods on several machines share no SQLite file."
    return ""


if __name__ == "__main__":
    slug, message = ANSWERS["project_slug"], problem(**ANSWERS)
    if re.fullmatch(r"[\w-]+(/[\w-]+)+", slug):
        with suppress(OSError):  # of a/b Cookiecutter removes b alone; a directory that is not empty stays
            os.chdir("../" * (slug.count("/") + 1))
            os.removedirs(slug)
    here = "A project is here already: `uvx cruft update` takes improvements, or move it away."
    sys.exit(message or (here if os.path.lexists(".env") else 0))
