"""IV. Backing services: attached resources, each a URL: https://12factor.net/backing-services.

Tested: two deploys of the same code differ in nothing but URLs, and each has its rows, cache entries, mail, uploads and
tasks where its own URLs say (a socket plays services that nobody runs here); each database and cache of the settings
moves with a variable; no address is looked up or connected to that no variable names.
Not testable here: that a provider's service behaves like the one it replaces.
"""

import socket
import threading
from contextlib import suppress

from tests.factors.day import USE
from tests.factors.deploy import Factor, documented, given, own

FACTOR = Factor("IV Backing services")
INSTEAD = "read its URL from a variable, as for the other services"
# Where an entry of DATABASES or CACHES leads; what needs no place, or lies on the disk, which is the matter of VI.
PLACE = ("HOST", "PORT", "NAME", "LOCATION")
NO_PLACE = ("locmem", "dummy", "DatabaseCache", "filebased", ":memory:")


def listen(greeting, heard):
    """Return the port of a service that greets who comes, notes their first words and is gone."""

    def serve():
        with suppress(OSError), server, server.accept()[0] as connection:
            connection.sendall(greeting)
            heard.append(connection.recv(1000))

    server = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=serve, daemon=True).start()
    return server.getsockname()[1]


def test_each_service_is_swapped_by_its_url(deploy):
    cache, mail = [], []
    urls = {"CACHE_URL": f"redis://127.0.0.1:{listen(b'', cache)}/0"}
    one, two = deploy(), deploy(**urls, EMAIL_URL=f"smtp://127.0.0.1:{listen(b'220 ready', mail)}")
    for place, token in ((one, "first"), (two, "second")):
        _, queued, database = place.ask(given(USE, token=token, own=own()))
        rows = place.environment["DATABASE_URL"].endswith(database)
        FACTOR.demand(rows, f"DATABASE_URL does not say where rows go, but {database}", INSTEAD)
        FACTOR.demand(queued == "READY", f"a task does not wait for a worker: {queued}", "see tests/factors/work.py")
    files = {
        name: [*(one.root / name).rglob("*first*"), *(one.root / name).rglob("*.log")] for name in ("mail", "media")
    }
    found = {"CACHE_URL": cache, "EMAIL_URL": mail and files["mail"], "STORAGE_URL": files["media"]}
    ignored = [name for name, uses in found.items() if name in documented() and not uses]
    FACTOR.demand(not ignored, f"{' and '.join(ignored)} does not say where things go", INSTEAD)


def test_each_alias_moves_with_a_variable(variants):
    fixed = [
        f"{setting}[{alias!r}]"
        for setting in ("DATABASES", "CACHES")
        for alias, entry in variants.base.get(setting, {}).items()
        if any(entry.get(key, "''") != "''" for key in PLACE) and not any(word in str(entry) for word in NO_PLACE)
        if not variants.moves(setting, alias)
    ]
    FACTOR.demand(not fixed, f"{', '.join(fixed)} leads to the same place, whatever the environment says", INSTEAD)


def test_no_address_is_used_that_no_variable_names(day):
    named = " ".join(value for value in day.place.environment.values() if "://" in value)
    found = {}
    for event in day.events("address"):
        host, _, port = event["target"].rpartition(":") if ":" in event["target"] else (event["target"], "", "")
        near = host in ("localhost", "127.0.0.1", "::1")
        own_name = host in (socket.gethostname(), socket.getfqdn(), "None", "", "0.0.0.0", "::")
        if not event["logs"] and not own_name and (f":{port}" if near else host) not in named:
            found[event["target"]] = f"{event['by'] or 'a library'} uses {event['target']}"
    FACTOR.allow_only("addresses", found | day.of(FACTOR), "it goes where no variable leads", INSTEAD)
