"""IV. Backing services: attached resources, each a URL: https://12factor.net/backing-services.

Tested: two deploys of the same code have their rows, cache entries, mail, uploads and tasks where their URLs say; each
database and cache of the settings moves with a variable; no address is used that no variable names.
Not testable here: that a provider's service behaves like the one it replaces.
"""

import socket
from urllib.parse import urlsplit

from tests.factors.day import USE
from tests.factors.deploy import Factor, documented, free_port, given, own

FACTOR = Factor("IV Backing services")
INSTEAD = "read its URL from a variable, as for the other services"
PLACE, NO_PLACE = ("HOST", "PORT", "NAME", "LOCATION"), ("locmem", "dummy", "DatabaseCache", "filebased", ":memory:")


def test_each_service_is_swapped_by_its_url(deploy):
    cache, mail = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"  # nobody is there, but who comes is seen
    one, two = deploy(), deploy(CACHE_URL=f"redis://{cache}/0", EMAIL_URL=f"smtp://{mail}")
    for place, token in ((one, "first"), (two, "second")):
        *_, queued, database = place.ask(given(USE, token=token, own=own()))
        rows = urlsplit(place.environment["DATABASE_URL"]).path.endswith(database)
        FACTOR.demand(rows, f"DATABASE_URL does not say where rows go, but {database}", INSTEAD)
        FACTOR.demand(queued == "READY", f"a task does not wait for a worker: {queued}", "see tests/factors/work.py")
    used = {event["target"] for event in two.processes[-1].events("address")}
    mails, uploads = list((one.root / "mail").iterdir()), list((one.root / "media").rglob("*first*"))
    found = {"CACHE_URL": cache in used, "EMAIL_URL": mails and mail in used, "STORAGE_URL": uploads}
    ignored = [name for name, uses in found.items() if name in documented() and not uses]
    FACTOR.demand(not ignored, f"{' and '.join(ignored)} does not say where things go", INSTEAD)


def test_each_alias_moves_with_a_variable(variants):
    fixed = []
    for setting in ("DATABASES", "CACHES"):
        for alias, entry in variants.base.get(setting, {}).items():
            leads = any(entry.get(key, "''") != "''" for key in PLACE) and not any(n in str(entry) for n in NO_PLACE)
            fixed += [f"{setting}[{alias!r}]"] if leads and alias not in variants.moved[setting] else []
    FACTOR.demand(not fixed, f"{', '.join(fixed)} leads to the same place, whatever the environment says", INSTEAD)


def test_no_address_is_used_that_no_variable_names(day):
    named, found = " ".join(value for value in day.place.environment.values() if "://" in value), {}
    this_machine = {socket.gethostname(), socket.getfqdn(), "None", "", "0.0.0.0", "::"}
    for event in day.events("address"):
        host, _, port = event["target"].rpartition(":") if ":" in event["target"] else (event["target"], "", "")
        near = host in ("localhost", "127.0.0.1", "::1")
        if not event["logs"] and host not in this_machine and (f":{port}" if near else host) not in named:
            found[event["target"]] = f"{event['by'] or 'a library'} uses {event['target']}"
    FACTOR.allow_only("addresses", found | day.of(FACTOR), "it goes where no variable leads", INSTEAD)
