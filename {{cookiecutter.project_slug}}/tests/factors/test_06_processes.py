"""VI. Processes: stateless, and sharing nothing: https://12factor.net/processes.

Tested: two web processes that have nothing in common but their backing services (each has its own code, HOME and
directory for temporary files, as on two machines) see each other's sessions, messages and uploads, one lives on when
the other is killed, and both give the same answers whatever each was asked before; nothing that a request wrote stays
on the local disk; no module keeps in memory what its functions put there.
Not testable here: uploads on a disk (STORAGE_URL=file:) are shared by what has this disk; with several machines it
must be a network's, or a bucket. And an object may hide what it keeps from every reader of the code.
"""

import ast
import re
import shutil
from pathlib import Path

import pytest

from tests.factors.day import PAGES
from tests.factors.processes import request
from tests.factors.source import dotted, modules, strings

FACTOR = "VI Processes"

# A session as logging in makes it, an upload, and the page that changes a user and says so in a message.
VISIT = """
from django.contrib.auth import get_user_model
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client
from django.urls import NoReverseMatch, reverse
from django.conf import settings
User = get_user_model()
user = User.objects.get(**{User.USERNAME_FIELD: "factors@example.com"})
client = Client()
client.force_login(user)
cookies = {name: morsel.value for name, morsel in client.cookies.items()}
name = default_storage.save("upload.txt", ContentFile(b"an upload"))
try:
    admin = reverse("admin:index")
    delete = reverse("admin:%s_%s_changelist" % (User._meta.app_label, User._meta.model_name))
except NoReverseMatch:
    admin = delete = ""
visit = ({"cookies": cookies, "admin": admin, "users": delete, "pk": user.pk, "upload": default_storage.url(name)})
"""


def token_in(page: str) -> str:
    """Return the CSRF token of a form."""
    match = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
    assert match, f"{FACTOR}: no form on the page:\n{page[:500]}"
    return match[1]


def test_processes_share_what_one_of_them_took_in(deploy, databases, built, tmp_path):
    database = databases.migrated()
    codes = [Path(shutil.copytree(built, tmp_path / f"code{number}", symlinks=True)) for number in range(3)]
    one, two, visitor = (deploy(code=code, database=database) for code in codes)
    for each in (two, visitor):  # attached services, the same for all
        for name in ("STORAGE_URL", "EMAIL_URL"):
            each.environment[name] = one.environment[name]
    first, second = one.start(one.command("web")), two.start(two.command("web"))
    visit = visitor.ask(VISIT + "queued = None\n" + PAGES.replace("answer(", "visit['pages'] = (") + "\nanswer(visit)")
    one.ready(first)
    two.ready(second)

    for path in (visit["upload"],) if visit["upload"].startswith("/") else ():
        for process in (first, second):
            answer = process.get(path)
            assert (answer.status, answer.text) == (200, "an upload"), (
                f"{FACTOR}: an upload made in one process is not seen by another: {path} gives {answer.status}"
            )

    same = [path for path in visit["pages"][0] if not path.startswith(visit["admin"] or "\0")]
    for path in same:
        before = first.get(path).text
        history = [first.get(path).text for _ in range(3)]
        fresh = second.get(path).text
        assert fresh != before or fresh == history[-1], (
            f"{FACTOR}: {path} is answered from the memory or the disk of one process: "
            f"it has changed there with each request, and another process begins anew"
        )

    if not visit["admin"]:
        pytest.skip("needs the admin, for a session and a message")
    cookies = visit["cookies"]
    for process in (first, second):
        status = process.get(visit["admin"], cookies).status
        assert status == 200, f"{FACTOR}: a session made in one process is not known to another: {status}"
    form = f"_selected_action={visit['pk']}&action=no-such-action&index=0&csrfmiddlewaretoken="
    body = form + token_in(first.get(visit["users"], cookies).text)
    request(int(first.environment["PORT"]), "POST", visit["users"], cookies, body.encode())
    first.kill()
    answer = second.get(visit["users"], cookies)
    assert answer.status == 200, f"{FACTOR}: the session ended with the process that was killed"
    assert 'class="messagelist"' in answer.text, f"{FACTOR}: a message left in one process is not shown by another"


def test_nothing_that_a_next_request_needs_stays_on_the_disk(day):
    left = day.of("VI")
    assert not left, f"{FACTOR}: state on the local disk, which no other machine has: {left}"


MUTABLE = {"dict", "list", "set", "defaultdict", "deque", "Counter", "OrderedDict", "Queue", "SimpleQueue", "count"}
CHANGES = {
    "append",
    "add",
    "update",
    "setdefault",
    "pop",
    "popleft",
    "appendleft",
    "extend",
    "insert",
    "remove",
    "clear",
    "put",
    "put_nowait",
    "discard",
    "popitem",
}


def stores(tree: ast.Module) -> dict[str, int]:
    """Return the names of a module, and of the classes in it, that hold something mutable."""
    found = {}
    for body, prefix in [(tree.body, "")] + [(n.body, f"{n.name}.") for n in tree.body if isinstance(n, ast.ClassDef)]:
        for node in body:
            value = getattr(node, "value", None)
            if isinstance(node, ast.Assign):
                targets = node.targets
            elif isinstance(node, ast.AnnAssign):
                targets = [node.target]
            else:
                continue
            literal = isinstance(value, (ast.Dict, ast.List, ast.Set, ast.DictComp, ast.ListComp, ast.SetComp))
            call = isinstance(value, ast.Call) and dotted(value.func).rpartition(".")[2] in MUTABLE
            if literal or call:
                found |= {prefix + dotted(target): node.lineno for target in targets if dotted(target)}
    return found


def changed_in(function: ast.AST, objects: set[str]) -> set[str]:
    """Return what a function changes: globals, items and attributes of what is elsewhere, and what it calls a
    changing method of; `objects` are the names of the module."""
    found = set()
    local = {n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    for node in ast.walk(function):
        if isinstance(node, ast.Global):
            found |= {f"global {name}" for name in node.names}
        targets: list[ast.expr] = []
        if isinstance(node, (ast.Assign, ast.Delete)):
            targets = node.targets
        elif isinstance(node, ast.AugAssign):
            targets = [node.target]
        found |= {dotted(target.value) for target in targets if isinstance(target, ast.Subscript)}
        found |= {dotted(target.value) for target in targets if isinstance(target, ast.Attribute)} & objects
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGES:
            found.add(dotted(node.func.value))
        if isinstance(node, ast.Call) and dotted(node.func) == "next" and node.args:
            found.add(dotted(node.args[0]))
    return {name for name in found if name and name.partition(".")[0] not in local}


def test_no_module_is_a_store():
    found = []
    for path, tree in modules():
        if "migrations" in path.parts or path.name == "gunicorn.conf.py":
            continue
        held = stores(tree)
        objects = {node.name for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
        objects |= {dotted(t) for node in tree.body if isinstance(node, ast.Assign) for t in node.targets}
        classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
        for function in ast.walk(tree):
            if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
                for name in changed_in(function, objects):
                    attribute = re.sub(r"^(self|cls)\.", "", name)
                    inside = [f"{each}.{attribute}" for each in classes if f"{each}.{attribute}" in held]
                    kept = (
                        name in held | dict.fromkeys(objects)
                        or (attribute != name and inside)
                        or name.startswith("global ")
                    )
                    if kept and not set_in_init(tree, attribute):
                        found.append(f"{path}:{function.lineno} {function.name}() keeps {name.split()[-1]}")
    assert not found, f"{FACTOR}: state in the memory of one process: {'; '.join(sorted(set(found)))}"


def set_in_init(tree: ast.Module, attribute: str) -> bool:
    """Tell whether each object gets an attribute of its own."""
    return any(
        isinstance(node, ast.FunctionDef)
        and node.name == "__init__"
        and any(
            dotted(t) == f"self.{attribute}" for a in ast.walk(node) if isinstance(a, ast.Assign) for t in a.targets
        )
        for node in ast.walk(tree)
    )


DISK = re.compile(r"/tmp(/.*)?|/var/(tmp|lib|spool|run|cache)(/.*)?|/dev/shm/.+")


def test_no_function_leaves_a_file_on_the_disk(day):
    elsewhere = {write.by for write in day.writes if "VI" not in write.factors}
    found = [
        f"{path}:{node.lineno} names {node.value}"
        for path, tree in modules()
        if path.name != "gunicorn.conf.py"
        for node in strings(tree)
        if DISK.fullmatch(node.value) and not OTHERS.search(node.value)
    ]
    for path, tree in modules():
        functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
        for call in {n for function in functions for n in ast.walk(function) if isinstance(n, ast.Call)}:
            place = f"{path}:{call.lineno}"
            if leaves_a_file(call) and place not in elsewhere and not OTHERS.search(ast.unparse(call).lower()):
                found.append(f"{place} calls {ast.unparse(call)[:80]}")
    assert not found, f"{FACTOR}: the local disk is no store and no queue: {'; '.join(found)}"


OTHERS = re.compile(r"log|\.pid|\.sock")  # the matter of XI, VIII and VII
WRITERS = {"write_text", "write_bytes", "mkdtemp", "mkstemp"}
STORES = {"shelve.open", "dbm.open", "sqlite3.connect"}


def leaves_a_file(call: ast.Call) -> bool:
    """Tell whether a call makes a file that stays."""
    name, last = dotted(call.func), call.func.attr if isinstance(call.func, ast.Attribute) else ""
    if name == "open" or (last == "open" and "storage" not in name):
        modes = [*call.args[1 if name == "open" else 0 :][:1], *(k.value for k in call.keywords if k.arg == "mode")]
        return any(isinstance(m, ast.Constant) and re.fullmatch("[rbt]*[wax+][wbt+]*", str(m.value)) for m in modes)
    if name.endswith("NamedTemporaryFile"):
        return any(keyword.arg == "delete" for keyword in call.keywords)
    return name in STORES or last in WRITERS or name in WRITERS
