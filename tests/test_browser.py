"""A browser sees what no HTTP client does: a policy that breaks the page it protects."""

import re
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator

import pytest
from deploys import build
from generation import PRODUCTION, TEMPLATE, Project, Server, free_port
from playwright.sync_api import Browser, Page, expect, sync_playwright

# No HTTPS here, so what needs it is off; the policy is on.
PLAIN_HTTP = {
    **PRODUCTION,
    "ALLOWED_HOSTS": "127.0.0.1",
    "SECURE_SSL_REDIRECT": "false",
    "SECURE_HSTS_SECONDS": "0",
    "SESSION_COOKIE_SECURE": "false",
    "CSRF_COOKIE_SECURE": "false",
}
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start Chromium."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if not program:
        pytest.skip("needs chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Return a function that opens an empty page; what the console complains of fails the test."""
    complaints: list[str] = []
    pages: list[Page] = []

    def get(server: Server, width: int = 1200) -> Page:
        page = browser.new_page(base_url=f"http://127.0.0.1:{server.port}", viewport={"width": width, "height": 800})
        page.on("console", lambda line: line.type == "error" and complaints.append(f"{line.text} {line.location}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        pages.append(page)
        return page

    yield get
    for page in pages:
        page.close()
    assert complaints == []


@pytest.fixture
def production(generate: Callable[..., Project]) -> Server:
    """Serve a project with files collected and one superuser."""
    project = build(generate())
    superuser = {"DJANGO_SUPERUSER_PASSWORD": "a-long-password"}
    create = ["createsuperuser", "--noinput", "--username=ada", "--email=ada@example.com"]
    for command in (["migrate"], create):
        done = project.manage(*command, **PLAIN_HTTP, **superuser)
        assert done.returncode == 0, done.stderr
    return project.serve(**PLAIN_HTTP)


def test_the_admin_works_under_the_policy(production: Server, open_page: Callable[..., Page]) -> None:
    page = open_page(production)
    page.goto("/admin/")
    page.fill("#id_username", "ada")
    page.fill("#id_password", "a-long-password")
    page.click("input[type=submit]")
    page.goto("/admin/accounts/user/add/")
    page.fill("#id_username", "grace")
    page.fill("#id_password1", "another-long-password")
    page.fill("#id_password2", "another-long-password")
    page.click("input[name=_continue]")
    expect(page.locator(".messagelist")).to_contain_text("added successfully")
    # Scripts that must run: the calendar beside a date, the two boxes of permissions.
    page.click("#calendarlink0")
    expect(page.locator("#calendarbox0")).to_be_visible()
    page.keyboard.press("Escape")
    page.locator("#id_user_permissions_input").press_sequentially("heartbeat")
    expect(page.locator("#id_user_permissions_from option").first).to_contain_text("eartbeat")
    page.click("input[name=_save]")
    page.goto("/admin/accounts/user/")
    page.check("#action-toggle")
    page.select_option("select[name=action]", "delete_selected")
    page.click("button[name=index]")
    expect(page.locator("h1", has_text="Delete multiple")).to_be_visible()


def test_the_first_page_fits_a_phone(generate: Callable[..., Project], open_page: Callable[..., Page]) -> None:
    project = generate()
    dotenv = project.dotenv
    project.manage("migrate", **dotenv)
    page = open_page(project.serve(**dotenv), width=360)
    page.goto("/")
    expect(page.locator("tbody tr")).to_have_count(5)
    expect(page.locator("tbody tr", has_text="Database")).to_contain_text("answers")
    widths = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert widths[0] <= widths[1]
    assert page.evaluate("getComputedStyle(document.querySelector('table')).borderCollapse") == ("collapse")


PICTURE = TEMPLATE / "tests/first-page.png"  # in the README
DESCRIPTION = b"tEXtDescription\0"  # https://www.w3.org/TR/png-3/#11textinfo


def words_of(picture: bytes) -> str:
    """Return the words that were on the page when a picture of it was taken: they are written into the file."""
    before, _, after = picture.partition(DESCRIPTION)
    (length,) = struct.unpack(">I", before[-4:]) if after else (len(DESCRIPTION) - 4,)
    return after[: length - len(DESCRIPTION) + 4].decode("latin-1")


def with_words(picture: bytes, words: str) -> bytes:
    """Return a picture with words written into it, in front of its last chunk."""
    text = DESCRIPTION + words.encode("latin-1")
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    return picture[:-12] + chunk + picture[-12:]


def test_the_picture_of_the_first_page_shows_what_is_on_it(
    generate: Callable[..., Project], open_page: Callable[..., Page]
) -> None:
    project = generate()
    project.manage("migrate", **project.dotenv)
    page = open_page(project.serve(**project.dotenv | {"PORT": str(free_port())}), width=800)
    page.goto("/")
    words = re.sub(r"\s+", " ", page.inner_text("body")).strip()
    assert "SQLite" in words
    if not PICTURE.exists() or words_of(PICTURE.read_bytes()) != words:
        PICTURE.write_bytes(with_words(page.screenshot(full_page=True), words))
        pytest.fail(f"the first page has changed: look at the new {PICTURE.name}, and commit it")
