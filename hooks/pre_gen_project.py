"""Refuse answers that cannot work, before anything is written. Standard library only, like every hook."""

import json
import re
import sys
from pathlib import Path

# Never between quotes as it stands: an answer with a quote in it would end the string, and the rest would run.
SLUG = json.loads(r'{{ cookiecutter.project_slug | tojson }}')
DATABASE = json.loads(r'{{ cookiecutter.database | tojson }}')
DEPLOY = json.loads(r'{{ cookiecutter.deploy | tojson }}')

RULE = "lower-case letters, digits and single words of them joined by _, starting with a letter, 2 to 40 characters"

# A project that bears the name of one of its dependencies depends on itself.
DEPENDENCIES = """
asgiref boto3 botocore brotli colorama dj_database_url django django_storages django_stubs_ext django_tasks_db
gunicorn honcho iniconfig jmespath packaging pluggy psycopg psycopg_binary psycopg_pool pygments pymemcache pymysql
pytest pytest_django python_dateutil python_json_logger redis ruff s3transfer six sqlparse typing_extensions tzdata
urllib3 whitenoise
""".split()


def problem(slug: str, database: str, deploy: str) -> str:
    """Return what is wrong with the answers, or nothing."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*[a-z0-9]", slug) or len(slug) > 40:
        return f"project_slug {slug!r} cannot be used: write {RULE}."
    if re.sub("_+", "_", slug) in DEPENDENCIES:
        return f"project_slug {slug!r} is the name of a package that the project depends on: write another, my_{slug} say."
    if database == "sqlite" and deploy == "kubernetes":
        return "deploy kubernetes cannot be used with database sqlite: pods on several machines share no SQLite file."
    return ""


if __name__ == "__main__":
    if message := problem(SLUG, DATABASE, DEPLOY):
        sys.exit(message)
    # What is older than this file, the generation did not write: the other hook leaves it alone.
    Path(".generating").touch()
