"""What the twelve modules share: one build, one release, places to run, one watched day."""

import os
import secrets
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from shutil import copy2, copytree, which
from traceback import extract_tb
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import connection

from tests.factors.day import LOGIN, Day, watch_a_day, why
from tests.factors.deploy import ALLOWED, KEYS, PROJECT, Broken, Place, Process, held
from tests.factors.variants import load_variants

SECONDS_TO_START = 6.0  # about one on a quiet machine; 12factor.net says "a few"


def pytest_collection_modifyitems() -> None:
    if unknown := sorted(ALLOWED.keys() - KEYS):
        raise pytest.UsageError(f"[tool.factors] in pyproject.toml knows no {unknown}, only {sorted(KEYS)}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for key, values in ALLOWED.items():
        terminalreporter.write_line(f"[tool.factors] in pyproject.toml allows {key}: {', '.join(values)}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Any:
    """Let a broken factor fail one of its own tests, and skip what cannot go on; show no traceback of these tests."""
    try:
        return (yield)
    except Broken as broken:
        outcome = pytest.skip.Exception(f"{broken.what}: see {broken.factor}", _use_item_location=True)
        if broken.factor == item.module.FACTOR and not broken.told:
            broken.told, outcome = True, pytest.fail.Exception(str(broken), pytrace=False)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        frames = [each for each in extract_tb(error.__traceback__) if each.filename.startswith(str(PROJECT / "tests"))]
        where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}"
        what = f"{item.module.FACTOR}: this test cannot go on, at {where}: {type(error).__name__}: {error}"
        outcome = pytest.fail.Exception(what, pytrace=False)
    raise outcome


pytest_runtest_call = pytest_runtest_setup


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Process:
    """Clone what git holds, and nothing else, and build it: without a secret, a database or the network."""
    place = Place((root := tmp_path_factory.mktemp("build").resolve()) / "code", root)
    for name in held():
        (place.code / name).parent.mkdir(parents=True, exist_ok=True)
        copy2(PROJECT / name, place.code / name, follow_symlinks=False)
    place.environment["SECRET_KEY"] = "for-the-build-" * 4
    return place.run("python manage.py collectstatic --noinput", 300, FACTORS_BUILD="1")


class Release:
    """The release of the Procfile, on a database of its own where DATABASE_URL says: a file here, or on that server."""

    def __init__(self, place: Place) -> None:
        self.place, self.server = place, urlsplit(os.environ["DATABASE_URL"])
        name = f"factors_{secrets.token_hex(6)}"
        self.file = place.root / "release.sqlite3" if self.server.scheme == "sqlite" else None
        self.url = f"sqlite:///{self.file}" if self.file else self.server._replace(path=f"/{name}").geturl()
        self.administer("CREATE DATABASE")
        place.environment["DATABASE_URL"] = self.url
        self.process = place.run(place.command("release"), 300)
        if self.process.popen.returncode:
            raise why(self.process)
        self.cookies = place.ask(LOGIN)  # of a user who may see everything

    def administer(self, statement: str) -> None:
        if not self.file:
            with connection._nodb_cursor() as cursor:
                cursor.execute(f"{statement} {urlsplit(self.url).path[1:]}")

    def database(self) -> str:
        """Return the URL of that database, or of a new copy of the file."""
        if not self.file:
            return self.url
        if not self.file.exists():
            what = "DATABASE_URL does not say where the release makes its tables"
            raise Broken("IV Backing services", what, "read DATABASE_URL in the settings")
        new = self.file.with_name(f"{secrets.token_hex(6)}.sqlite3")
        with closing(sqlite3.connect(self.file)) as one, closing(sqlite3.connect(new)) as other:
            one.backup(other)
        return f"sqlite:///{new}"


@pytest.fixture(scope="session")
def release(build: Process, tmp_path_factory: Any, django_db_blocker: Any) -> Iterator[Release]:
    if build.popen.returncode:
        raise why(build)
    place = Place(build.place.code, tmp_path_factory.mktemp("release"))
    with django_db_blocker.unblock():
        found = Release(place)
    yield found
    with django_db_blocker.unblock():
        found.administer("DROP DATABASE")


@pytest.fixture(scope="session")
def first_web(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """Return the first web process of all: where it does not start within seconds, nothing else is tried."""
    place = Place(release.place.code, tmp_path_factory.mktemp("first"), release.database())
    plain = place.run(f'"{sys.executable}" -c "import django.contrib.admin.sites, gunicorn.app.wsgiapp"')
    try:
        web = place.web()
        if web.seconds > SECONDS_TO_START + 6 * plain.seconds:  # a busy machine takes longer for everything
            what = f"the web process takes {web.seconds:.1f} s to start"
            raise Broken("IX Disposability", what, "do in the build or the release what takes so long")
        yield web
    except Broken as broken:
        raise why(place.processes[-1], broken) from None
    finally:
        place.close()


@pytest.fixture
def deploy(first_web: Process, release: Release, tmp_path: Path) -> Iterator[Callable[..., Place]]:
    """Return a function that makes a place: with a copy of the code if asked for, else with what tests share."""
    places: list[Place] = []

    def make(*, own_code: bool = False, database: str = "", **variables: str) -> Place:
        root, code = tmp_path / f"place{len(places)}", first_web.place.code
        code = copytree(code, root / "code", symlinks=True) if own_code else code
        places.append(Place(code, root, database or release.database()))
        places[-1].environment |= variables
        return places[-1]

    yield make
    for each in places:
        each.close()


@pytest.fixture(scope="session")
def variants(first_web: Process, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_variants(Place(first_web.place.code, tmp_path_factory.mktemp("variants")))


@pytest.fixture(scope="session")
def lock_alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the programs of an environment made of uv.lock, without development's, or else of this one."""
    place = Place(PROJECT, tmp_path_factory.mktemp("lock"))
    place.environment |= {name: value for name, value in os.environ.items() if name.startswith("UV_") or name == "HOME"}
    place.environment["UV_PROJECT_ENVIRONMENT"] = str(place.root / "venv")
    python = f"--no-python-downloads --python '{sys.executable}'"
    sync = place.run(f"uv sync --locked --offline --no-dev --quiet {python}", 300)
    if "needs to be updated" in sync.printed("err"):
        raise Broken(
            "II Dependencies", "uv.lock does not fit pyproject.toml", "run `uv lock`, and commit it", sync.tail
        )
    return place.root / "venv" / "bin" if not sync.popen.returncode else Path(sys.executable).parent


@pytest.fixture(scope="session")
def day(first_web: Process, lock_alone: Path, release: Release, tmp_path_factory: Any) -> Iterator[Day]:
    """Return one day of a deploy, with nothing on PATH but the environment's own programs and `sh`."""
    root = tmp_path_factory.mktemp("day").resolve()
    place = Place(copytree(first_web.place.code, root / "code", symlinks=True), root, release.database())
    (root / "programs").mkdir()
    for name, found in ((name, which(name)) for name in ("sh", *ALLOWED.get("programs", []))):
        if found:
            (root / "programs" / name).symlink_to(found)
    place.environment["PATH"] = f"{lock_alone}{os.pathsep}{root / 'programs'}"
    try:
        yield watch_a_day(place, release.process, release.cookies)
    finally:
        place.close()
