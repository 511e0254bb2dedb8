"""The image: the real Dockerfile is built, and its processes run without rights on real services.

No registry is needed: base-image.sh makes the image that the Dockerfile starts from. buildah and
podman keep everything in a directory of this session.
"""

import fcntl
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from generation import (
    PRODUCTION,
    Server,
    cookiecutter,
    free_port,
    kept_by_uv,
    once,
    run,
    user_environment,
)
from servers import find_program

pytestmark = pytest.mark.slow

BASE = Path(__file__).with_name("base-image.sh")
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "django-twelve"
# In files that a careless developer has lying around
SECRETS = {".env.production": "s3cr3t-of-production", "kubernetes/example/.env": "s3cr3t-of-pods"}
VISITOR = {"Host": "www.example.com"}
MEBI = 2**20


class Engine:
    """buildah and podman with a storage of their own."""

    def __init__(self, directory: Path) -> None:
        """Keep everything in `directory`."""
        self.programs = {name: find_program(name, "buildah podman runc") for name in ("buildah", "podman", "runc")}
        self.directory = directory
        directory.mkdir(exist_ok=True)
        # podman refuses one of more than 50 characters, and says so only where nobody sees it.
        self.run_root = Path(tempfile.gettempdir(), f"run-{zlib.crc32(bytes(directory)):08x}")
        places = f'graphroot = "{directory}/graph"\nrunroot = "{self.run_root}"\n'
        (directory / "storage.conf").write_text(f'[storage]\ndriver = "overlay"\n{places}')
        self.environment = user_environment(directory) | {
            "CONTAINERS_STORAGE_CONF": str(directory / "storage.conf"),
            "BUILDAH_ISOLATION": "chroot",
        }

    def command(self, name: str, *arguments: str) -> list[str]:
        """Return the command that runs buildah or podman."""
        options = ["--runtime", self.programs["runc"]] if name == "podman" else []
        return [self.programs[name], *options, *arguments]

    def __call__(self, name: str, *arguments: str, check: bool = True) -> str:
        """Run buildah or podman to its end; return what it printed."""
        command = self.command(name, *arguments)
        result = run(command, self.directory, self.environment, seconds=300)
        assert not check or result.returncode == 0, f"{command}\n{result.stdout}{result.stderr}"
        return result.stdout.strip()


@dataclass
class Image:
    """A built image, the project it was built from, and its layers."""

    engine: Engine
    project: Path
    exported: Path

    @cached_property
    def layers(self) -> list[tarfile.TarFile]:
        """The layers, the base image's first."""
        manifest = json.loads((self.exported / "manifest.json").read_text())
        digests = [layer["digest"].partition(":")[2] for layer in manifest["layers"]]
        return [tarfile.open(self.exported / digest) for digest in digests]

    def config(self) -> dict[str, Any]:
        """Return the image's configuration, its history included."""
        manifest = json.loads((self.exported / "manifest.json").read_text())
        return json.loads((self.exported / manifest["config"]["digest"][7:]).read_text())


def base_image() -> Path:
    """Return the archive of the base image, made once a machine."""
    archive = CACHE / "base-image.tar"
    if not archive.exists():
        if os.geteuid():
            pytest.skip("needs root, to make a base image whose files are root's")
        CACHE.mkdir(parents=True, exist_ok=True)
        subprocess.run([BASE, archive], check=True, capture_output=True, timeout=300)
    return archive


@pytest.fixture(scope="module")
def image(shared: Path, template: Path) -> Iterator[Image]:
    """Return the image of a project, built as its README says but for the base."""
    engine = Engine(shared / "containers")

    def build(directory: Path) -> None:
        directory.mkdir()
        answers = ["--no-input", "deploy=kubernetes", "python_version=3.13"]
        assert cookiecutter(template, directory, *answers).returncode == 0
        project = directory / "my_project"
        for name, secret in SECRETS.items():
            (project / name).write_text(f"SECRET_KEY={secret}\n")
        assert run(["uv", "lock"], project, user_environment(directory)).returncode == 0
        container = engine("buildah", "from", "scratch")
        engine("buildah", "add", "--quiet", container, str(base_image()), "/")
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt",
            "UV_SYSTEM_CERTS": "true",
            "UV_CACHE_DIR": "/var/cache/uv",
        }
        variables = [f"--env={name}={value}" for name, value in environment.items()]
        engine("buildah", "config", *variables, container)
        engine("buildah", "commit", "--quiet", "--rm", container, "python:3.13-slim")
        how = "--format=docker --pull-never --layers=false --tag=app".split()
        cache = f"--volume={kept_by_uv('cache')}:/var/cache/uv"  # what is there is not fetched
        engine("buildah", "build", *how, cache, str(project))
        engine("buildah", "push", "--quiet", "app", f"dir:{directory}/exported")

    with (shared / "containers.users").open("w") as users:  # the processes of these tests
        fcntl.flock(users, fcntl.LOCK_SH)
        try:
            built = once(shared / "image", build)
            yield Image(engine, built / "my_project", built / "exported")
        finally:
            with suppress(BlockingIOError):
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                engine("podman", "rm", "--force", "--all", check=False)
                engine("podman", "umount", "--all", check=False)
                run(["umount", str(engine.directory / "graph/overlay")], shared, engine.environment)
                shutil.rmtree(engine.run_root, ignore_errors=True)


# What is in it


def test_the_image_holds_what_runs_and_nothing_else(image: Image):
    base, *ours = image.layers
    names = {member.name for layer in ours for member in layer if member.isfile()}
    everywhere = names | {member.name for member in base}
    assert {"app/manage.py", "app/config/settings.py", "venv/bin/gunicorn"} <= names
    assert any(re.match(r"app/staticfiles/style\.[0-9a-f]{12}\.css\.br$", name) for name in names)
    assert any(re.match(r"app/config/__pycache__/settings\.", name) for name in names)
    assert any(re.match(r"venv/.*/django/__pycache__/", name) for name in names)
    unwanted = r"(.*/)?(uv|uvx|gcc|cc|ld|make|curl|wget|git)|.*/\.git/.*|(.*/)?\.env(\.production)?"
    assert [name for name in everywhere if re.fullmatch(unwanted, name)] == []
    of_development = r"app/(tests|kubernetes|\.github|\.venv|Dockerfile|compose|README)"
    assert [name for name in names if re.match(of_development, name)] == []
    packages = {name.split("/")[4] for name in names if re.match("venv/lib/[^/]+/site-pack", name)}
    assert not {"pytest", "ruff", "honcho"} & packages


def test_no_secret_is_in_any_layer_or_in_the_history(image: Image):
    key = re.search(r"(?m)^SECRET_KEY=(.+)$", (image.project / ".env").read_text())[1]  # type: ignore[index]
    secrets = [secret.encode() for secret in (key, *SECRETS.values())]
    for layer in image.layers:
        for member in layer:
            if member.isfile():
                content = layer.extractfile(member).read()  # type: ignore[union-attr]
                assert not any(secret in content for secret in secrets), member.name
    config = json.dumps(image.config()).encode()
    assert b"config.wsgi" in config
    assert not any(secret in config for secret in secrets)


def test_the_image_says_how_it_is_run(image: Image):
    config = image.config()["config"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", config["User"])
    assert config["Cmd"] == ["gunicorn", "config.wsgi"]
    assert config["Healthcheck"]["Test"][:2] == ["CMD", "python"]
    names = {variable.partition("=")[0] for variable in config["Env"]}
    assert not {"SECRET_KEY", "DATABASE_URL", "DEBUG"} & names


def test_the_image_is_small(image: Image, record_property: Callable[[str, object], None]):
    base, *ours = (sum(member.size for member in layer) / MEBI for layer in image.layers)
    record_property("MiB on top of python slim", round(sum(ours)))
    print(f"{sum(ours):.0f} MiB on top of {base:.0f} MiB, which stand in for python slim")
    assert sum(ours) < 100


# What it does


# The rights that Kubernetes' restricted standard leaves.
RIGHTS = (
    "--network=host --ulimit=nofile=20000:20000 --ulimit=nproc=1024:1024 --read-only --tmpfs=/tmp "
    "--cap-drop=all --security-opt=no-new-privileges"
).split()
RELEASE = ("python", "manage.py", "migrate")
WORKER = ("python", "manage.py", "worker")


class Container(Server):
    """A running container; signals reach its process 1, and its exit code is that of process 1."""

    def __init__(self, engine: Engine, *command: str, **variables: str) -> None:
        """Run a command of the image, or its own."""
        self.port = free_port()
        self.name = f"test-{self.port}"
        self.engine = engine
        environment = {**variables, "PORT": str(self.port)}
        options = [f"--env={name}={value}" for name, value in environment.items()]
        run_it = engine.command("podman", "run", f"--name={self.name}", *RIGHTS, *options)
        place = engine.directory / self.name  # whatever works in here ends with the container
        place.mkdir()
        super().__init__([*run_it, "app", *command], place, engine.environment)

    def main(self) -> psutil.Process:
        """Return process 1 of the container."""
        (inspected,) = json.loads(self.engine("podman", "inspect", self.name))
        return psutil.Process(inspected["State"]["Pid"])

    def healthy(self) -> bool:
        """Ask what a container host asks."""
        command = self.engine.command("podman", "healthcheck", "run", self.name)
        return run(command, self.engine.directory, self.engine.environment).returncode == 0

    def close(self) -> None:
        """Remove it, whatever it does."""
        self.engine("podman", "rm", "--force", "--time=0", self.name, check=False)
        super().close()


@pytest.fixture
def start(image: Image) -> Iterator[Callable[..., Container]]:
    """Return a function that starts a container; it ends with the test."""
    with ExitStack() as stack:

        def run_container(*command: str, **variables: str) -> Container:
            return stack.enter_context(closing(Container(image.engine, *command, **variables)))

        yield run_container


@pytest.fixture(scope="module")
def environment(image: Image, postgresql: Any, redis: Any) -> dict[str, str]:
    """Return an environment for production with real services, after its release."""
    environment = PRODUCTION | {
        "DATABASE_URL": postgresql.create_database(),
        "CACHE_URL": redis.url("/0"),
        "SECURE_SSL_REDIRECT": "false",
        "TASKS": "database",
    }
    with closing(Container(image.engine, *RELEASE, **environment)) as release:
        assert release.wait(60) == 0, release.output
        assert "Applying accounts.0001_initial... OK" in release.output
    return environment


def test_web_and_worker_run_without_rights_and_stop_cleanly(image, start, environment):
    web = start(**environment)
    worker = start(*WORKER, **environment)
    web.wait_until_ready("/readyz", 60)
    page = web.get("/", VISITOR)
    assert page.status == 200
    (style,) = re.findall(r"/static/style\.\w+\.css", page.text)
    assert web.get(style, VISITOR).status == 200
    assert web.healthy()
    assert set(web.main().uids()) == {10001}
    enqueue = "from jobs.tasks import send_greeting; send_greeting.enqueue('ada@example.com')"
    image.engine("podman", "exec", web.name, "python", "manage.py", "shell", "-c", enqueue)
    worker.wait_for("Background tasks work.", 60)
    for process in (web, worker):
        assert process.stop(seconds=29) == 0, process.output
        assert "Traceback" not in process.output


def test_what_a_pod_asks_for_is_what_its_process_needs(image, start, environment):
    web, worker = start(**environment), start(*WORKER, **environment)
    web.wait_until_ready("/readyz", 60)
    worker.wait_for("Starting worker", 60)
    for _ in range(200):
        assert web.get("/", VISITOR).status == 200
    for name, process in {"web": web, "worker": worker}.items():
        everyone = [process.main(), *process.main().children(recursive=True)]
        used = sum(one.memory_full_info().pss for one in everyone) / MEBI
        documents = yaml.safe_load_all((image.project / f"kubernetes/base/{name}.yaml").read_text())
        pod = next(documents)["spec"]["template"]["spec"]
        resources = pod["containers"][0]["resources"]
        asked, limit = (int(resources[key]["memory"][:-2]) for key in ("requests", "limits"))
        print(f"{name}: {used:.0f} MiB of {asked} asked for, {limit} at most")
        assert asked / 3 < used < asked
        assert limit >= 2 * used


def test_a_container_that_does_not_answer_is_unhealthy(start):
    asleep = start("sh", "-c", "echo asleep; sleep 60")
    asleep.wait_for("asleep", 60)
    assert not asleep.healthy()


@pytest.mark.parametrize("command", [(), WORKER, RELEASE], ids=["web", "worker", "release"])
def test_a_broken_environment_ends_the_process_by_name(command, start):
    process = start(*command, DEBUG="ture")
    assert process.wait(60) == 3
    assert "DEBUG is not a boolean" in process.output
    assert "Traceback" not in process.output
