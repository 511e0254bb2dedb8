"""Other projects beside ours, from their sources; what is changed to run them here is listed with the results."""

import argparse
import re
import shutil
import sys
from pathlib import Path

from tests import generation
from tests.benchmarks.lab import HOST, SECRET_KEY, THREADS, Lab, Site


def known(directory: str) -> Path:
    """Return the directory of a source, for the command line."""
    path = Path(directory).resolve()
    if not any((path / evidence).exists() for evidence, _ in PEERS.values()):
        raise argparse.ArgumentTypeError(f"{directory} is not the source of {' or '.join(PEERS)}")
    return path


def released(lab: Lab, source: Path) -> Site:
    """Return the project whose source is in a directory, built and released."""
    name, build = next((name, build) for name, (evidence, build) in PEERS.items() if (source / evidence).exists())
    print(f"({name}) ", end="", flush=True)
    site = build(lab, source, name)
    lab.add_to(site.directory, site.directory / f"{site.settings.partition('.')[0]}/urls.py")
    site.run("python", "manage.py", "collectstatic", "--no-input")
    site.run("python", "manage.py", "migrate")
    return site


def edit(path: Path, *changes: tuple[str, str]) -> None:
    """Replace patterns, each of which must be there."""
    text = path.read_text()
    for pattern, replacement in changes:
        text, count = re.subn(pattern, replacement, text)
        if not count:
            raise RuntimeError(f"{path} has no {pattern}")
    path.write_text(text)


def heroku(lab: Lab, source: Path, name: str) -> Site:
    """Build heroku/python-getting-started."""
    directory = lab.directory / "heroku"
    shutil.copytree(source, directory, ignore=shutil.ignore_patterns(".git"))
    edit(
        directory / "gettingstarted/settings.py",
        (r'# ("django\.contrib)', r"\1"),
        ("ssl_require=True", "ssl_require=False"),
    )
    edit(directory / "gettingstarted/urls.py", (r"# (from django.contrib import admin|path\(.admin)", r"\1"))
    lab.adaptations.append(
        f"{name}: the generated project's packages; admin, sessions and messages switched on, as its comments say; "
        "no TLS to the database. Its gunicorn.conf.py has 5 threads and an access log in text."
    )
    environment = lab.environment(lab.postgresql.create_database())
    environment |= {"DJANGO_SECRET_KEY": SECRET_KEY, "DYNO": "web.1"}
    return Site(name, directory, "gettingstarted.settings", "gettingstarted.wsgi", [], environment)


def cookiecutter_django(lab: Lab, source: Path, name: str) -> Site:
    """Build a project of cookiecutter/cookiecutter-django, without its hooks, which delete unused files."""
    parent = lab.directory / "cookiecutter-django"
    parent.mkdir()
    answers = ("use_whitenoise=y", "cloud_provider=None", "mail_service=Other SMTP")
    done = generation.cookiecutter(source, parent, "--no-input", "--accept-hooks", "no", *answers)
    if done.returncode:
        raise RuntimeError(done.stderr)
    directory = parent / "my_awesome_project"
    edit(directory / "requirements/production.txt", (r"psycopg\[c\]", "psycopg[binary]"))
    python = parent / "venv/bin/python"
    uv = generation.executable("uv")
    for command in (
        ["venv", "--python", sys.executable, str(python.parents[1])],
        ["pip", "install", "--python", str(python), "--requirement", "requirements/production.txt"],
    ):
        done = generation.run([uv, *command], directory, lab.user, seconds=300)
        if done.returncode:
            raise RuntimeError(done.stderr)
    generation.run([str(python), "-m", "compileall", "-q", "../venv"], directory, lab.user, seconds=300)
    asked = 'from importlib.metadata import version as v; print(f\'Django {v("django")}, gunicorn {v("gunicorn")}\')'
    versions = generation.run([str(python), "-c", asked], directory, lab.user).stdout.strip()
    lab.adaptations.append(
        f"{name}: its own packages ({versions}), but psycopg[binary] for psycopg[c]; answers {', '.join(answers)}; "
        f"gunicorn with {THREADS} threads, as startproject's; no Redis, which no page here asks. It logs no requests."
    )
    environment = lab.environment(lab.postgresql.create_database()) | {
        "PATH": generation.search_path(python.parent),
        "DJANGO_SETTINGS_MODULE": "config.settings.production",
        "DJANGO_SECRET_KEY": SECRET_KEY,
        "DJANGO_ALLOWED_HOSTS": HOST,
        "DJANGO_ADMIN_URL": "admin/",
        "REDIS_URL": "redis://127.0.0.1:6379/0",
    }
    options = ["--worker-class", "gthread", "--threads", str(THREADS)]
    return Site(name, directory, "config.settings.production", "config.wsgi", options, environment)


PEERS = {
    "heroku": ("gettingstarted", heroku),
    "cookiecutter-django": ("hooks/pre_gen_project.py", cookiecutter_django),
}
