"""Refuse answers that cannot work, before anything is written. Standard library only, like every hook."""

import json
import os
import re
import shutil
import sys
import unicodedata
from fnmatch import fnmatch
from pathlib import Path

# Never between quotes as it stands: an answer with a quote in it would end the string, and the rest would run.
# tojson escapes ' and leaves ", so these quotes stay single.
NAME = json.loads(r'{{ cookiecutter.project_name | tojson }}')  # fmt: skip
SLUG = json.loads(r'{{ cookiecutter.project_slug | tojson }}')  # fmt: skip
DATABASE = json.loads(r'{{ cookiecutter.database | tojson }}')  # fmt: skip
DEPLOY = json.loads(r'{{ cookiecutter.deploy | tojson }}')  # fmt: skip
VERBATIM = json.loads(r'{{ cookiecutter._copy_without_render | tojson }}')  # fmt: skip

# No two _ in a row: three are no name of an image.
RULE = "lower-case letters and digits, words of them joined by single _, starting with a letter, 2 to 40 characters"

# A project that bears the name of one of its dependencies depends on itself; one named pip uninstalls what installs it.
DEPENDENCIES = """
asgiref boto3 botocore brotli cffi colorama cryptography dj_database_url django django_storages django_stubs_ext
django_tasks_db gunicorn honcho iniconfig jmespath packaging pip pluggy psycopg psycopg_binary psycopg_pool pycparser
pygments pymemcache pymysql pytest pytest_django python_dateutil python_json_logger redis ruff s3transfer setuptools
six sqlparse typing_extensions tzdata urllib3 uv whitenoise
""".split()


def problem(name: str, slug: str, database: str, deploy: str) -> str:
    """Return what is wrong with the answers, or nothing."""
    for character in name:
        # A title is one line, TOML forbids control characters, and half a surrogate pair is not text.
        if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp"):
            return f"project_name has {character!r} in it: write one line, without control characters."
    if not re.fullmatch(r"[a-z](_?[a-z0-9])+", slug) or len(slug) > 40:
        return f"project_slug {slug!r} cannot be used: write {RULE}."
    if slug in DEPENDENCIES:
        return f"project_slug {slug!r} is the name of a package that the project depends on: write my_{slug}, say."
    if database == "sqlite" and deploy == "kubernetes":
        return "deploy kubernetes cannot be used with database sqlite: pods on several machines share no SQLite file."
    return ""


def set_aside() -> None:
    """Copy the user's files that Cookiecutter overwrites even with --skip-if-file-exists: those it does not render.

    The other hook puts them back from .generating, and leaves alone what is older than that.
    """
    aside = Path(".generating")
    if aside.exists() and any(aside.iterdir()):
        sys.exit("An interrupted generation left your files in .generating: take back what you miss, then delete it.")
    aside.mkdir(exist_ok=True)
    os.utime(aside)
    for directory, below, files in os.walk("."):
        environments = [name for name in below if Path(directory, name, "pyvenv.cfg").exists()]
        below[:] = {name for name in below if name[0] != "." or name == ".github"} - {"node_modules", *environments}
        for path in (Path(directory, name) for name in files):
            if any(fnmatch(str(path), pattern) for pattern in VERBATIM):
                (aside / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, aside / path, follow_symlinks=False)


if __name__ == "__main__":
    if message := problem(NAME, SLUG, DATABASE, DEPLOY):
        sys.exit(message)
    try:
        set_aside()
    except (OSError, KeyboardInterrupt) as error:
        shutil.rmtree(".generating", ignore_errors=True)  # nothing has been overwritten yet
        sys.exit(f"The project cannot be written: {error or 'interrupted'}.")
