"""The key in .env is strong, and every program that reads .env files reads every value alike.

Each reader is the real one, asked to read a file and to hand what it read to a process.
"""

import base64
import http.server
import json
import os
import re
import shutil
import stat
import string
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from cookiecutter.environment import StrictEnvironment
from generation import (
    PROJECT_DIRECTORY,
    TEMPLATE,
    combinations,
    once,
    run,
    search_path,
    user_environment,
)

from hooks import loaded_hook

Variables = dict[str, str]
Read = Callable[[Path], Variables]

ASSIGNMENT = r"(?m)^([A-Z][A-Z0-9_]*)=(.*)$"
TELL_PYTHON = "import json, os; print(json.dumps(dict(os.environ)))"
TELL = [sys.executable, "-c", TELL_PYTHON]
NODE_PACKAGES = ["dotenv@18", "@heroku/foreman@2"]


# The readers: each takes a directory with a file .env and returns the variables it found there.


def program(name: str) -> str:
    """Return the path of a program; skip the test when it is not there."""
    return shutil.which(name, path=f"{search_path()}:/lib/systemd") or pytest.skip(f"needs {name}")


def output(command: list[str], directory: Path, **variables: str) -> str:
    """Return what a command prints with nothing but `variables`, PATH and HOME set."""
    environment = {"PATH": search_path(), "HOME": str(directory), **variables}
    result = run(command, directory, environment)
    assert result.returncode == 0, f"{command}\n{result.stdout}{result.stderr}"
    return result.stdout


def pairs(lines: list[str]) -> Variables:
    """Return the variables of a list of NAME=value."""
    return dict(line.split("=", 1) for line in lines if "=" in line)


def honcho(directory: Path) -> Variables:
    """honcho run."""
    return json.loads(output([sys.executable, "-m", "honcho", "run", *TELL], directory))


def uv(directory: Path) -> Variables:
    """uv run --env-file, which reads no .env unless told to."""
    command = [program("uv"), "run", "--no-project", "--offline", "--env-file", ".env", "--", *TELL]
    return json.loads(output(command, directory, UV_PYTHON_DOWNLOADS="never"))


def python_dotenv(directory: Path) -> Variables:
    """python-dotenv: Flask, pydantic-settings, docker-compose 1, VS Code's Python."""
    read = 'import dotenv, json; print(json.dumps(dotenv.dotenv_values(".env")))'
    return json.loads(output([sys.executable, "-c", read], directory))


def django_environ(directory: Path) -> Variables:
    """django-environ's read_env()."""
    read = f'import environ; environ.Env.read_env(".env"); {TELL_PYTHON}'
    return json.loads(output([sys.executable, "-c", read], directory))


def environs(directory: Path) -> Variables:
    """environs' read_env()."""
    names = re.findall(r"(?m)^(\w+)=", (directory / ".env").read_text(encoding="utf-8"))
    read = (
        "import environs, json, sys; env = environs.Env(expand_vars=True); "
        f"env.read_env('{directory}/.env'); "
        "print(json.dumps({name: env.str(name, '') for name in sys.argv[1:]}))"
    )
    return json.loads(output([sys.executable, "-c", read, *names], directory))


def sh(directory: Path) -> Variables:
    """The shell of POSIX."""
    source = ["sh", "-ec", 'set -a; . ./.env; exec "$@"', "sh", *TELL]
    return json.loads(output(source, directory))


def bash(directory: Path) -> Variables:
    """bash."""
    source = [program("bash"), "-ec", 'set -a; source .env; exec "$@"', "bash", *TELL]
    return json.loads(output(source, directory))


def env_and_xargs(directory: Path) -> Variables:
    """What people paste: env $(grep … .env | xargs)."""
    paste = 'exec env $(grep -v "^#" .env | xargs) "$@"'
    return json.loads(output(["sh", "-ec", paste, "sh", *TELL], directory))


def systemd(directory: Path) -> Variables:
    """systemd's EnvironmentFile, read by a manager of its own in a namespace of its own."""
    manager = program("systemd")
    if os.getuid():
        pytest.skip("needs root, for systemd")
    (directory / "reader.service").write_text(
        "[Unit]\nDefaultDependencies=no\nSuccessAction=exit-force\nFailureAction=exit-force\n"
        f"[Service]\nType=oneshot\nEnvironmentFile={directory}/.env\n"
        f"ExecStart=/usr/bin/env\nStandardOutput=truncate:{directory}/told\n"
    )
    # With /run/systemd/system it believes that systemd started this machine; as process 1, that it
    # did so itself: the shell is process 1. The control groups are not ours to change.
    start = (
        "mount -t tmpfs tmpfs /run; mkdir -p /run/systemd/system /run/user; chmod 700 /run/user; "
        "! mountpoint -q /sys/fs/cgroup || mount -o remount,bind,ro /sys/fs/cgroup; "
        f"{manager} --user --unit=reader.service --log-target=console --log-level=err; exit $?"
    )
    command = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
    variables = {"XDG_RUNTIME_DIR": "/run/user", "SYSTEMD_UNIT_PATH": str(directory)}
    output([*command, "sh", "-ec", start], directory, **variables)
    return pairs((directory / "told").read_text().splitlines())


class Daemon(http.server.BaseHTTPRequestHandler):
    """As much of Docker's daemon as `docker create` asks: it keeps what it was told to create."""

    told: bytes = b""

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        reply = b"{}"
        if self.path.endswith("/containers/create"):
            type(self).told, reply = body, b'{"Id": "1", "Warnings": []}'
        self.send_response(201 if body else 200)
        self.send_header("API-Version", "1.45")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply)

    do_GET = do_HEAD = do_POST = answer

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def docker(directory: Path) -> Variables:
    """docker run --env-file: the client reads the file and sends it to a daemon."""
    client = program("docker")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Daemon)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        host = f"tcp://127.0.0.1:{server.server_port}"
        output([client, "create", "--env-file", ".env", "image"], directory, DOCKER_HOST=host)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    return pairs(json.loads(Daemon.told)["Env"])


def podman(directory: Path) -> Variables:
    """podman run --env-file."""
    with tempfile.TemporaryDirectory(dir="/tmp") as own:  # podman takes 50 characters at most
        client = [program("podman"), "--storage-driver", "vfs", "--runroot", own]
        client += ["--root", f"{own}/storage"]
        (directory / "rootfs").mkdir(exist_ok=True)
        options = ["--env-file", ".env", "--network", "none", "--rootfs", f"{directory}/rootfs"]
        container = output([*client, "create", *options, "/env"], directory).strip()
        inspect = ["inspect", container, "--format", "{{json .Config.Env}}"]
        told = output([*client, *inspect], directory)
        output([*client, "rm", container], directory)
    return pairs(json.loads(told))


def compose(directory: Path) -> Variables:
    """The env_file of Docker Compose."""
    file = {"services": {"web": {"image": "image", "env_file": [".env"]}}}
    (directory / "compose.yaml").write_text(json.dumps(file))
    told = yaml.safe_load(output([program("docker-compose"), "config"], directory))
    # It doubles each $ so that its output can be its input.
    variables = told["services"]["web"]["environment"].items()
    return {name: str(value).replace("$$", "$") for name, value in variables}


def kubectl(directory: Path) -> Variables:
    """kubectl create secret --from-env-file."""
    command = [program("kubectl"), "create", "secret", "generic", "web", "--dry-run=client"]
    told = output([*command, "-o", "json", "--from-env-file=.env"], directory)
    return {name: base64.b64decode(v).decode() for name, v in json.loads(told)["data"].items()}


def node(directory: Path) -> Variables:
    """node --env-file, since Node 20.6."""
    command = [program("node"), "--env-file=.env"]
    if run([*command, "-e", "0"], directory, {"PATH": search_path()}).returncode == 9:
        pytest.skip("needs a node that knows --env-file")
    return json.loads(output([*command, "-p", "JSON.stringify(process.env)"], directory))


def node_dotenv(directory: Path) -> Variables:
    """dotenv, the package of npm."""
    read = "JSON.stringify(require('dotenv').parse(require('fs').readFileSync('.env')))"
    modules = str(directory / "node_modules")
    return json.loads(output([program("node"), "-p", read], directory, NODE_PATH=modules))


def heroku_local(directory: Path) -> Variables:
    """The library that `heroku local` is made of."""
    foreman = directory / "node_modules/@heroku/foreman/nf.js"
    (directory / "Procfile").write_text("web: true\n")
    (directory / "tell.py").write_text(TELL_PYTHON)  # it would take -c for an option of its own
    tell = [sys.executable, "tell.py"]
    told = output([program("node"), str(foreman), "run", *tell], directory)
    return json.loads(told.splitlines()[-1])  # after "Loaded ENV .env File"


READERS: list[Read] = [
    honcho,
    uv,
    python_dotenv,
    django_environ,
    environs,
    sh,
    bash,
    env_and_xargs,
    systemd,
    docker,
    podman,
    compose,
    kubectl,
    node,
    node_dotenv,
    heroku_local,
]
OF_NPM = [node_dotenv, heroku_local]


@pytest.fixture(params=READERS, ids=lambda reader: reader.__name__)
def read(request, shared, tmp_path) -> Callable[[str], Variables]:
    """Return a function: what the reader finds in a text."""

    def install(directory: Path) -> None:
        directory.mkdir()
        environment = user_environment(directory)
        if (mine := Path.home() / ".npmrc").is_file():  # it may name the machine's own registry
            environment["npm_config_userconfig"] = str(mine)
        npm = [program("npm"), "install", "--no-audit", "--no-fund", "--ignore-scripts"]
        result = run([*npm, "--prefix", str(directory), *NODE_PACKAGES], directory, environment)
        assert result.returncode == 0, result.stderr

    if request.param in OF_NPM:
        program("npm")
        installed = once(shared / "npm", install)
        (tmp_path / "node_modules").symlink_to(installed / "node_modules")

    def from_text(text: str) -> Variables:
        (tmp_path / ".env").write_text(text, encoding="utf-8")
        return request.param(tmp_path)

    return from_text


# What is read


def keys() -> list[str]:
    """Return 1,000 keys, each as the hook writes it into a .env of its own, in the working directory."""
    write_env = loaded_hook("post_gen_project.py")["write_env"]
    found = []
    Path(".env.example").write_text("SECRET_KEY=public\n")
    for _ in range(1000):
        write_env()
        (name, key), *others = re.findall(ASSIGNMENT, Path(".env").read_text())
        assert (name, others) == ("SECRET_KEY", [])
        assert stat.S_IMODE(os.stat(".env").st_mode) == 0o600
        os.unlink(".env")
        found.append(key)
    assert os.listdir() == [".env.example"]
    return found


def test_a_thousand_keys_are_distinct_and_random_to_the_last_byte(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = keys()
    assert len({*found}) == 1000
    raw = [base64.urlsafe_b64decode(key + "=" * (-len(key) % 4)) for key in found]
    assert {len(key) for key in raw} == {50}  # 400 bits; Django asks for 50 characters
    for position in range(50):
        # Of 256 values about 251 appear in 1,000 draws.
        assert len({key[position] for key in raw}) > 200


def examples() -> set[tuple[str, str]]:
    """Return the variables of the .env.example of every combination of answers, defaults and examples too."""
    text = (TEMPLATE / PROJECT_DIRECTORY / ".env.example").read_text(encoding="utf-8")
    found: set[tuple[str, str]] = set()
    for answers in combinations():
        context = {"cookiecutter": {"project_name": "Name", "project_slug": "name", **answers}}
        rendered = StrictEnvironment(context=context).from_string(text).render(**context)
        found.update(re.findall(ASSIGNMENT, re.sub(r"(?m)^# ([A-Z][A-Z0-9_]*=)", r"\1", rendered)))
    return found


def test_every_key_and_every_example_is_read_as_it_was_written(read, tmp_path_factory, monkeypatch):
    with monkeypatch.context() as here:
        here.chdir(tmp_path_factory.mktemp("keys"))
        values = [("KEY", key) for key in keys()] + sorted(examples())
    assert len(values) > 1030
    written = {f"{name}_{number}": value for number, (name, value) in enumerate(values)}
    found = read("".join(f"{name}={value}\n" for name, value in written.items()))
    assert {name: found.get(name) for name in written} == written


@pytest.mark.parametrize("read", [honcho, sh, node_dotenv], indirect=True, ids=lambda reader: reader.__name__)
def test_a_key_of_django_is_not_read_as_it_was_written(read):
    """Keys of startproject survive few readers, so the test above can fail."""
    key = f"'a {string.punctuation}"
    try:
        found = read(f"SECRET_KEY={key}\n").get("SECRET_KEY")
    except AssertionError:  # the program refuses the file
        found = None
    assert found != key
