"""The mail server of servers.SMTP: a program, so that what aiosmtpd warns about is not the tests'.

Usage: smtp_server.py SCHEME HOST PORT [USER PASSWORD]. Reads certificate.pem and key.pem, writes
each message that it accepts into mail/, in the working directory.
"""

import signal
import ssl
import sys
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

scheme, host, port, *credentials = sys.argv[1:]
mail = Path("mail")


class Handler:
    """What aiosmtpd asks about a message."""

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        """Keep it."""
        mail.mkdir(exist_ok=True)
        number = len(list(mail.iterdir()))
        (mail / f"{number:06}").write_bytes(envelope.content)
        return "250 OK"


def authenticate(*question: Any) -> AuthResult:
    """Answer aiosmtpd's question who may send."""
    given = question[-1]
    success = [given.login.decode(), given.password.decode()] == credentials
    return AuthResult(success=success, handled=False)


options: dict[str, Any] = {}
if credentials:  # aiosmtpd does not take smtps for TLS
    options |= {"auth_required": True, "authenticator": authenticate, "auth_require_tls": False}
if scheme != "smtp":
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain("certificate.pem", "key.pem")
    starttls = {"tls_context": tls, "require_starttls": True}
    options |= {"ssl_context": tls} if scheme == "smtps" else starttls
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
controller = Controller(Handler(), host, int(port), **options)
controller.start()
signal.sigwait([signal.SIGTERM])
controller.stop()
