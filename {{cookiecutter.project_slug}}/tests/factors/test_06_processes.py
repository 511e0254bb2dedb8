"""VI. Processes: stateless, and sharing nothing: https://12factor.net/processes.

Tested: two web processes that have nothing in common but their backing services (each has its own code, HOME and
directory for temporary files, as on two machines) share sessions, messages and uploads, and one lives on when the
other is killed; no file stays on the local disk; a page is the same in every process, whatever that was asked before.
Not testable here: what no page shows that is asked for with GET and without an argument. And uploads on a disk
(STORAGE_URL=file:) are shared by what has this disk: with several machines it must be a network's, or a bucket.
"""

from tests.factors.deploy import Factor, given

FACTOR = Factor("VI Processes")
TAKE_IN = """
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
took = ["upload", *(name for name in ("session", "_messages") if hasattr(request, name))]
if "session" in took:
    request.session["factors"] = "kept"
if "_messages" in took:
    request._messages.add(40, "a message")
answer([took, default_storage.save("upload.txt", ContentFile(b"an upload"))])
"""
GIVE_OUT = """
from django.core.files.storage import default_storage
gave = ["upload"] if default_storage.exists(name) and default_storage.open(name).read() == b"an upload" else []
gave += ["session"] if "session" in took and request.session.get("factors") == "kept" else []
gave += ["_messages"] if "_messages" in took and "a message" in map(str, request._messages) else []
answer(gave)
"""
# Each page, as nobody and logged in, after so many rounds; chance and the clock stand still, and what is kept in
# services is put back.
REMEMBER = """
import os, random, re
from contextlib import suppress
from django.core.cache import caches
from django.db import transaction
from django.test import Client
clock = re.compile(rb"\\d{1,2}:\\d\\d(:\\d\\d(\\.\\d+)?)?|1[789]\\d{8}(\\.\\d+)?|\\d+(\\.\\d+)?\\s?m?s\\b")
urandom = os.urandom
def visit(path, cookies):
    client, chance = Client(raise_request_exception=False), random.Random(0)
    client.cookies.load(cookies)
    for alias in caches:
        with suppress(Exception):
            caches[alias].clear()
    random.seed(0)
    os.urandom = random._urandom = chance.randbytes
    try:
        with transaction.atomic():
            answer = client.get(path, secure=True, headers={"host": "localhost"})
            transaction.set_rollback(True)
        body = b"" if answer.streaming else clock.sub(b"", answer.content)
        return [answer.status_code, answer.get("Location", ""), body.decode(errors="replace")]
    except Exception as error:
        return [type(error).__name__]
    finally:
        os.urandom = random._urandom = urandom
def visit_all():
    who = [("as nobody", {}), ("logged in", cookies)]
    return {f"{path} {name}": visit(path, each) for path in pages for name, each in who}
answer([visit_all() for _ in range(rounds)][-2:])
"""


def test_processes_share_what_one_of_them_took_in(deploy, release):
    database, cookies, instead = release.database(), {}, "keep it in a backing service, or in a cookie"
    one, two = (deploy(own_code=True, database=database) for _ in range(2))
    two.environment |= {name: one.environment[name] for name in ("STORAGE_URL", "EMAIL_URL")}
    first, second = one.web(), two.web()
    took, name = first.ask(TAKE_IN, cookies) or ([], "")
    give_out = given(GIVE_OUT, took=took, name=name)
    lost = sorted({*took} - {*(second.ask(give_out, dict(cookies)) or [])})
    FACTOR.demand(not lost, f"{' and '.join(lost)} of one process are not known to another", instead)
    first.kill()
    lost = sorted({*took} - {*(second.ask(give_out, cookies) or [])})
    FACTOR.demand(not lost, f"{' and '.join(lost)} are lost with the process that was killed", instead)


def test_no_file_stays_on_the_local_disk(day):
    what, instead = "state is left on the disk, which no other machine has", "keep it in a backing service"
    FACTOR.allow_only("writes", day.of(FACTOR), what, instead)


def test_a_page_does_not_depend_on_the_process_that_answers(deploy, release, day):
    many = max(4, min(14, 60 // max(1, len(day.answers))))
    names = {"pages": list(day.answers), "cookies": release.cookies}
    code = [given(REMEMBER, rounds=rounds, **names) for rounds in (3, many, many)]
    asked = [deploy().asking(each, PYTHONHASHSEED="0") for each in code]
    (young, _), (old, old_again), (twin, twin_again) = (result() for result in asked)
    found = {}
    for page in young:
        if old[page] == twin[page] != young[page]:
            found[page.split()[0]] = f"{page} changes with what the process was asked before"
        elif old[page] == old_again[page] != twin[page] == twin_again[page]:
            found[page.split()[0]] = f"{page} differs between two processes"
    instead = "keep what a page shows in the database or the cache, and make what must be the same from SECRET_KEY"
    FACTOR.allow_only("pages", found, "a page is answered from the memory of one process", instead)
