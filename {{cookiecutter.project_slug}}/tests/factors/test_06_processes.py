"""VI. Processes: stateless, and sharing nothing: https://12factor.net/processes.

Tested: two web processes that have only backing services in common share sessions and uploads, also when one is
killed; no file stays on the local disk; a page is the same in every process, whatever that was asked before.
Not testable here: what no page shows that takes no argument, and that several machines share a disk of uploads.
"""

from tests.factors.deploy import Factor, given

FACTOR = Factor("VI Processes")
TAKE_IN = """
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
if hasattr(request, "session") and not name:
    request.session["factors"] = "kept"
name = name or default_storage.save("upload.txt", ContentFile(b"an upload"))
gave = ["upload"] if default_storage.exists(name) and default_storage.open(name).read() == b"an upload" else []
gave += ["session"] if hasattr(request, "session") and request.session.get("factors") == "kept" else []
answer([gave, name])
"""
# Each page after so many rounds; chance and the clock stand still, rows are put back, caches are this process's own.
REMEMBER = """
import random, re
from django.core.cache import caches
from django.db import transaction
from django.test import Client
from django.urls import get_resolver
from unittest.mock import patch
get_resolver().url_patterns  # imports the views, as long as chance is chance
caches.settings = {alias: {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"} for alias in caches.settings}
clock = re.compile(rb"\\d{1,2}:\\d\\d(:\\d\\d(\\.\\d+)?)?|1[789]\\d{8}(\\.\\d+)?|\\d+(\\.\\d+)?\\s?m?s\\b")
def visit(path):
    client, chance = Client(raise_request_exception=False), random.Random(0)
    random.seed(0)
    try:
        [cache.clear() for cache in caches.all(initialized_only=True)]
        with patch("os.urandom", chance.randbytes), patch("random._urandom", chance.randbytes):
            with patch("time.time", lambda: 1.7e9), transaction.atomic():
                answer = client.get(path, secure=True, headers={"host": "localhost"})
                transaction.set_rollback(True)
        body = b"" if answer.streaming else clock.sub(b"", answer.content)
        return [answer.status_code, answer.get("Location", ""), body.decode(errors="replace")]
    except Exception as error:
        return [type(error).__name__]
answer([{path: visit(path) for path in pages} for _ in range(rounds)][-2:])
"""


def test_processes_share_what_one_of_them_took_in(deploy, release):
    database = release.database()
    one, two = (deploy(own_code=True, database=database) for _ in range(2))
    two.environment |= {name: one.environment[name] for name in ("STORAGE_URL", "EMAIL_URL")}
    first, second = one.web(), two.web()
    took, name = first.ask(given(TAKE_IN, name="")) or ([], "")
    for what, end in (("not known to another", lambda: None), ("lost when that is killed", first.close)):
        end()
        second.cookies = dict(first.cookies)
        gave, _ = second.ask(given(TAKE_IN, name=name)) or ([], "")
        lost = ", ".join(each for each in took if each not in gave)
        FACTOR.demand(not lost, f"the {lost} of one process is {what}", "keep it in a backing service")


def test_no_file_stays_on_the_local_disk(day):
    what, instead = "state is left on the disk, which no other machine has", "keep it in a backing service"
    FACTOR.allow_only("writes", day.of(FACTOR), what, instead)


def test_a_page_does_not_depend_on_the_process_that_answers(deploy, day):
    pages, many = list(day.answers), max(4, min(14, 100 // max(1, len(day.answers))))
    code = [given(REMEMBER, pages=pages, rounds=rounds) for rounds in (3, many, many)]
    asked = [deploy().asking(each, PYTHONHASHSEED="0") for each in code]
    (young, _), (old, old_again), (twin, twin_again) = (result() for result in asked)
    found = {}
    for page in young:
        if old[page] == twin[page] != young[page]:
            found[page] = f"{page} changes with what the process was asked before"
        elif old[page] == old_again[page] != twin[page] == twin_again[page]:
            found[page] = f"{page} differs between two processes"
    instead = "keep what a page shows in the database or the cache, and make what must be the same from SECRET_KEY"
    FACTOR.allow_only("pages", found, "a page is answered from the memory of one process", instead)
