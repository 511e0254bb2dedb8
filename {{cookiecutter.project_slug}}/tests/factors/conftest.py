"""What the twelve modules share: a built copy of the project, databases, deploys, one watched day."""

import os
import secrets
import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.factors.day import Day, read_notes, watch_a_day, watched
from tests.factors.processes import Deploy, copy_project, make_environment

SHARED = "the twelve factors"

# In a process that loaded the application: all tables, a user who may do everything, and a session of theirs, as
# logging in would make it (hashing a password takes Django a second, on purpose).
PREPARE = """
from django.db import connection
from django.contrib.auth import get_user_model
from django.core.management import call_command
call_command("migrate", verbosity=0)
User = get_user_model()
who = {User.USERNAME_FIELD: "factors@example.com"}
user = User.objects.filter(**who).first() or User(**who, is_staff=True, is_superuser=True)
user.set_unusable_password()
user.save()
answer(str(connection.settings_dict["NAME"]))
"""

ADMINISTER = """
from django.db import connection
names = {names!r}
with connection._nodb_cursor() as cursor:
    for name in names:
        cursor.execute({statement!r}.format(connection.ops.quote_name(name)))
"""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let what fails for all tests, as their preparation does, name the factor that could not be tested."""
    error = call.excinfo.value if call.excinfo else None
    if isinstance(error, pytest.fail.Exception) and hasattr(item.module, "FACTOR"):
        error.shared = getattr(error, "shared", error.msg)
        error.msg = error.shared.replace(SHARED, item.module.FACTOR)
    return (yield)


class Databases:
    """Databases of their own for deploys, where DATABASE_URL says: files here, or new ones on that server."""

    def __init__(self, root: Path, ask: Callable[..., object]) -> None:
        """`ask` runs code with a DATABASE_URL."""
        self.root = root
        self.ask = ask
        self.server = urlsplit(os.environ["DATABASE_URL"])
        self.names: list[str] = []
        self.original = ""
        self.elsewhere = ""  # where rows go instead

    def administer(self, statement: str, names: list[str]) -> None:
        """Run a statement on the server for each name."""
        self.ask(ADMINISTER.format(names=names, statement=statement), DATABASE_URL=self.server.geturl())

    def empty(self) -> str:
        """Return the URL of a new database without tables."""
        name = f"factors_{secrets.token_hex(6)}"
        if self.server.scheme == "sqlite":
            return f"sqlite:///{self.root / name}.sqlite3"
        self.administer("CREATE DATABASE {}", [name])
        self.names.append(name)
        return self.server._replace(path=f"/{name}").geturl()

    def migrated(self) -> str:
        """Return the URL of a new database with all tables and one user."""
        if not self.original:
            self.original = self.prepared(self.empty())
        if self.elsewhere:
            return self.empty()
        if self.server.scheme == "sqlite":
            copy = self.empty()
            shutil.copy(self.original.removeprefix("sqlite:///"), copy.removeprefix("sqlite:///"))
            return copy
        if self.server.scheme.startswith("postgres"):
            name = f"factors_{secrets.token_hex(6)}"
            self.administer(f"CREATE DATABASE {{}} TEMPLATE {urlsplit(self.original).path[1:]}", [name])
            self.names.append(name)
            return self.server._replace(path=f"/{name}").geturl()
        return self.prepared(self.empty())

    def prepared(self, url: str) -> str:
        """Make tables and a user in a database; return its URL."""
        name = str(self.ask(PREPARE, DATABASE_URL=url))
        if not url.endswith(name):  # the matter of IV; the others go on with what there is
            self.elsewhere = name
        return url

    def close(self) -> None:
        """Leave nothing on the server."""
        if self.names:
            force = " WITH (FORCE)" if self.server.scheme.startswith("postgres") else ""
            self.administer(f"DROP DATABASE {{}}{force}", self.names)


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the project that no test writes to."""
    return copy_project(tmp_path_factory.mktemp("original") / "code")


@dataclass
class Build:
    """A copy of the project with its static files collected, as a platform builds it."""

    code: Path
    problem: str  # what the build said where it had no secret, no database and no network
    used: list[str]  # what it connected to


@pytest.fixture(scope="session")
def build(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Build once; where that takes more than a build should have (the matter of V), with all of it."""
    root = tmp_path_factory.mktemp("build")
    code = Path(shutil.copytree(original, root / "code", symlinks=True))
    poor = make_environment(root, "sqlite:////nowhere/db.sqlite3") | {"SECRET_KEY": "for-the-build-" * 4}
    builder = Deploy(SHARED, code, root, poor)
    # Compressing with brotli takes four fifths of a build's time, and nothing here looks at it.
    variables = watched(builder) | {"FACTORS_WITHOUT": "brotli"}
    result = builder.run("python manage.py collectstatic --noinput", seconds=120, **variables)
    notes = [note for note in read_notes(root / "notes") if note["event"].startswith(("socket", "sqlite3"))]
    problem = f"{result.stdout[-500:]}{result.stderr[-1500:]}" if result.returncode else ""
    if problem:
        url = os.environ["DATABASE_URL"]
        rich = make_environment(root, f"sqlite:///{root}/build.sqlite3" if url.startswith("sqlite") else url)
        builder = Deploy(SHARED, original, root, rich)
        if url.startswith("sqlite"):  # a database of this test's own; that of a server is not touched
            builder.ask(PREPARE)
        builder.code = code
        builder.ask("from django.core.management import call_command\ncall_command('collectstatic', interactive=False)")
    return Build(code, problem, sorted({f"{note['by'] or 'a library'} uses {note['target']}" for note in notes}))


@pytest.fixture(scope="session")
def anybody(build: Build, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deploy]:
    """Return the deploy that prepares the databases of the others."""
    root = tmp_path_factory.mktemp("anybody")
    deploy = Deploy(SHARED, build.code, root, make_environment(root, os.environ["DATABASE_URL"]))
    yield deploy
    deploy.close()


@pytest.fixture(scope="session")
def databases(anybody: Deploy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    """Return what makes databases; they are gone after the tests."""
    found = Databases(tmp_path_factory.mktemp("databases"), anybody.ask)
    yield found
    with suppress(pytest.fail.Exception):
        found.close()


@pytest.fixture(scope="session")
def built(build: Build) -> Path:
    """Return the built copy of the project, which tests share."""
    return build.code


@pytest.fixture
def deploy(
    request: pytest.FixtureRequest, built: Path, databases: Databases, tmp_path: Path
) -> Iterator[Callable[..., Deploy]]:
    """Return a function that makes a deploy: `code` is a copy of its own, or the built one that tests share."""
    deploys: list[Deploy] = []

    def make(*, code: Path | None = None, database: str = "", **variables: str) -> Deploy:
        root = tmp_path / f"deploy{len(deploys)}"
        environment = make_environment(root, database or databases.migrated()) | variables
        deploys.append(Deploy(request.module.FACTOR, code or built, root, environment))
        return deploys[-1]

    yield make
    for each in deploys:
        each.close()


@pytest.fixture(scope="session")
def day_of(databases: Databases, built: Path, tmp_path_factory: pytest.TempPathFactory) -> Day | str:
    """Return one day of the web and the worker process, or what kept it from happening."""
    root = tmp_path_factory.mktemp("day")
    code = Path(shutil.copytree(built, root / "code", symlinks=True))
    deploy = Deploy("", code, root, make_environment(root, databases.migrated()))
    try:
        return watch_a_day(deploy)
    except pytest.fail.Exception as failure:
        return str(failure).removeprefix(": ")
    finally:
        deploy.close()


@pytest.fixture
def day(request: pytest.FixtureRequest, day_of: Day | str) -> Day:
    """Return the watched day."""
    if isinstance(day_of, str):
        pytest.fail(f"{request.module.FACTOR}: {day_of}", pytrace=False)
    return day_of
