"""IV. Backing services: attached resources, each a URL: https://12factor.net/backing-services.

Tested: two deploys of the same code differ in nothing but URLs, and each writes rows, cache entries, mail, uploads
and tasks where its own URLs say; services that nobody runs here are played by a socket that notes who comes; nothing
else is connected to, and no code names an address.
Not testable here: that a provider's service behaves like the one it replaces.
"""

import ast
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec

import pytest

from tests.factors.source import modules, strings

FACTOR = "IV Backing services"

# What an application does with its services; each part says what became of it.
USE = """
import os, sys
from django.conf import settings
def attempt(function):
    try:
        return function()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
def row():
    from django.contrib.auth import get_user_model
    User = get_user_model()
    User(**{User.USERNAME_FIELD: "%(token)s@example.com"}).save()
    return sorted(getattr(user, User.USERNAME_FIELD) for user in User.objects.all())
def cached():
    from django.core.cache import cache
    cache.set("%(token)s", "kept", 60)
    return cache.get("%(token)s")
def mailed():
    from django.core.mail import send_mail
    return send_mail("%(token)s", "Text", None, ["ada@example.com"])
def uploaded():
    from django.core.files.base import ContentFile
    from django.core.files.storage import default_storage
    return default_storage.save("%(token)s.txt", ContentFile(b"upload"))
def queued():
    from tests.factors import work
    return work.say.enqueue("%(token)s").status
answer({f.__name__: attempt(f) for f in (row, cached, mailed, uploaded, queued)})
"""


@contextmanager
def listener(greeting: bytes = b"") -> Iterator[tuple[int, list[bytes]]]:
    """Yield the port of a service that greets, and the first words of whoever came; it hangs up then."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        connection.settimeout(5)
                        connection.sendall(greeting)
                        heard.append(connection.recv(1000))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1], heard
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(10)


def test_each_service_is_swapped_by_its_url(deploy):
    with listener() as (cache_port, cache), listener(b"220 ready\r\n") as (mail_port, mail):
        first = deploy()
        second = deploy(
            CACHE_URL=f"redis://127.0.0.1:{cache_port}/0",
            EMAIL_URL=f"smtp://127.0.0.1:{mail_port}",
            TASKS="immediate",
        )
        asked = [each.asking(USE % {"token": token}) for each, token in ((first, "first"), (second, "second"))]
        one, two = (result() for result in asked)
        heard = {"CACHE_URL": b"".join(cache), "EMAIL_URL": b"".join(mail)}

    ignored = f"{FACTOR}: {{}} in the environment does not say where {{}}: swapping it takes a change of code"
    rows = [[name for name in part["row"] if not name.startswith("factors@")] for part in (one, two)]
    assert rows == [["first@example.com"], ["second@example.com"]], (
        ignored.format("DATABASE_URL", "rows go") + f": the two deploys have {rows}"
    )
    assert one["cached"] == "kept" or "CACHE_URL" not in first.environment, f"{FACTOR}: the cache keeps nothing"
    assert heard["CACHE_URL"], ignored.format("CACHE_URL", "cache entries go")
    mails = [path.read_text() for path in (first.root / "mail").iterdir()]
    assert [("first" in mail) for mail in mails] == [True], (
        ignored.format("EMAIL_URL", "mail goes") + f": {one['mailed']}"
    )
    assert heard["EMAIL_URL"], ignored.format("EMAIL_URL", "mail goes")
    uploads = [[path.name for path in (each.root / "media").iterdir()] for each in (first, second)]
    assert uploads == [["first.txt"], ["second.txt"]], ignored.format("STORAGE_URL", "uploads go") + f": {uploads}"
    assert [part["queued"] for part in (one, two)] == ["READY", "SUCCESSFUL"], ignored.format("TASKS", "tasks run")


@pytest.mark.skipif(not find_spec("storages"), reason="needs django-storages, which this project does not have")
def test_uploads_go_to_a_bucket_by_url(deploy):
    with listener() as (port, heard):
        bucket = deploy(
            STORAGE_URL=f"s3://bucket?endpoint=http://127.0.0.1:{port}&region=us-east-1",
            AWS_ACCESS_KEY_ID="access",
            AWS_SECRET_ACCESS_KEY="secret",
            AWS_MAX_ATTEMPTS="1",
        )
        bucket.ask(USE % {"token": "bucket"})
    assert any(b"/bucket" in request for request in heard), f"{FACTOR}: STORAGE_URL does not say where uploads go"


def test_nothing_else_is_connected_to(day):
    seen = sorted({f"{note['by'] or 'a library'} to {note['target']}" for note in day.connections if not note["logs"]})
    assert not seen, f"{FACTOR}: connected to what no URL of the environment names: {'; '.join(seen)}"
    assert not day.of("IV"), f"{FACTOR}: a database that DATABASE_URL does not name: {day.of('IV')}"


SERVICE = re.compile(
    r"(postgres(ql)?|mysql|rediss?|memcached|amqps?|mongodb|smtps?|smtp\+tls|s3|ldaps?|kafka)://[^\s{]+"
)
ADDRESS = re.compile(
    r"localhost|(\d{1,3}\.){3}\d{1,3}|[\w-]+(\.[\w-]+)+|[\w-]*(db|redis|postgres|mysql|cache|queue)[\w-]*"
)
CLIENTS = re.compile(
    r"(?i)(.*\.)?(Redis|StrictRedis|connect|SMTP|SMTP_SSL|MongoClient|PyMemcacheClient|create_connection)"
)


def test_no_code_names_the_address_of_a_service():
    found = []
    for path, tree in modules():
        examples = {
            id(part)
            for node in ast.walk(tree)
            if isinstance(node, ast.keyword) and node.arg == "example"
            for part in ast.walk(node.value)
        }
        for node in strings(tree):
            if SERVICE.fullmatch(node.value) and id(node) not in examples:
                found.append(f"{path}:{node.lineno} names {node.value.partition('://')[0]}://…")
        for node in ast.walk(tree):
            for name, value in hosts(node):
                if isinstance(value, ast.Constant) and ADDRESS.fullmatch(str(value.value)):
                    found.append(f"{path}:{node.lineno} {name} is {value.value!r}")
    assert not found, f"{FACTOR}: the address of a service is in the code, not in a URL of the environment: {found}"


def hosts(node: ast.AST) -> list[tuple[str, ast.expr]]:
    """Return what a call or a dictionary takes for the host of a service."""
    if isinstance(node, ast.Call) and CLIENTS.fullmatch(ast.unparse(node.func)):
        named = [(word.arg or "", word.value) for word in node.keywords if word.arg in ("host", "hostname", "server")]
        return named + [("the host", argument) for argument in node.args[:1]]
    if isinstance(node, ast.Dict):
        keys = [key.value if isinstance(key, ast.Constant) else "" for key in node.keys]
        return [
            (key, value) for key, value in zip(keys, node.values, strict=True) if key in ("HOST", "LOCATION", "host")
        ]
    return []
