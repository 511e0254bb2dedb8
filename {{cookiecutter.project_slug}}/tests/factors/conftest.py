"""What the twelve modules share: one release of a clone, places to run, one watched day."""

import os
import secrets
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPException
from pathlib import Path
from shutil import copy2, copytree, which
from traceback import extract_tb
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from django.db import connection

from tests.factors.day import Day, load_variants, watch_a_day, why
from tests.factors.deploy import ALLOWED, KEYS, PROJECT, PYTHON, Broken, Factor, Place, held, procfile

HEARD: list[Broken] = []


def pytest_collection_modifyitems() -> None:
    if unknown := sorted(ALLOWED.keys() - KEYS):
        raise pytest.UsageError(f"[tool.factors] in pyproject.toml knows no {unknown}, only {sorted(KEYS)}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for key, values in ALLOWED.items():
        terminalreporter.write_line(f"[tool.factors] in pyproject.toml allows {key}: {', '.join(map(str, values))}")
    told = {broken.factor for broken in HEARD if broken.told}
    for broken in [broken for broken in HEARD if broken.factor not in told][:1]:
        config.pluginmanager.get_plugin("session").exitstatus = pytest.ExitCode.TESTS_FAILED
        terminalreporter.write_line(f"Tests were skipped for this, and none of its factor failed:\n{broken}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Any:
    """Let a broken factor fail one of its own tests, and skip what cannot go on; show no traceback of these tests."""
    try:
        return (yield)
    except Broken as broken:
        outcome = pytest.skip.Exception(f"{broken.what}: see {broken.factor}", _use_item_location=True)
        if broken.factor == item.module.FACTOR and not broken.told:
            broken.told, outcome = True, pytest.fail.Exception(str(broken), pytrace=False)
        HEARD.append(broken)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, HTTPException, psutil.Error) as error:
        frames = [each for each in extract_tb(error.__traceback__) if each.filename.startswith(str(PROJECT / "tests"))]
        where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "a fixture"
        what = f"{item.module.FACTOR}: this test cannot go on, at {where}: {type(error).__name__}: {error}"
        outcome = pytest.fail.Exception(what, pytrace=False)
    raise outcome


pytest_runtest_call = pytest_runtest_setup


class Release:
    """A clone that is built and released, on a database where DATABASE_URL says: a file here, or one on that server."""

    def __init__(self, root: Path, request: pytest.FixtureRequest, blocker: Any) -> None:
        self.blocker, server, name = blocker, urlsplit(os.environ["DATABASE_URL"]), f"factors_{secrets.token_hex(6)}"
        self.file = root / "release.sqlite3" if server.scheme == "sqlite" else None
        self.url = f"sqlite:///{self.file}" if self.file else server._replace(path=f"/{name}").geturl()
        for held_file in held():
            (root / "code" / held_file).parent.mkdir(parents=True, exist_ok=True)
            copy2(PROJECT / held_file, root / "code" / held_file, follow_symlinks=False)
        self.place = Place(root / "code", root)  # without the deploy's secret and database
        build, key = "python manage.py collectstatic --noinput", "for-the-build-" * 4
        self.build = self.place.run(build, 300, SECRET_KEY=key, FACTORS_BUILD="1")
        if self.build.popen.returncode:
            raise why(self.build)
        self.administer("CREATE DATABASE")
        request.addfinalizer(lambda: self.administer("DROP DATABASE"))
        self.place = Place(root / "code", root / "release", self.url)
        self.process = self.place.run(procfile().get("release", "true"), 300)
        if self.process.popen.returncode:
            raise why(self.process)
        self.check = self.place.run("python manage.py migrate --check")
        if self.check.popen.returncode:  # V reports it; the others need the tables
            self.place.run("python manage.py migrate", 300)
        plain = self.place.run(f'{PYTHON} "import django.contrib.admin.sites, gunicorn.app.wsgiapp"')
        try:
            web = self.place.web()
            what, fast = f"the web process takes {web.seconds:.1f} s to start", web.seconds < 6 + 6 * plain.seconds
            Factor("IX Disposability").demand(fast, what, "do in the build or the release what takes so long")
        except Broken as broken:
            raise why(self.place.processes[-1], broken) from None
        finally:
            self.place.close()

    def administer(self, statement: str) -> None:
        if not self.file:
            with self.blocker.unblock(), connection._nodb_cursor() as cursor:
                cursor.execute(f"{statement} {urlsplit(self.url).path[1:]}")

    def database(self) -> str:
        if not self.file:
            return self.url
        what = "DATABASE_URL does not say where the release makes its tables"
        Factor("IV Backing services").demand(self.file.exists(), what, "read DATABASE_URL in the settings")
        new = self.file.with_name(f"{secrets.token_hex(6)}.sqlite3")
        with closing(sqlite3.connect(self.file)) as one, closing(sqlite3.connect(new)) as other:
            one.backup(other)
        return f"sqlite:///{new}"


@pytest.fixture(scope="session")
def release(request: pytest.FixtureRequest, tmp_path_factory: Any, django_db_blocker: Any) -> Iterator[Release]:
    found = Release(tmp_path_factory.mktemp("release").resolve(), request, django_db_blocker)
    place = Place(found.place.code, tmp_path_factory.mktemp("variants"))
    wanted = any("variants" in item.fixturenames for item in request.session.items)
    found.variants = load_variants(place) if wanted else None  # beside the day
    yield found
    place.close()


@pytest.fixture
def deploy(release: Release, tmp_path: Path) -> Iterator[Any]:
    places: list[Place] = []

    def make(*, own_code: bool = False, database: str = "", **variables: str) -> Place:
        root, code = tmp_path / f"place{len(places)}", release.place.code
        code = copytree(code, root / "code", symlinks=True) if own_code else code
        places.append(Place(code, root, database or release.database()))
        places[-1].environment |= variables
        return places[-1]

    yield make
    for each in places:
        each.close()


@pytest.fixture(scope="session")
def variants(release: Release) -> Any:
    return release.variants()


@pytest.fixture(scope="session")
def day(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    """Return one day of a deploy, in an environment made of uv.lock alone, with nothing besides on PATH but `sh`."""
    root = tmp_path_factory.mktemp("day").resolve()
    place = Place(copytree(release.place.code, root / "code", symlinks=True), root, release.database())
    uv = Place(PROJECT, root / "uv")
    uv.environment |= {name: value for name, value in os.environ.items() if name.startswith(("UV_", "HOME", "XDG_"))}
    command = f"uv sync --locked --offline --no-dev --quiet --no-python-downloads --python '{sys.executable}'"
    sync = uv.run(command, 300, UV_PROJECT_ENVIRONMENT=str(root / "venv"))
    fits, instead = "needs to be updated" not in sync.printed("err"), "run `uv lock`, and commit it"
    Factor("II Dependencies").demand(fits, "uv.lock does not fit pyproject.toml", instead, sync.tail)
    own = Path(sys.executable).parent if sync.popen.returncode else root / "venv" / "bin"
    (root / "programs").mkdir()
    for name in ("sh", *ALLOWED.get("programs", [])):
        (root / "programs" / name).symlink_to(which(name) or "nowhere")
    place.environment["PATH"] = f"{own}{os.pathsep}{root / 'programs'}"
    try:
        yield watch_a_day(place, own / "python", release.process)
    finally:
        place.close()
