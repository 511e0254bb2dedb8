"""The first evening with a new project: start, look, change, log in, stop; make a mistake."""

import contextlib
import re
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from generation import (
    WITHOUT_FACTORS,
    Project,
    Server,
    Visitor,
    free_port,
    processes_in,
    user_environment,
    wait_until,
)

Generate = Callable[..., Project]
SUPERUSER = {
    "DJANGO_SUPERUSER_USERNAME": "ada",
    "DJANGO_SUPERUSER_EMAIL": "ada@example.com",
    "DJANGO_SUPERUSER_PASSWORD": "a-long-password",
}


def start_as_user(project: Project, *command: str, **variables: str) -> Server:
    """Run a command on a terminal, as a person with uv does; PORT in .env is a free one."""
    port = free_port()
    project.set_dotenv(PORT=str(port))
    environment = user_environment(project.home) | variables
    server = Server([*command], project.path, environment, tty=True)
    server.port = port
    project.processes.append(server)
    return server


def shows(server: Server, text: str, path: str = "/") -> Callable[[], bool]:
    """Return a condition: the page, or a header of it, has this text."""

    def condition() -> bool:
        with contextlib.suppress(OSError):  # between two workers there is none
            page = server.get(path)
            return page.status == 200 and text in f"{page.headers}{page.text}"
        return False

    return condition


def listeners(port: int) -> set[str]:
    """Return the addresses at which something listens on `port`."""
    connections = psutil.net_connections("tcp")
    return {c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN and c.laddr.port == port}


def edit_and_look(project: Project, server: Server) -> None:
    """Edit a template and the code, each a second after the start, and see what each edit changes.

    The reloader compares times that it reads in that second, and takes an earlier edit for the state at the start.
    """
    server.wait_until_quiet()
    project.edit("templates/pages/home.html", "It works", "It has a new template")
    wait_until(shows(server, "It has a new template"), 20, lambda: server.tail)
    server.wait_until_quiet()
    project.edit(
        "pages/views.py",
        'return render(request, "pages/home.html", context)',
        'from django.http import HttpResponse\n\n    return HttpResponse("New code")',
    )
    wait_until(shows(server, "New code"), 20, lambda: server.tail)
    server.wait_until_quiet()
    # A module that gunicorn.conf.py imports too, before the worker does.
    project.edit("config/logs.py", '"%(method)s %(path)s', '"edited %(method)s %(path)s')
    project.edit("config/logs.py", 'headers["X-Request-ID"]', 'headers["X-Edited"]')
    wait_until(shows(server, "X-Edited", "/livez"), 20, lambda: server.tail)
    server.wait_for("edited GET /livez")


def test_uv_run_honcho_start_is_all_it_takes(generate: Generate):
    project = generate()
    server = start_as_user(project, "uv", "run", "honcho", "start")
    server.wait_until_ready(seconds=60)
    page = server.get("/", address="localhost")
    assert page.status == 200
    assert "It works" in page.text
    assert "SQLite" in page.text
    assert "answers" in page.text
    assert listeners(server.port) == {"127.0.0.1"}
    edit_and_look(project, server)

    server.wait_until_quiet()
    server.type(b"\x03")
    server.wait()
    assert "sending SIGKILL" not in server.output  # as honcho does after five seconds
    assert "Traceback" not in server.output, server.output.partition("Traceback")[2]
    assert "Address already in use" not in server.output
    assert processes_in(project.path) == []
    assert listeners(server.port) == set()


def test_a_page_that_hangs_does_not_keep_control_c_from_stopping_it(generate: Generate):
    project = generate()
    project.edit(
        "pages/views.py",
        "    context = {}\n",
        '    context = {}\n    if "slow" in request.GET:\n        import time; time.sleep(60)\n',
    )
    project.set_dotenv(PORT=str(free_port()))
    server = project.start("honcho", "start", kind=Server, tty=True)
    server.port = int(project.dotenv["PORT"])
    server.wait_until_ready()
    with socket.create_connection(("127.0.0.1", server.port)) as waiting:
        waiting.sendall(b"GET /?slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
        server.get("/livez")
        server.wait_until_quiet()
        server.type(b"\x03")
        server.wait()
    assert "sending SIGKILL" not in server.output  # as honcho does after five seconds
    assert "Traceback" not in server.output, server.output.partition("Traceback")[2]
    assert processes_in(project.path) == []


def test_commands_run_with_the_variables_of_env(generate: Generate):
    project = generate()

    def honcho_run(*command: str, **variables: str) -> str:
        result = project.run("honcho", "run", "python", "manage.py", *command, **variables)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    assert "no issues" in honcho_run("check")
    assert "Applying accounts.0001_initial... OK" in honcho_run("migrate")
    honcho_run("createsuperuser", "--noinput", **SUPERUSER)
    code = "print([user.username for user in User.objects.filter(is_superuser=True)])"
    assert "['ada']" in honcho_run("shell", "-c", code)


def test_the_admin_lets_a_superuser_in_and_is_styled(generate: Generate):
    project = generate()
    assert project.manage("migrate").returncode == 0
    created = project.manage("createsuperuser", "--noinput", **project.dotenv, **SUPERUSER)
    assert created.returncode == 0, created.stderr
    server = project.serve(**project.dotenv | {"PORT": str(free_port())})
    visitor = Visitor(server)
    assert visitor.get("/admin/").headers["Location"] == "/admin/login/?next=/admin/"
    entered = visitor.submit("/admin/login/?next=/admin/", username="ada", password="a-long-password")
    assert (entered.status, entered.headers["Location"]) == (302, "/admin/")
    page = visitor.get("/admin/")
    assert page.status == 200
    assert "/admin/accounts/user/" in page.text
    sheets = re.findall(r'<link rel="stylesheet" href="([^"]+)"', page.text)
    assert sheets
    for sheet in sheets:
        style = server.get(sheet)
        assert (style.status, style.headers.get_content_type()) == (200, "text/css")
        assert style.body


def test_breakpoint_works_under_runserver(generate: Generate):
    project = generate()
    project.edit(
        "pages/views.py",
        "    context = {}\n",
        "    breakpoint()\n    context = {}\n",
    )
    port = free_port()
    command = ["honcho", "run", "python", "manage.py", "runserver", str(port)]
    server = project.start(*command, kind=Server, tty=True)
    server.port = port
    server.wait_until_ready()
    answers = []
    asking = threading.Thread(target=lambda: answers.append(server.get("/").status))
    asking.start()
    server.wait_for(r"\(Pdb\)")
    server.type(b"p 'at the ' + 'prompt'\r")
    server.wait_for("at the prompt")
    server.type(b"c\r")
    asking.join(30)
    assert answers == [200]
    assert listeners(port) == {"127.0.0.1"}
    server.wait_until_quiet()
    server.type(b"\x03")
    server.wait()


@pytest.mark.slow
def test_a_fresh_clone_passes_its_tests(generate: Generate, tmp_path: Path):
    project = generate()
    me = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
    clone = tmp_path / "clone"
    for command in (
        ["git", "add", "--all"],
        ["git", *me, "commit", "--quiet", "--message", "Start"],
        ["git", "clone", "--quiet", str(project.path), str(clone)],
    ):
        result = project.run(*command)
        assert result.returncode == 0, result.stderr
    assert not (clone / ".env").exists()
    result = project.run("pytest", "-q", directory=clone, **WITHOUT_FACTORS)
    assert result.returncode == 0, result.stdout
    status = project.run("git", "status", "--short", directory=clone)
    assert status.stdout == ""


VIEWS, MODELS, SETTINGS = "pages/views.py", "accounts/models.py", "config/settings.py"
NICKNAME = 'class User(AbstractUser):\n    nickname = AbstractUser._meta.get_field("email").__class__()\n'


@pytest.mark.parametrize(
    ("file", "old", "new", "command", "found"),
    [
        (VIEWS, "context = {}", "context={}", "ruff format --check", "pages/views.py"),
        (VIEWS, "import settings", "import settings, global_settings", "ruff check", "F401"),
        (
            VIEWS,
            "context = {}",
            "context = {}\n    __import__('warnings').warn('old')",
            "pages/tests.py",
            "old",
        ),
        (MODELS, "class User(AbstractUser):\n", NICKNAME, "tests/test_migrations.py", "nickname"),
        (SETTINGS, "env.verify()", 'env.text("NEW", default="")\nenv.verify()', "tests/test_contract.py", "NEW"),
        (".env.example", "LOG_FORMAT=text", "LOG_FORMAT=text\n\n# Old.\n# GONE=1", "tests/test_contract.py", "GONE"),
        (
            ".env.example",
            "PROCFILE=Procfile.dev",
            "PROCFILE='Procfile.dev'",
            "tests/test_contract.py",
            "test_values_are",
        ),
        ("Procfile", "gunicorn", "gunicorn -w $NEW", "tests/test_contract.py", "NEW"),
    ],
    ids=[
        "bad format",
        "unused import",
        "warning",
        "missing migration",
        "undocumented variable",
        "documented variable that is not read",
        "quoted value",
        "undocumented variable of a process",
    ],
)
def test_the_checks_of_the_project_find(file, old, new, command, found, generate: Generate):
    project = generate()
    project.edit(file, old, new)
    result = project.run(*(["pytest", "-q", command] if command.endswith(".py") else command.split()))
    assert result.returncode == 1, result.stdout
    assert found in result.stdout
