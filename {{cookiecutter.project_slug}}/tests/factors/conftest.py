"""What the twelve modules share: one build, one release, databases, places to run, one watched day."""

import os
import secrets
import shutil
import sqlite3
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path
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
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
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


def copy(source: Path, target: Path) -> Path:
    """Copy code, but for sockets and alike."""
    kinds = (Path.is_file, Path.is_dir, Path.is_symlink)
    others = lambda place, names: {n for n in names if not any(kind(Path(place, n)) for kind in kinds)}  # noqa: E731
    return Path(shutil.copytree(source, target, symlinks=True, ignore=others))


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Process:
    """Clone what git holds, and nothing else, and build it: without a secret, a database or the network."""
    place = Place((root := tmp_path_factory.mktemp("build").resolve()) / "code", root)
    for name in held():
        (place.code / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(PROJECT / name, place.code / name, follow_symlinks=False)
    place.environment["SECRET_KEY"] = "for-the-build-" * 4
    return place.run("python manage.py collectstatic --noinput", 300, FACTORS_BUILD="1")


class Databases:
    """Databases of their own for places, where DATABASE_URL says: files here, or new ones on that server."""

    def __init__(self, place: Place, unblock: Any) -> None:
        self.place, self.unblock, self.names = place, unblock, list[str]()
        self.server = urlsplit(os.environ["DATABASE_URL"])
        place.environment["DATABASE_URL"] = self.empty()
        self.release = place.run(place.command("release"), 300)
        if self.release.popen.returncode:
            raise why(self.release)
        self.cookies = place.ask(LOGIN)  # of a user who may see everything

    def administer(self, statement: str) -> None:
        with self.unblock(), connection._nodb_cursor() as cursor:
            cursor.execute(statement)

    def empty(self, template: str = "") -> str:
        """Return the URL of a new database without tables, or on PostgreSQL with those of another one."""
        name = f"factors_{secrets.token_hex(6)}"
        if self.server.scheme == "sqlite":
            return f"sqlite:///{self.place.root / name}.sqlite3"
        self.administer(f"CREATE DATABASE {name} {template and f'TEMPLATE {template}'}")
        self.names.append(name)
        return self.server._replace(path=f"/{name}").geturl()

    def migrated(self) -> str:
        """Return the URL of a new database with what the release makes, and that user."""
        original = urlsplit(self.place.environment["DATABASE_URL"]).path[1:]
        new = self.empty(original if self.server.scheme.startswith("postgres") else "")
        if self.server.scheme.startswith("mysql"):
            self.place.run(self.place.command("release"), 300, DATABASE_URL=new)
        elif self.server.scheme == "sqlite" and not Path(original).exists():
            what = "DATABASE_URL does not say where the release makes its tables"
            raise Broken("IV Backing services", what, "read DATABASE_URL in the settings")
        elif self.server.scheme == "sqlite":
            with closing(sqlite3.connect(original)) as one, closing(sqlite3.connect(urlsplit(new).path[1:])) as other:
                one.backup(other)
        return new


@pytest.fixture(scope="session")
def databases(build: Process, tmp_path_factory: Any, django_db_blocker: Any) -> Iterator[Databases]:
    """Release once, and return what makes databases; they are gone after the tests."""
    if build.popen.returncode:
        raise why(build)
    found = Databases(Place(build.place.code, tmp_path_factory.mktemp("databases")), django_db_blocker.unblock)
    yield found
    force = " WITH (FORCE)" if found.server.scheme.startswith("postgres") else ""
    for name in found.names:
        found.administer(f"DROP DATABASE {name}{force}")


@pytest.fixture(scope="session")
def first_web(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """Return the first web process of all: where it does not start within seconds, nothing else is tried."""
    place = Place(databases.place.code, tmp_path_factory.mktemp("first"), databases.migrated())
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
def deploy(first_web: Process, databases: Databases, tmp_path: Path) -> Iterator[Callable[..., Place]]:
    """Return a function that makes a place: with a copy of the code if asked for, else with what tests share."""
    places: list[Place] = []

    def make(*, own_code: bool = False, database: str = "", **variables: str) -> Place:
        root, code = tmp_path / f"place{len(places)}", first_web.place.code
        places.append(Place(copy(code, root / "code") if own_code else code, root, database or databases.migrated()))
        places[-1].environment |= variables
        return places[-1]

    yield make
    for each in places:
        each.close()


@pytest.fixture(scope="session")
def variants(first_web: Process, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return what each variable changes."""
    return load_variants(Place(first_web.place.code, tmp_path_factory.mktemp("variants")))


@pytest.fixture(scope="session")
def lock_alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the programs of an environment made of uv.lock, without development's, or else of this one."""
    place = Place(PROJECT, tmp_path_factory.mktemp("lock"))
    place.environment |= {name: value for name, value in os.environ.items() if name.startswith("UV_") or name == "HOME"}
    place.environment["UV_PROJECT_ENVIRONMENT"] = str(place.root / "venv")
    python = f"--no-python-downloads --python '{sys.executable}'"
    sync = place.run(f"uv sync --locked --offline --no-dev --quiet --compile-bytecode {python}", 300)
    if "needs to be updated" in sync.printed("err"):
        what = "uv.lock does not fit pyproject.toml"
        raise Broken("II Dependencies", what, "run `uv lock` and commit uv.lock", sync.tail)
    return place.root / "venv" / "bin" if not sync.popen.returncode else Path(sys.executable).parent


@pytest.fixture(scope="session")
def day(first_web: Process, lock_alone: Path, databases: Databases, tmp_path_factory: Any) -> Iterator[Day]:
    """Return one day of a deploy, with nothing on PATH but the environment's own programs and `sh`."""
    root = tmp_path_factory.mktemp("day").resolve()
    place = Place(copy(first_web.place.code, root / "code"), root, databases.migrated())
    (root / "programs").mkdir()
    for name in ("sh", *ALLOWED.get("programs", [])):
        if found := shutil.which(name):
            (root / "programs" / name).symlink_to(found)
    place.environment["PATH"] = f"{lock_alone}{os.pathsep}{root / 'programs'}"
    try:
        yield watch_a_day(place, databases.release, databases.cookies)
    finally:
        place.close()
