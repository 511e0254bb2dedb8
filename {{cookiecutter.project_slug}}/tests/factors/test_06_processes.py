"""VI. Processes: stateless, and sharing nothing: https://12factor.net/processes.

Tested: two web processes that have nothing in common but their backing services (each has its own code, HOME and
directory for temporary files, as on two machines) share sessions, messages and uploads, and one lives on when the
other is killed; no file stays on the local disk; a page is the same in every process, whatever that was asked before.
Not testable here: what no page shows that is asked for with GET and without an argument. And uploads on a disk
(STORAGE_URL=file:) are shared by what has this disk: with several machines it must be a network's, or a bucket.
"""

from tests.factors.deploy import allow_only, copy, demand, given

FACTOR = "VI Processes"
TAKE_IN = """
from django.contrib import messages
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
took = []
if hasattr(request, "session"):
    request.session["factors"] = "kept"
    took.append("session")
if hasattr(request, "_messages"):
    messages.error(request, "a message")
    took.append("message")
answer([took, default_storage.save("upload.txt", ContentFile(b"an upload"))])
"""
GIVE_OUT = """
from django.contrib.messages import get_messages
from django.core.files.storage import default_storage
gave = []
if hasattr(request, "session") and request.session.get("factors") == "kept":
    gave.append("session")
if [str(message) for message in get_messages(request)] == ["a message"]:
    gave.append("message")
answer([gave, default_storage.exists(upload) and default_storage.open(upload).read().decode()])
"""
# Each page after a warm-up and so many more rounds, as nobody and logged in; chance and the clock stand still, what is
# kept in services is put back.
REMEMBER = """
import os, random, re, time, uuid
from contextlib import suppress
from django.core.cache import caches
from django.db import connections, transaction
from django.test import Client
clock = re.compile(rb"\\d{1,2}:\\d\\d(:\\d\\d(\\.\\d+)?)?|1[789]\\d{8}(\\.\\d+)?|\\d+(\\.\\d+)?\\s?m?s\\b")
counter = [0]
def urandom(size):
    counter[0] += 1
    return random.Random(counter[0]).randbytes(size)
def visit(path, cookies):
    client = Client(raise_request_exception=False)
    client.cookies.load(cookies)
    for alias in caches:
        with suppress(Exception):
            caches[alias].clear()
    real, seen = (os.urandom, random._urandom, time.time), None
    counter[0] = 0
    random.seed(0)
    os.urandom = random._urandom = urandom
    now = real[2]()
    try:
        with transaction.atomic():
            answer = client.get(path, secure=True, headers={"host": "localhost"})
            body = b"" if answer.streaming else answer.content
            seen = [answer.status_code, answer.get("Location", ""), clock.sub(b"", body).decode(errors="replace")]
            transaction.set_rollback(True)
    except Exception as error:
        seen = [type(error).__name__]
    finally:
        os.urandom, random._urandom, time.time = real
    return seen
who = [{}, cookies] if cookies else [{}]
def round():
    return {f"{path} ({'logged in' if each else 'as nobody'})": visit(path, each) for path in pages for each in who}
for _ in range(rounds):
    round()
answer([round(), round()])
"""


def test_processes_share_what_one_of_them_took_in(deploy, databases, built, tmp_path):
    database = databases.migrated()
    one, two = (deploy(code=copy(built, tmp_path / f"code{number}"), database=database) for number in range(2))
    for name in ("STORAGE_URL", "EMAIL_URL"):  # attached, and the same for all
        two.environment[name] = one.environment[name]
    first, second = one.web(), two.web()
    cookies: dict[str, str] = {}
    took, upload = first.ask(TAKE_IN, cookies) or ([], "")
    gave, content = second.ask(given(GIVE_OUT, upload=upload), dict(cookies)) or ([], "")
    lost = [name for name in took if name not in gave]
    instead = "keep it in the database, the cache or a cookie"
    demand(not lost, FACTOR, f"a {' and a '.join(lost)} left in one process is not known to another", instead)
    what = f"an upload made in one process is not there in another: {content!r}"
    demand(content == "an upload", FACTOR, what, "keep uploads in the default storage, where STORAGE_URL says")
    one.kill(first)
    gave, _ = second.ask(given(GIVE_OUT, upload=upload), cookies) or ([], "")
    demand(
        "session" in gave or "session" not in took, FACTOR, "a session ended with the process that was killed", instead
    )


def test_no_file_stays_on_the_local_disk(day):
    instead = "keep it in a backing service: the database, the cache, the storage of uploads"
    allow_only("writes", day.of(FACTOR), FACTOR, "state is left on the disk, which no other machine has", instead)


def test_a_page_does_not_depend_on_the_process_that_answers(deploy, databases, day):
    pages = list(day.answers)
    many = max(2, min(12, 60 // max(1, len(pages))))
    code = [given(REMEMBER, pages=pages, rounds=rounds, cookies=databases.cookies) for rounds in (1, many, many)]
    asked = [deploy().asking(each, PYTHONHASHSEED="0") for each in code]
    (young, _), (old, old_again), (twin, twin_again) = (result() for result in asked)
    found = {}
    for page in young:
        if old[page] == twin[page] != young[page]:
            found[page.partition(" ")[0]] = f"{page} changes with what the process was asked before"
        elif old[page] == old_again[page] != twin[page] == twin_again[page]:
            found[page.partition(" ")[0]] = f"{page} differs between two processes"
    instead = "keep what a page shows in the database or the cache, and make what must be the same from SECRET_KEY"
    allow_only("pages", found, FACTOR, "a page is answered from the memory of one process", instead)
