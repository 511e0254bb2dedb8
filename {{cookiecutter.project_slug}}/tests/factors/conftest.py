"""What the twelve modules share: one build, one release, databases, places to run, one watched day."""

import json
import os
import secrets
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.factors.day import LOGIN, Day, watch_a_day, why
from tests.factors.deploy import (
    ALLOWED,
    KEYS,
    PROJECT,
    Broken,
    Place,
    Process,
    checkout,
    copy,
    demand,
    given,
    make_place,
)
from tests.factors.variants import Variants, load_variants

SECONDS_TO_START = 6.0  # about one on a quiet machine; 12factor.net says "a few"

# On the server of DATABASE_URL: new databases, on MySQL with the tables and rows of this one; and their end.
ADMINISTER = """
from django.db import connection
with connection._nodb_cursor() as cursor:
    for name in names:
        cursor.execute(statement.format(connection.ops.quote_name(name)))
        if like:
            cursor.execute("SET FOREIGN_KEY_CHECKS = 0")
            for table in connection.introspection.table_names():
                cursor.execute(f"CREATE TABLE `{name}`.`{table}` LIKE `{like}`.`{table}`")
                cursor.execute(f"INSERT INTO `{name}`.`{table}` SELECT * FROM `{like}`.`{table}`")
answer(True)
"""


def pytest_collection_modifyitems() -> None:
    """Refuse what pyproject.toml says and nobody reads."""
    unknown = sorted(ALLOWED.keys() - KEYS.keys())
    if unknown:
        known = "".join(f"\n  {key}: {meaning}" for key, meaning in KEYS.items())
        raise pytest.UsageError(
            f"[tool.factors] in pyproject.toml has unknown keys: {unknown}. These are known:{known}"
        )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the team has allowed."""
    for key, values in ALLOWED.items():
        terminalreporter.write_line(f"[tool.factors] allows {KEYS[key]}: {', '.join(values)}")


def told(item: pytest.Item) -> Generator[None, object, object]:
    """Let a broken factor fail its own tests, and skip those of others."""
    outcome: BaseException
    try:
        return (yield)
    except Broken as broken:
        if broken.factor == item.module.FACTOR:
            outcome = pytest.fail.Exception(str(broken), pytrace=False)
        else:
            outcome = pytest.skip.Exception(f"{broken.what}: see {broken.factor}", _use_item_location=True)
    except Exception as error:
        if isinstance(error, pytest.fail.Exception | pytest.skip.Exception):
            raise
        frame = error.__traceback__
        while frame and frame.tb_next and str(Path(__file__).parent) in frame.tb_next.tb_frame.f_code.co_filename:
            frame = frame.tb_next
        line = f"{Path(frame.tb_frame.f_code.co_filename).name}:{frame.tb_lineno}" if frame else "?"
        what = f"{item.module.FACTOR}: this test cannot go on at {line}: {type(error).__name__}: {error}"
        outcome = pytest.fail.Exception(what, pytrace=False)
    raise outcome


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    """See `told`."""
    return (yield from told(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """See `told`."""
    return (yield from told(item))


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a clone of what git holds, for copying."""
    return checkout(tmp_path_factory.mktemp("clone").resolve() / "code")


@pytest.fixture(scope="session")
def build(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """Build a clone, as a platform does: without a secret, a database or the network."""
    root = tmp_path_factory.mktemp("build")
    place = make_place(copy(clone, root.resolve() / "code"), root, "sqlite:////nowhere/db.sqlite3")
    place.environment["SECRET_KEY"] = "only-for-the-build-and-no-secret-at-all-0123456789"
    yield place.run("python manage.py collectstatic --noinput", 300)
    place.close()


@pytest.fixture(scope="session")
def built(build: Process, clone: Path) -> Path:
    """Return the built code, which most tests share."""
    if build.popen.returncode:
        raise why(build)
    return build.place.code


class Databases:
    """Databases of their own for places, where DATABASE_URL says: files here, or new ones on that server."""

    def __init__(self, root: Path, anybody: Place) -> None:
        """`anybody` asks the server of DATABASE_URL to make databases."""
        self.root, self.anybody = root.resolve(), anybody
        self.server = urlsplit(os.environ["DATABASE_URL"])
        self.names: list[str] = []
        self.released: Process | None = None
        self.cookies: dict[str, str] = {}  # of a user who may see everything

    def administer(self, statement: str, *names: str, like: str = "") -> None:
        """Run a statement on the server for each name."""
        url = self.server._replace(path=f"/{like}").geturl() if like else self.server.geturl()
        self.anybody.ask(given(ADMINISTER, names=names, statement=statement, like=like), DATABASE_URL=url)

    def empty(self, like: str = "") -> str:
        """Return the URL of a new database without tables, or on a server with those of another one."""
        name = f"factors_{secrets.token_hex(6)}"
        if self.server.scheme == "sqlite":
            return f"sqlite:///{self.root / name}.sqlite3"
        template = f" TEMPLATE {like}" if like and self.server.scheme.startswith("postgres") else ""
        self.administer(f"CREATE DATABASE {{}}{template}", name, like="" if template else like)
        self.names.append(name)
        return self.server._replace(path=f"/{name}").geturl()

    def migrated(self) -> str:
        """Return the URL of a new database with what the release makes, and a user."""
        if self.released is None:
            self.anybody.environment["DATABASE_URL"] = self.empty()
            self.released = self.anybody.run(self.anybody.command("release"), 300)
            self.cookies = self.released.popen.returncode == 0 and self.anybody.ask(f"{LOGIN}answer(cookies)")
        code = self.released.popen.returncode
        what = f"the release ends with exit code {code}"
        demand(code == 0, "V Build, release, run", what, "read what it says", self.released.tail)
        url = self.anybody.environment["DATABASE_URL"]
        if self.server.scheme != "sqlite":
            return self.empty(like=urlsplit(url).path[1:])
        new, path = self.empty(), url.removeprefix("sqlite:///")
        what = "the release makes no database where DATABASE_URL says"
        demand(Path(path).exists(), "IV Backing services", what, "read DATABASE_URL in the settings")
        with closing(sqlite3.connect(path)) as one, closing(sqlite3.connect(new.removeprefix("sqlite:///"))) as other:
            one.backup(other)
        return new

    def close(self) -> None:
        """Leave nothing on the server."""
        if self.names:
            force = " WITH (FORCE)" if self.server.scheme.startswith("postgres") else ""
            self.administer(f"DROP DATABASE {{}}{force}", *self.names)


@pytest.fixture(scope="session")
def databases(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    """Return what makes databases; they are gone after the tests."""
    root = tmp_path_factory.mktemp("databases")
    anybody = make_place(built, root, "")
    found = Databases(root, anybody)
    yield found
    with suppress(Broken):
        found.close()
    anybody.close()


@pytest.fixture(scope="session")
def first_web(built: Path, databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """Return a web process that answers, the first of all: where it does not start, nothing else is tried."""
    place = make_place(built, tmp_path_factory.mktemp("first"), databases.migrated())
    try:
        web = place.web()
        if web.seconds_to_start > SECONDS_TO_START:  # or is the machine busy with something else?
            begun = time.monotonic()
            place.run(f'"{sys.executable}" -c "import django.contrib.admin.sites, gunicorn.app.wsgiapp"')
            limit = SECONDS_TO_START + 6 * (time.monotonic() - begun)
            what = f"the web process takes {web.seconds_to_start:.1f} s to start"
            instead = "do what takes so long in the build, in the release, or when it is first needed"
            demand(web.seconds_to_start < limit, "IX Disposability", what, instead)
        yield web
    finally:
        place.close()


@pytest.fixture
def deploy(first_web: Process, built: Path, databases: Databases, tmp_path: Path) -> Iterator[Callable[..., Place]]:
    """Return a function that makes a place: `code` is a copy of its own, or the built one that tests share."""
    places: list[Place] = []

    def make(*, code: Path | None = None, database: str = "", **variables: str) -> Place:
        place = make_place(code or built, tmp_path / f"place{len(places)}", database or databases.migrated())
        place.environment |= variables
        places.append(place)
        return place

    yield make
    for each in places:
        each.close()


@pytest.fixture(scope="session")
def variants(first_web: Process, built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Variants]:
    """Return what each variable changes."""
    place = make_place(built, tmp_path_factory.mktemp("variants"), "sqlite:////nowhere/db.sqlite3")
    yield load_variants(place)
    place.close()


@pytest.fixture(scope="session")
def lock_alone(tmp_path_factory: pytest.TempPathFactory) -> Path | str:
    """Return an environment made of uv.lock, without the development group, or why there is none."""
    if not shutil.which("uv") or not (PROJECT / "uv.lock").exists():
        return "needs uv and a uv.lock: `uv run` makes one"
    root = tmp_path_factory.mktemp("lock").resolve()
    place = Place(PROJECT, root, dict(os.environ))
    variables = {"UV_PROJECT_ENVIRONMENT": str(root / "venv"), "UV_PYTHON_DOWNLOADS": "never", "VIRTUAL_ENV": ""}
    command = f"uv sync --locked --offline --no-dev --quiet --compile-bytecode --python {json.dumps(sys.executable)}"
    sync = place.run(command, 300, **variables, FACTORS_SETTINGS="/")
    if sync.popen.returncode == 0:
        return root / "venv" / "bin"
    stale = "needs to be updated" in sync.stderr
    what = "uv.lock does not fit pyproject.toml"
    demand(not stale, "II Dependencies", what, "run `uv lock` and commit uv.lock", sync.tail)
    return f"uv makes no environment here: {sync.stderr.strip()[:300]}"


@pytest.fixture(scope="session")
def day(
    first_web: Process,
    lock_alone: Path | str,
    databases: Databases,
    built: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Day]:
    """Return one day of a deploy, with nothing on PATH but the environment's own programs and `sh`."""
    root = tmp_path_factory.mktemp("day").resolve()
    place = make_place(copy(built, root / "code"), root, databases.migrated())
    programs = root / "programs"
    programs.mkdir()
    for name in ("sh", *ALLOWED.get("programs", [])):
        if found := shutil.which(name):
            (programs / name).symlink_to(found)
    own = lock_alone if isinstance(lock_alone, Path) else Path(sys.executable).parent
    place.environment["PATH"] = f"{own}{os.pathsep}{programs}"
    try:
        yield watch_a_day(place, databases.released, databases.cookies)
    finally:
        place.close()
