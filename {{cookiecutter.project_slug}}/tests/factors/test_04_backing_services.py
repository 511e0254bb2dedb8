"""IV. Backing services: attached resources, each a URL: https://12factor.net/backing-services.

Tested: two deploys of the same code differ in nothing but URLs, and each has its rows, cache entries, mail, uploads
and tasks where its own URLs say; services that nobody runs here are played by a socket that notes who comes; each
database and each cache of the settings moves with a variable; no address is looked up or connected to that no
variable names.
Not testable here: that a provider's service behaves like the one it replaces.
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.factors.deploy import allow_only, demand, documented

FACTOR = "IV Backing services"
# What an application does with its services; each part says what became of it.
USE = """
from contextlib import suppress
from django.core.cache import cache
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.mail import send_mail
from django.db import connection
from tests.factors import work
for use in (
    lambda: cache.set({token!r}, "kept", 60),
    lambda: send_mail({token!r}, "Text", None, ["ada@example.com"]),
    lambda: default_storage.save({token!r} + ".txt", ContentFile(b"upload")),
):
    with suppress(Exception):
        use()
answer([str(connection.settings_dict["NAME"]), work.enqueue("say", {token!r})])
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
        thread.join(10)


def test_each_service_is_swapped_by_its_url(deploy):
    instead = "read the URL from the environment, as the other services do"
    with listener() as (cache_port, cache), listener(b"220 ready\r\n") as (mail_port, mail):
        urls = {"CACHE_URL": f"redis://127.0.0.1:{cache_port}/0", "EMAIL_URL": f"smtp://127.0.0.1:{mail_port}"}
        one, two = deploy(), deploy(**urls)
        asked = [place.asking(USE.format(token=token)) for place, token in ((one, "first"), (two, "second"))]
        (first, queued), (second, _) = (result() for result in asked)
    for place, name in ((one, first), (two, second)):
        what = "DATABASE_URL does not say where rows go"
        demand(place.environment["DATABASE_URL"].endswith(name), FACTOR, what, instead)
    demand(queued == "READY", FACTOR, f"a task does not wait for a worker but is {queued}", "see tests/factors/work.py")
    for name, heard, use in (("CACHE_URL", cache, "cache entries go"), ("EMAIL_URL", mail, "mail goes")):
        demand(heard or name not in documented(), FACTOR, f"{name} does not say where {use}", instead)
    for name, directory, use in (("EMAIL_URL", "mail", "mail goes"), ("STORAGE_URL", "media", "uploads go")):
        files = [path.read_text() + path.name for path in (one.root / directory).iterdir() if path.is_file()]
        found = [text for text in files if "first" in text]
        demand(found or name not in documented(), FACTOR, f"{name} does not say where {use}", instead)


def test_each_alias_moves_with_a_variable(variants):
    fixed = []
    for setting in ("DATABASES", "CACHES"):
        for alias, value in variants.base.get(setting, {}).items():
            place = {
                key: str(part) for key, part in value.items() if key in ("HOST", "NAME", "LOCATION", "PORT") and part
            }
            memory = ("locmem", "dummy", "DatabaseCache", "filebased", ":memory:")
            if place and not any(word in str(value) for word in memory) and not variants.moves(setting, alias):
                fixed.append(f"{setting}[{alias!r}]")
    what = f"{', '.join(fixed)} of the settings leads to the same place, whatever the environment says"
    demand(not fixed, FACTOR, what, "read its URL from a variable")


def test_no_address_is_used_that_no_variable_names(day):
    named = " ".join(value for name, value in day.place.environment.items() if "://" in value)
    own = {socket.gethostname(), socket.getfqdn(), "", "None", str(day.web.port)}
    found = {}
    for event in day.events("address"):
        host, _, port = (
            event["target"].rpartition(":") if event["target"].count(":") == 1 else (event["target"], "", "")
        )
        near = host in ("localhost", "127.0.0.1", "::1")
        if event["logs"] or host in own or (f":{port}" in named if near else host and host in named):
            continue
        found[event["target"]] = f"{event['by'] or 'a library'} uses {event['target']}"
    instead = "read the address from a variable"
    allow_only("addresses", found, FACTOR, "an address that no variable names", instead)
    other = "; ".join(day.of(FACTOR).values())
    demand(not other, FACTOR, f"a database that no variable names: {other}", "use DATABASE_URL, or another variable")
