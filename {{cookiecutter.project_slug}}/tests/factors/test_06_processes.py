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
took = [name for name, attribute in (("session", "session"), ("message", "_messages")) if hasattr(request, attribute)]
if "session" in took:
    request.session["factors"] = "kept"
if "message" in took:
    request._messages.add(40, "a message")
answer([took, default_storage.save("upload.txt", ContentFile(b"an upload"))])
"""
GIVE_OUT = """
from django.core.files.storage import default_storage
gave = [name for name in ("session",) if hasattr(request, name) and request.session.get("factors") == "kept"]
gave += [name for name in ("message",) if "a message" in map(str, getattr(request, "_messages", []))]
answer([gave, default_storage.exists(upload) and default_storage.open(upload).read().decode()])
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
for _ in range(rounds):
    visit_all()
answer([visit_all(), visit_all()])
"""


def test_processes_share_what_one_of_them_took_in(deploy, databases):
    database, cookies = databases.migrated(), {}
    one, two = (deploy(own_code=True, database=database) for _ in range(2))
    two.environment |= {name: one.environment[name] for name in ("STORAGE_URL", "EMAIL_URL")}
    first, second = one.web(), two.web()
    took, upload = first.ask(TAKE_IN, cookies) or ([], "")
    gave, content = second.ask(given(GIVE_OUT, upload=upload), dict(cookies)) or ([], "")
    lost = [name for name in took if name not in gave]
    instead = "keep it in the database, the cache or a cookie"
    FACTOR.demand(not lost, f"a {' and a '.join(lost)} of one process is not known to another", instead)
    instead = "keep uploads in the default storage, where STORAGE_URL says"
    FACTOR.demand(content == "an upload", "an upload to one process is not there in another", instead)
    first.kill()
    gave, _ = second.ask(given(GIVE_OUT, upload=upload), cookies) or ([], "")
    FACTOR.demand(
        "session" in [*gave, *({"session"} - {*took})], "a session ends with the process that made it", instead
    )


def test_no_file_stays_on_the_local_disk(day):
    what, instead = "state is left on the disk, which no other machine has", "keep it in a backing service"
    FACTOR.allow_only("writes", day.of(FACTOR), what, instead)


def test_a_page_does_not_depend_on_the_process_that_answers(deploy, databases, day):
    pages = list(day.answers)
    many = max(2, min(12, 60 // max(1, len(pages))))
    code = [given(REMEMBER, pages=pages, rounds=rounds, cookies=databases.cookies) for rounds in (1, many, many)]
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
