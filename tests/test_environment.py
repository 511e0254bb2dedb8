"""A broken environment is explained once, from whichever command meets it, and ends that command.

How single values are judged is tested in the generated project; this is about real processes.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from generation import PRODUCTION, Project, free_port

Generate = Callable[..., Project]

MESSAGE = "The environment of this process has"

# Wrong in ways that only settings.py sees, with something in each value that must not be shown.
BROKEN = {
    "SECRET_KEY": "django-insecure-s3cret",
    "ALLOWED_HOSTS": "https://s3cret.example",
    "DATABASE_URL": "postgres://user:s3cret@db:port/name",
    "TIME_ZONE": "s3cret/Olympus",
}
# The same while DEBUG is on, when the public key is no problem.
BROKEN_DEBUG = {**BROKEN, "DEBUG": "true"}
# Wrong for gunicorn.conf.py too, which says so first, as it does not load the settings.
BROKEN_GUNICORN = {"PORT": "s3cret", "WEB_THREADS": "s3cret", "LOG_LEVEL": "s3cret"}


def assert_explained(output: str, code: int | None, names: set[str]) -> None:
    """Assert that `output` is one message, which names these variables and shows no value."""
    if "web.1" in output:  # honcho's other process may say the same before it is stopped
        assert output.count(MESSAGE) <= 2, output
        output = "\n".join(line for line in output.splitlines() if "worker.1" not in line)
    assert output.count(MESSAGE) == 1, output
    problems = re.findall(r"^(?:.*\| )?  ([A-Z_]+) .*Example: \1=", output, re.MULTILINE)
    assert sorted(problems) == sorted(names), output
    assert "honcho run python manage.py" in output
    assert "Traceback" not in output, output
    assert "s3cret" not in output, output
    assert code not in (0, None)


@pytest.mark.parametrize(
    ("command", "environment", "names"),
    [
        ("python manage.py check", BROKEN, {*BROKEN}),
        ("python manage.py worker", BROKEN, {*BROKEN}),
        ("python manage.py runserver", BROKEN_DEBUG, {*BROKEN} - {"SECRET_KEY"}),
        ("pytest", BROKEN_DEBUG, {*BROKEN} - {"SECRET_KEY"}),
        ("gunicorn config.wsgi", {**BROKEN, "WEB_CONCURRENCY": "3"}, {*BROKEN}),
        ("gunicorn config.wsgi", {**BROKEN_DEBUG, "WEB_CONCURRENCY": "3"}, {*BROKEN} - {"SECRET_KEY"}),
        ("gunicorn config.wsgi", {**BROKEN, **BROKEN_GUNICORN}, {*BROKEN_GUNICORN}),
    ],
    ids=["check", "worker", "runserver", "pytest", "gunicorn", "gunicorn reloading", "gunicorn's own before Django's"],
)
def test_the_command_ends_with_one_message(command, environment, names, generate: Generate):
    process = generate().start(*command.split(), **{"PORT": str(free_port()), **environment})
    code = process.wait(30)
    assert_explained(process.output, code, names)
    boots = [line for line in process.lines if "Booting worker" in line]
    assert len(boots) <= 1, process.output


@pytest.mark.parametrize("command", ["honcho run python manage.py check", "honcho start web"])
def test_honcho_passes_the_message_on(command, generate: Generate):
    project = generate()
    project.set_dotenv(**BROKEN_DEBUG)
    process = project.start(*command.split())
    code = process.wait(30)
    assert_explained(process.output, code, {*BROKEN} - {"SECRET_KEY"})


def test_the_lines_of_env_are_all_it_takes_to_repair_it(generate: Generate):
    project = generate()
    broken = project.run("python", "manage.py", "check")
    assert "cp .env.example .env" in broken.stderr
    (project.path / ".env").unlink()
    assert project.run("sh", "-c", "cp .env.example .env").returncode == 0
    assert project.run("honcho", "run", "python", "manage.py", "check").returncode == 0


def test_a_relative_sqlite_path_starts_at_the_project(generate: Generate, tmp_path: Path):
    project = generate()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    manage = str(project.path / "manage.py")
    result = project.run("python", manage, "migrate", directory=elsewhere, **PRODUCTION)
    assert result.returncode == 0, result.stderr
    assert (project.path / "db.sqlite3").is_file()
    assert list(elsewhere.iterdir()) == []


# Reads before it writes, as most transactions do: the case that waiting alone cannot repair.
WRITER = """
import json, os, time
from django.db import OperationalError, transaction
from accounts.models import User
written, lost, end = 0, [], time.monotonic() + 3
while time.monotonic() < end:
    try:
        with transaction.atomic():
            User.objects.filter(username="nobody").exists()
            User.objects.create(username=f"{os.getpid()}-{time.monotonic_ns()}")
        written += 1
    except OperationalError as error:
        lost.append(str(error))
print(json.dumps([written, sorted(set(lost))]))
"""


def write_with_four_processes(project: Project, url: str) -> tuple[int, int, set[str]]:
    """Return how many writes succeeded, how many rows there are, and the errors of the others."""
    environment = {**PRODUCTION, "DATABASE_URL": url}
    assert project.manage("migrate", **environment).returncode == 0
    command = ["python", "manage.py", "shell", "-v", "0", "-c", WRITER]
    writers = [project.start(*command, **environment) for _ in range(4)]
    assert [writer.wait(30) for writer in writers] == [0] * 4, writers[0].output
    written, errors = zip(*(json.loads(writer.stdout[-1]) for writer in writers), strict=True)
    count = "from accounts.models import User; print(User.objects.count())"
    rows = project.manage("shell", "-v", "0", "-c", count, **environment)
    return sum(written), int(rows.stdout), set().union(*errors)


def test_four_processes_write_to_sqlite_and_none_is_locked_out(generate: Generate):
    written, rows, errors = write_with_four_processes(generate(), "sqlite:///db.sqlite3")
    assert errors == set()
    assert written == rows > 100


def test_with_the_defaults_of_django_they_are_locked_out(generate: Generate):
    # The control: shows that the test above can fail.
    defaults = "?transaction_mode=DEFERRED&timeout=5&init_command=PRAGMA%20journal_mode%3DDELETE"
    written, rows, errors = write_with_four_processes(generate(), f"sqlite:///db.sqlite3{defaults}")
    assert errors == {"database is locked"}
    assert written == rows


def test_a_mistake_in_the_addresses_ends_gunicorn_before_a_worker_starts(generate: Generate):
    project = generate()
    with (project.path / "config/urls.py").open("a") as urls:
        urls.write("\nfrom nowhere import nothing\n")
    process = project.run("gunicorn", "config.wsgi", **PRODUCTION, PORT=str(free_port()))
    assert process.returncode == 1
    assert "No module named 'nowhere'" in process.stdout + process.stderr
    assert "Booting worker" not in process.stdout + process.stderr
