"""Recipes that change pages work: in a browser, or with a client as its users have one."""

import gzip
import json
import re
import shutil
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import ClassVar
from urllib.parse import urlsplit

import pytest
from deploys import DEPLOY, migrate
from generation import Project, Server
from pages import check_everything, command
from playwright.sync_api import Page, expect
from servers import SMTP
from test_browser import browser, open_page  # noqa: F401  fixtures

pytestmark = pytest.mark.recipes
WithRecipe = Callable[..., Project]
OpenPage = Callable[..., Page]
PLAIN_HTTP = {
    **DEPLOY,
    "SECURE_HSTS_SECONDS": "0",
    "SESSION_COOKIE_SECURE": "false",
    "CSRF_COOKIE_SECURE": "false",
}
ADA = {
    "DJANGO_SUPERUSER_USERNAME": "ada",
    "DJANGO_SUPERUSER_EMAIL": "ada@example.com",
    "DJANGO_SUPERUSER_PASSWORD": "a-long-password",
}


def serve(project: Project, **variables: str) -> Server:
    """Build, release and serve a project in production."""
    environment = {**PLAIN_HTTP, **variables}
    if not (project.path / "staticfiles").exists():
        done = project.manage("collectstatic", "--noinput", "-v", "0", **environment)
        assert done.returncode == 0, done.stderr
    migrate(project, **environment)
    return project.serve(**environment)


def create_ada(project: Project) -> None:
    """Create a superuser."""
    done = project.manage("createsuperuser", "--noinput", **PLAIN_HTTP, **ADA)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["api", "debug-toolbar", "errors", "htmx", "login-throttle", "sign-up", "tailwind"])
def test_the_project_is_green_with_the_recipe(with_recipe: WithRecipe, name: str) -> None:
    check_everything(with_recipe(name))


class Sentry(BaseHTTPRequestHandler):
    """Takes what the client of Sentry sends."""

    bodies: ClassVar[list[tuple[str, bytes]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.bodies.append((self.headers.get("Content-Encoding", ""), body))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Stay silent."""


def test_an_error_arrives_at_sentry_with_its_request_id(with_recipe: WithRecipe) -> None:
    project = with_recipe("errors")
    urls = project.path / "config/urls.py"
    before = urls.read_text()
    urls.write_text(before + '\nurlpatterns.append(path("broken", lambda request: 1 / 0))\n')
    try:
        with HTTPServer(("127.0.0.1", 0), Sentry) as sentry:
            Thread(target=sentry.serve_forever, args=(0.05,), daemon=True).start()
            server = serve(project, SENTRY_DSN=f"http://key@127.0.0.1:{sentry.server_port}/1")
            assert server.get("/broken", {"X-Request-ID": "asked-by-ada"}).status == 500
            server.stop()
            sentry.shutdown()
    finally:
        urls.write_text(before)
    decoded = [decode(project, *sent) for sent in Sentry.bodies]
    assert any("ZeroDivisionError" in text and '"request_id":"asked-by-ada"' in text for text in decoded), decoded


def decode(project: Project, encoding: str, body: bytes) -> str:
    """Return what was sent as text; brotli is in the project's environment and not in ours."""
    if encoding == "gzip":
        return gzip.decompress(body).decode()
    if encoding == "br":
        code = f"import brotli; print(brotli.decompress(bytes.fromhex('{body.hex()}')).decode())"
        return project.run("python", "-c", code).stdout
    return body.decode()


@pytest.mark.parametrize("dsn", ["abc", "https://sentry.example.com/1", "ftp://key@sentry.example.com/1"])
def test_a_malformed_dsn_is_refused_by_name(with_recipe: WithRecipe, dsn: str) -> None:
    result = with_recipe("errors").manage("check", **PLAIN_HTTP, SENTRY_DSN=dsn)
    assert result.returncode == 3
    assert "SENTRY_DSN is not a DSN" in result.stderr
    assert dsn not in result.stderr


def test_without_a_dsn_the_client_is_not_even_imported(with_recipe: WithRecipe) -> None:
    code = "import sys; import config.wsgi; print('sentry_sdk' in sys.modules)"
    result = with_recipe("errors").run("python", "-c", code, **PLAIN_HTTP, SENTRY_DSN="")
    assert result.stdout.strip() == "False", result.stderr


def test_the_api_creates_lists_and_refuses(with_recipe: WithRecipe, open_page: OpenPage) -> None:  # noqa: F811
    project = with_recipe("api")
    server = serve(project)
    create_ada(project)
    made = project.manage("drf_create_token", "ada", **PLAIN_HTTP)
    token = re.search(r"\b[0-9a-f]{40}\b", made.stdout)
    assert token, made.stdout
    headers = {"Authorization": f"Token {token[0]}", "Content-Type": "application/json"}
    body = json.dumps({"username": "grace", "email": "grace@example.com"}).encode()
    assert server.request("POST", "/api/users/", headers, body).status == 201
    users = json.loads(server.get("/api/users/", headers).body)["results"]
    assert [user["username"] for user in users] == ["ada", "grace"]
    assert server.get("/api/users/").status == 401
    assert server.get("/api/users/", {"Authorization": "Token " + 40 * "0"}).status == 401
    page = open_page(server)  # it fails on a violation of the policy
    page.goto("/api/docs/")
    expect(page.locator(".opblock-summary-path").first).to_contain_text("/api/")
    server.stop()


def submit(page: Page, button: str) -> None:
    """Send a form; return when the answer is there."""
    with page.expect_navigation():
        page.click(button)


def test_a_visitor_signs_up_confirms_and_adds_a_second_factor(
    with_recipe: WithRecipe,
    open_page: OpenPage,  # noqa: F811
) -> None:
    project = with_recipe("sign-up")
    with SMTP() as mail:
        server = serve(project, EMAIL_URL=mail.url(), DEFAULT_FROM_EMAIL="site@example.com")

        def link() -> str:
            text = mail.messages[-1].get_content()
            return urlsplit(re.findall(r"http://\S+", text)[0]).path

        page = open_page(server)
        page.goto("/accounts/signup/")
        page.fill("[name=email]", "grace@example.com")
        page.fill("[name=password1]", "a-long-password")
        page.fill("[name=password2]", "a-long-password")
        submit(page, "main button[type=submit]")
        page.goto(link())
        submit(page, "form[action*=confirm] button")
        page.goto("/accounts/password/reset/")
        page.fill("[name=email]", "grace@example.com")
        submit(page, "form[action*=reset] button")
        page.goto(link())
        page.fill("[name=password1]", "another-long-password")
        page.fill("[name=password2]", "another-long-password")
        submit(page, "main form button")
        page.goto("/accounts/login/")
        page.fill("[name=login]", "grace@example.com")
        page.fill("[name=password]", "another-long-password")
        submit(page, "form[action*=login] button")
        page.goto("/accounts/2fa/totp/activate/")  # which asks for the password again
        page.fill("[name=password]", "another-long-password")
        submit(page, "main form button")
        expect(page.locator("img[src^='data:image/svg']")).to_be_visible()
        secret = page.locator("input[disabled]").first.input_value()
        made = project.run("python", "-c", TOTP, secret)
        page.fill("[name=code]", made.stdout.strip())
        submit(page, "main form button")
        expect(page.locator("body")).to_contain_text("ecovery")
        server.stop()


TOTP = """
import base64, hashlib, hmac, sys, time
key = base64.b32decode(sys.argv[1])
digest = hmac.digest(key, int(time.time() // 30).to_bytes(8), "sha1")
start = digest[-1] & 15
print(f"{(int.from_bytes(digest[start : start + 4]) & 0x7FFFFFFF) % 10**6:06}")
"""


def log_in(server: Server, password: str, address: str) -> int:
    """Send the admin's login form as a visitor behind a proxy; return the status."""
    page = server.get("/admin/login/")
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
    assert token
    cookie = page.headers["Set-Cookie"].partition(";")[0]
    headers = {
        "Cookie": cookie,
        "X-Forwarded-For": f"192.0.2.99, {address}",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    form = f"csrfmiddlewaretoken={token[1]}&username=ada&password={password}&next=/admin/"
    return server.request("POST", "/admin/login/", headers, form.encode()).status


def test_guessers_are_locked_out_by_two_processes_together(with_recipe: WithRecipe) -> None:
    project = with_recipe("login-throttle")
    servers = [serve(project, PROXY_COUNT="1") for _ in range(2)]
    create_ada(project)
    answers = [log_in(servers[number % 2], f"wrong-{number}", "192.0.2.1") for number in range(60)]
    assert answers[:9] == [200] * 9
    assert set(answers[10:]) == {429}
    assert log_in(servers[0], "a-long-password", "192.0.2.1") == 429
    assert log_in(servers[0], "a-long-password", "192.0.2.2") == 302, "another address is locked out, too"
    assert project.manage("axes_reset_username", "ada", **PLAIN_HTTP).returncode == 0
    assert log_in(servers[1], "a-long-password", "192.0.2.1") == 302
    for server in servers:
        server.stop()


def test_the_toolbar_opens_in_development_only(with_recipe: WithRecipe, open_page: OpenPage) -> None:  # noqa: F811
    project = with_recipe("debug-toolbar")
    development = {**project.dotenv, "DATABASE_URL": "sqlite:///development.sqlite3"}
    migrate(project, **development)
    server = project.serve(**development)
    page = open_page(server)
    page.goto("/admin/login/")
    page.click("#djdt-SQLPanel a")
    expect(page.locator("#SQLPanel")).to_be_visible()
    server.stop()
    production = serve(project)
    assert "djDebug" not in production.get("/").text
    assert production.get("/__debug__/render_panel/").status == 404
    production.stop()


VOTE = """

def vote(request):
    from django.http import HttpResponse
    from django.template import engines

    if request.htmx:
        return HttpResponse("<b>counted</b>")
    page = '''{% extends "base.html" %}{% block content %}<form hx-post="/vote" hx-swap="outerHTML">{% csrf_token %}
    <button>Vote</button></form>{% endblock %}'''
    return HttpResponse(engines["django"].from_string(page).render({}, request))


urlpatterns.append(path("vote", vote))
"""


def test_a_form_is_swapped_under_the_policy(with_recipe: WithRecipe, open_page: OpenPage) -> None:  # noqa: F811
    project = with_recipe("htmx")
    urls = project.path / "config/urls.py"
    before = urls.read_text()
    urls.write_text(before + VOTE)
    try:
        server = serve(project)
        page = open_page(server)
        page.goto("/vote")
        page.click("button")
        expect(page.locator("b")).to_have_text("counted")
        server.stop()
    finally:
        urls.write_text(before)


def test_the_stylesheet_is_built_and_gets_a_hashed_name(with_recipe: WithRecipe) -> None:
    project = with_recipe("tailwind")
    page, built = project.path / "templates/pages/home.html", project.path / "static/tailwind.css"
    before = {file: file.read_text() for file in (page, built)}
    page.write_text(before[page].replace("<h1>", '<h1 class="text-3xl">'))
    try:
        stale = project.run("pytest", "-q", "tests/test_tailwind.py")
        assert stale.returncode == 1, stale.stdout
        command(project, "sh", "-c", "uv run tailwindcss -i styles/tailwind.css -o static/tailwind.css --minify")
        shutil.rmtree(project.path / "staticfiles", ignore_errors=True)
        server = serve(project)
        link = re.search(r"/static/tailwind\.[0-9a-f]{12}\.css", server.get("/").text)
        assert link
        assert ".text-3xl" in server.get(link[0]).text
        server.stop()
    finally:
        for file, text in before.items():
            file.write_text(text)
