"""WebSockets: real browsers, two web processes, and a real Redis between them."""

import re
import textwrap
import time
from collections.abc import Callable

import pytest
from deploys import json_lines
from generation import Project, wait_until
from pages import check_everything
from playwright.sync_api import Page
from servers import PASSWORD, Redis
from test_browser import browser, open_page  # noqa: F401  fixtures
from test_web_recipes import serve

pytestmark = pytest.mark.recipes
WithRecipe = Callable[..., Project]
OpenPage = Callable[..., Page]

OPEN = """() => new Promise((opened) => {
    window.heard = [];
    window.socket = new WebSocket(`ws://${location.host}/chat`);
    socket.onopen = opened;
    socket.onmessage = (event) => heard.push(event.data);
    socket.onclose = (event) => heard.push(event.code);
})"""


@pytest.fixture(scope="module")
def project(with_recipe: WithRecipe) -> Project:
    """A project with the recipe."""
    return with_recipe("websockets")


def test_the_project_is_green_with_the_recipe(project: Project) -> None:
    check_everything(project)


@pytest.fixture
def chat(project: Project):
    """The same project with the consumer that the recipe shows."""
    urls = project.path / "config/websocket_urls.py"
    before = urls.read_text()
    shown = re.search(r'(?ms)^    class Chat.*?(?=^""")', before)
    assert shown
    imports = "from channels.generic.websocket import AsyncWebsocketConsumer\nfrom django.urls import path\n\n"
    urls.write_text(imports + textwrap.dedent(shown[0]))
    yield project
    urls.write_text(before)


def handshake(origin: str) -> dict[str, str]:
    """Return the headers with which a page asks for a WebSocket."""
    asked = {"Connection": "Upgrade", "Upgrade": "websocket", "Origin": origin}
    return asked | {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}


def hears(page: Page, what: str | int) -> None:
    """Return when a page has heard it: a word, or the code with which its WebSocket was closed."""
    heard = lambda: page.evaluate("heard")  # noqa: E731
    wait_until(lambda: what in heard(), 10, lambda: f"{what} in {heard()}")


def test_two_browsers_hear_each_other_through_two_processes(
    chat: Project,
    redis: Redis,
    open_page: OpenPage,  # noqa: F811
) -> None:
    servers = [serve(chat, CHANNEL_LAYER_URL=redis.url("/0")) for _ in range(2)]
    pages = [open_page(server) for server in servers]  # it fails on a violation of the policy
    for page in pages:
        page.goto("/")
        page.evaluate(OPEN)
    for page, word in zip(pages, ("from the first", "from the second"), strict=True):
        page.evaluate("(word) => socket.send(word)", word)
        for each in pages:
            hears(each, word)
    assert servers[0].get("/chat", handshake("http://127.0.0.1:1")).status == 101
    assert servers[0].get("/chat", handshake("http://evil.example.com")).status == 403
    assert servers[0].get("/unknown", handshake("http://127.0.0.1:1")).status == 403

    started = time.monotonic()
    assert servers[0].stop() == 0, servers[0].output
    assert time.monotonic() - started < 10
    with redis.client() as client:
        assert client.zcard("asgi:group:chat") == 1, "a WebSocket that was closed is still in its group"
    hears(pages[0], 1001)
    pages[1].evaluate("socket.send('still there')")
    hears(pages[1], "still there")
    assert servers[1].stop() == 0, servers[1].output

    lines = json_lines(servers[0].stdout, logger="gunicorn.access", method="WEBSOCKET")
    assert sorted((line["path"], line["status"]) for line in lines) == [
        ("/chat", 101),
        ("/chat", 101),
        ("/chat", 403),
        ("/unknown", 403),
    ]
    for server in servers:
        assert "Traceback" not in server.output
        assert not server.stderr
        assert PASSWORD not in server.output
