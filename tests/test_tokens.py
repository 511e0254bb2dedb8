"""A token for an external service is two lines: one in settings.py, one in .env.example."""

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pytest
from deploys import DEPLOY, shell
from generation import Project, executable, run, user_environment

Generate = Callable[..., Project]

HEADING = "# Tokens for external services: a line each, and one in .env.example\n"
LINE = 'STRIPE_SECRET_KEY = env.text("STRIPE_SECRET_KEY")\n'
EXAMPLE = "\n# The key of the account that is paid. Required.\nSTRIPE_SECRET_KEY=sk_test_example\n"


@pytest.fixture
def project(generate: Generate) -> Project:
    """A project whose settings read a token."""
    made = generate()
    settings = made.path / "config/settings.py"
    text = settings.read_text()
    assert text.count(HEADING) == 1
    settings.write_text(text.replace(HEADING, f"{HEADING}\n{LINE}"))
    return made


def document(project: Project) -> None:
    """Add the second line of the recipe."""
    with (project.path / ".env.example").open("a") as example:
        example.write(EXAMPLE)


def test_a_missing_token_is_named_at_start(project):
    for command in ("python manage.py check", "gunicorn config.wsgi"):
        result = project.run(*command.split(), **DEPLOY)
        assert result.returncode != 0
        assert "  STRIPE_SECRET_KEY is missing. Example: STRIPE_SECRET_KEY=" in result.stderr


def test_a_forgotten_line_of_the_example_is_noticed(project):
    tests = ["pytest", "-q", "tests/test_contract.py"]
    forgotten = project.run(*tests, STRIPE_SECRET_KEY="sk_test_1")
    assert forgotten.returncode == 1
    assert "STRIPE_SECRET_KEY" in forgotten.stdout
    document(project)
    # The tests themselves take the token from there.
    result = project.run(*tests)
    assert result.returncode == 0, result.stdout


class Stripe(BaseHTTPRequestHandler):
    """Stripe as far as a list without customers goes; notes the tokens that it is shown."""

    tokens: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.tokens.append(self.headers["Authorization"])
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"object": "list", "data": [], "has_more": false, "url": "/"}')

    def log_message(self, *_: object) -> None:
        """Stay silent."""


def test_the_client_of_the_service_picks_it_up(project, tmp_path: Path):
    document(project)
    library = tmp_path / "library"
    python = project.virtual_environment / "bin/python"
    install = ["pip", "install", "--quiet", "--python", str(python), "--target", str(library)]
    result = run([executable("uv"), *install, "stripe~=16.0"], tmp_path, user_environment(tmp_path))
    assert result.returncode == 0, result.stderr
    with HTTPServer(("127.0.0.1", 0), Stripe) as server:
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        code = (
            "import stripe; from django.conf import settings; "
            "stripe.StripeClient(settings.STRIPE_SECRET_KEY, "
            f"base_addresses={{'api': 'http://127.0.0.1:{server.server_port}'}}).v1.customers.list()"
        )
        token = {"STRIPE_SECRET_KEY": "sk_test_of_this_deploy", "PYTHONPATH": str(library)}
        result = shell(project, code, **DEPLOY, **token)
        server.shutdown()
    assert result.returncode == 0, result.stderr
    assert Stripe.tokens == ["Bearer sk_test_of_this_deploy"]


def test_a_build_takes_placeholders_from_the_example(project):
    document(project)
    collect = "set -a; . ./.env.example; python manage.py collectstatic --noinput"
    result = project.run("sh", "-c", collect)
    assert result.returncode == 0, result.stderr
