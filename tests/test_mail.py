"""EMAIL_URL attaches a mail server; mail arrives there."""

import re
import socket
from collections.abc import Callable
from urllib.parse import quote

import pytest
from deploys import DEPLOY, shell
from generation import Project
from servers import PASSWORD

Generate = Callable[..., Project]

SEND = "from django.core.mail import send_mail; print(send_mail('Grüße', 'Wörter', None, ['ada@example.com']))"


def test_mail_arrives_at_a_plain_server(smtp, generate: Generate):
    smtp.clear()
    sender = {"DEFAULT_FROM_EMAIL": "Shop <shop@example.com>"}
    result = shell(generate(), SEND, **DEPLOY, EMAIL_URL=smtp.url(), **sender)
    assert result.stdout.strip() == "1", result.stderr
    (message,) = smtp.messages
    assert (message["Subject"], message["To"]) == ("Grüße", "ada@example.com")
    assert message["From"] == "Shop <shop@example.com>"
    assert message.get_content().strip() == "Wörter"


@pytest.mark.parametrize("fixture", ["smtp_starttls", "smtps"])
def test_mail_arrives_over_tls_with_credentials_that_are_escaped(fixture, request, generate: Generate):
    server = request.getfixturevalue(fixture)
    server.clear()
    assert quote(PASSWORD, "") in server.url()
    assert "app%40example.com" in server.url()
    project, trust = generate(), {"SSL_CERT_FILE": str(server.certificate)}
    result = shell(project, SEND, **DEPLOY, EMAIL_URL=server.url(), **trust)
    assert result.stdout.strip() == "1", result.stderr
    assert [message["Subject"] for message in server.messages] == ["Grüße"]
    stranger = server.url().replace("app%40", "ape%40")
    for url, trusted, problem in (
        (server.url(), {}, "certificate verify failed"),
        (stranger, trust, "SMTPAuthenticationError"),
        (server.url().replace(server.scheme, "smtp", 1), trust, "SMTP"),
    ):
        refused = shell(project, SEND, **DEPLOY, EMAIL_URL=f"{url}?timeout=3", **trusted)
        assert problem in refused.stderr
        assert PASSWORD not in refused.stderr
    assert len(server.messages) == 1


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_a_server_that_never_answers_costs_the_timeout(scheme, generate: Generate):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}?timeout=2"
        result = shell(generate(), SEND, **DEPLOY, EMAIL_URL=url)
        assert "timed out" in result.stderr


def test_mail_is_printed_or_written(generate: Generate):
    project = generate()
    assert "To: ada@example.com" in shell(project, SEND, **DEPLOY).stdout
    result = shell(project, SEND, **DEPLOY, EMAIL_URL="file:mail")
    assert result.returncode == 0, result.stderr
    (letter,) = (project.path / "mail").iterdir()
    assert re.search("(?m)^To: ada@example.com$", letter.read_text())


def test_the_first_page_names_the_mail_server_and_does_not_ask_it(generate: Generate):
    project = generate()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        url = f"smtp://ada:s3cret@127.0.0.1:{server.getsockname()[1]}"
        web = project.serve(**DEPLOY, DEBUG="true", EMAIL_URL=url)
        page = web.get("/").text
        assert "SMTP" in page
        assert "127.0.0.1" in page
        assert "s3cret" not in page
        with pytest.raises(TimeoutError):
            server.accept()
