"""What the tests of backing services share: deploys of a project, and a small app in it."""

import json
import re
import shutil
import subprocess
from pathlib import Path

from generation import Project, Response, Server, Visitor, once

# A deploy that is reached over plain HTTP at 127.0.0.1, with nothing attached yet.
DEPLOY = {
    "SECRET_KEY": "0123456789-abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "ALLOWED_HOSTS": "127.0.0.1",
    "SECURE_SSL_REDIRECT": "false",
    "DATABASE_URL": "sqlite:///db.sqlite3",
}

SUPERUSER = {
    "DJANGO_SUPERUSER_USERNAME": "ada",
    "DJANGO_SUPERUSER_EMAIL": "ada@example.com",
    "DJANGO_SUPERUSER_PASSWORD": "a-long-password",
}

# What a user would write: pages that use the database, the cache, uploads, mail and tasks.
STORY = '''
import os

from django.contrib.auth import get_user_model
from django.contrib.auth.decorators import login_required
from django.core.cache import cache
from django.core.files.storage import default_storage
from django.db import connection, transaction
from django.http import FileResponse, HttpResponse, JsonResponse
from django.shortcuts import render
from jobs.tasks import send_greeting

CONNECTION_ID = {"postgresql": "pg_backend_pid()", "mysql": "connection_id()", "sqlite": "0"}


def status(request):
    users = get_user_model().objects.count()
    with connection.cursor() as cursor:
        cursor.execute("SELECT " + CONNECTION_ID[connection.vendor])
        number = cursor.fetchone()[0]
    return JsonResponse({"users": users, "connection": number, "process": os.getpid()})


def count(request):
    cache.add("count", 0)
    return HttpResponse(str(cache.incr("count")))


@login_required(login_url="/admin/login/")
def story(request):
    """One form: keep the upload and send a greeting in the background."""
    if request.method == "GET":
        return render(request, "story.html")
    with transaction.atomic():
        name = default_storage.save("letter.txt", request.FILES["letter"])
        result = send_greeting.enqueue(request.POST["address"])
        if "regret" in request.POST:
            transaction.set_rollback(True)
    return JsonResponse({"name": name, "url": default_storage.url(name), "task": str(result.id)})


def letter(request, name):
    return FileResponse(default_storage.open(name))
'''

STORY_URLS = """
from pages import story

urlpatterns += [
    path("status", story.status),
    path("count", story.count),
    path("story", story.story),
    path("letter/<path:name>", story.letter),
]
"""

STORY_PAGE = """
<form method="post" enctype="multipart/form-data">{% csrf_token %}
<input name="address"><input type="file" name="letter"></form>
"""


def git(project: Project, *arguments: str) -> str:
    """Run git in a project; return what it prints."""
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
    result = project.run("git", *who, *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


def add_story(project: Project) -> Project:
    """Add the story's pages to a project, and commit all of it."""
    (project.path / "pages/story.py").write_text(STORY)
    (project.path / "templates/story.html").write_text(STORY_PAGE)
    with (project.path / "config/urls.py").open("a") as urls:
        urls.write(STORY_URLS)
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "Add a story")
    return project


def build(project: Project) -> Project:
    """Collect the static files, as a build does: pages need them while DEBUG is off.

    Once a session, for all projects have the same, and compressing them with brotli takes 8 s.
    """

    def collect(directory: Path) -> None:
        result = project.manage("collectstatic", "--noinput", "-v", "0", **DEPLOY)
        assert result.returncode == 0, result.stderr
        (project.path / "staticfiles").rename(directory)

    collected = once(project.virtual_environment.with_name("staticfiles"), collect)
    shutil.copytree(collected, project.path / "staticfiles")
    return project


def migrate(project: Project, **variables: str) -> None:
    """Apply all migrations."""
    result = project.manage("migrate", "-v", "0", **variables)
    assert result.returncode == 0, result.stderr


def create_superuser(project: Project, **variables: str) -> None:
    """Create ada, who may do everything."""
    result = project.manage("createsuperuser", "--noinput", **SUPERUSER, **variables)
    assert result.returncode == 0, result.stderr


def shell(project: Project, code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of the project."""
    return project.manage("shell", "-v", "0", "-c", code, **variables)


def shown(project: Project, expression: str, **variables: str) -> str:
    """Return what an expression is in a process of the project, printed."""
    result = shell(project, f"print({expression})", **variables)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def log_in(server: Server) -> Visitor:
    """Return ada, logged in."""
    ada = Visitor(server)
    answer = ada.submit("/admin/login/?next=/admin/", username="ada", password="a-long-password")
    assert answer.status == 302, answer.text
    return ada


def is_logged_in(visitor: Visitor, server: Server) -> bool:
    """Say whether a visitor's session is valid at a server."""
    there = Visitor(server)
    there.cookies = dict(visitor.cookies)
    return there.get("/admin/").status == 200


def hand_in(visitor: Visitor, letter: str, address: str, **more: str) -> Response:
    """Fill in the form of the story: an upload and an address."""
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', visitor.get("/story").text)
    assert token
    fields = {"csrfmiddlewaretoken": token[1], "address": address, **more}
    parts = [f'name="{name}"\r\n\r\n{value}' for name, value in fields.items()]
    parts.append(f'name="letter"; filename="letter.txt"\r\nContent-Type: text/plain\r\n\r\n{letter}')
    body = "".join(f"--limit\r\nContent-Disposition: form-data; {part}\r\n" for part in parts)
    cookies = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
    headers = {"Content-Type": "multipart/form-data; boundary=limit", "Cookie": cookies}
    return visitor.server.request("POST", "/story", headers, f"{body}--limit--\r\n".encode())


def json_lines(lines: list[str], **fields: str) -> list[dict]:
    """Return the lines of a JSON log whose fields have these values."""
    events = [json.loads(line) for line in lines if line.startswith("{")]
    return [event for event in events if fields.items() <= event.items()]


def edit(file: Path, old: str, new: str) -> None:
    """Replace `old`, which must be there once, in a file."""
    text = file.read_text()
    assert text.count(old) == 1, f"{old!r} is not once in {file.name}"
    file.write_text(text.replace(old, new))
