"""A project grows: a token, an app with tests, no starter page. Its tests need no edit and notice mistakes."""

import re
import shutil
from collections.abc import Callable

import pytest
from deploys import DEPLOY
from generation import WITHOUT_FACTORS, Project

Generate = Callable[..., Project]

QUICK = {"PYTEST_ADDOPTS": f"{WITHOUT_FACTORS['PYTEST_ADDOPTS']} -q -p no:cacheprovider"}


@pytest.fixture
def with_token(generate: Generate) -> Project:
    """A project to which the first half of the README's "Add a token" was done: the line in settings.py."""
    project = generate()
    line, _ = recipe(project)
    project.edit("config/settings.py", "env.verify()", f"{line}env.verify()")
    return project


def recipe(project: Project) -> tuple[str, str]:
    """Return the two lines of the README's "Add a token"."""
    text = (project.path / "README.md").read_text().partition("### Add a token")[2].partition("\n#")[0]
    (line,) = re.findall(r"`([A-Z_]+ = env\..*?)`", text)
    (example,) = re.findall(r"`([A-Z_]+=.*?)`", text)
    return f"{line}\n", f"{example}\n"


def test_a_missing_token_is_named_at_start(with_token):
    result = with_token.manage("check", **DEPLOY)
    assert result.returncode != 0
    assert "  STRIPE_SECRET_KEY is missing. Example: STRIPE_SECRET_KEY=" in result.stderr


@pytest.mark.slow
def test_a_token_needs_its_line_in_the_example_and_no_other(with_token):
    forgotten = with_token.run("pytest", "tests/test_contract.py", **QUICK, STRIPE_SECRET_KEY="sk_test_1")
    assert forgotten.returncode == 1
    assert "STRIPE_SECRET_KEY" in forgotten.stdout
    with (with_token.path / ".env.example").open("a") as example:
        example.write(f"\n{recipe(with_token)[1]}")
    result = with_token.run("pytest", **QUICK)
    assert result.returncode == 0, result.stdout
    collect = "set -a; . ./.env.example; python manage.py collectstatic --noinput"
    assert with_token.run("sh", "-c", collect).returncode == 0, "a build takes placeholders from there"


def test_the_code_is_typed_strictly(generate: Generate):
    project = generate(media_storage="s3")
    result = project.run("mypy", "--strict", "--allow-subclassing-any", ".", **project.dotenv)
    assert result.returncode == 0, result.stdout


APP = {
    "__init__.py": "",
    "migrations/__init__.py": "",
    "models.py": """from django.db import models


class Post(models.Model):
    title = models.CharField(max_length=100)

    class Meta:
        ordering = ["title"]

    def __str__(self):
        return self.title
""",
    "admin.py": """from django.contrib import admin

from blog.models import Post


@admin.register(Post)
class PostAdmin(admin.ModelAdmin):
    list_display = ["title"]
""",
    "tests/__init__.py": "",
    "tests/test_models.py": """import pytest
from django.contrib.auth import get_user_model

from blog.models import Post


@pytest.mark.django_db
def test_posts_are_in_order():
    Post.objects.create(title="b")
    Post.objects.create(title="a")
    assert [post.title for post in Post.objects.all()] == ["a", "b"]


def test_passwords_are_hashed_fast():
    user = get_user_model()(username="ada")
    user.set_password("a-long-password")
    assert user.password.startswith("md5$")
""",
}


@pytest.mark.slow
def test_an_app_written_as_django_does_is_linted_typed_and_tested(generate: Generate):
    project = generate()
    for name, text in APP.items():
        (project.path / "blog" / name).parent.mkdir(parents=True, exist_ok=True)
        (project.path / "blog" / name).write_text(text)
    project.edit("config/settings.py", '    "accounts",\n', '    "accounts",\n    "blog",\n')
    assert project.manage("makemigrations", "blog").returncode == 0
    for command in ("ruff check", "ruff format --check"):
        result = project.run(*command.split(), "--no-cache")
        assert result.returncode == 0, result.stdout
    typed = project.run("mypy", ".", **project.dotenv)
    assert typed.returncode == 0, typed.stdout
    result = project.run("pytest", "blog", **QUICK)
    assert result.returncode == 0, result.stdout
    project.edit("blog/tests/test_models.py", '== ["a", "b"]', '== ["b", "a"]')
    # What `startapp` makes is collected too.
    (project.path / "accounts/tests.py").write_text("def test_it():\n    assert False\n")
    result = project.run("pytest", "blog", "accounts", **QUICK)
    everything = project.run("pytest", "--collect-only", **QUICK)
    assert "2 failed, 1 passed" in result.stdout
    assert {"blog/tests/test_models.py", "accounts/tests.py"} <= {*re.findall(r"(?m)^[^:\n]+", everything.stdout)}


def test_what_people_upload_is_no_test(generate: Generate):
    project = generate()
    for directory in ("media", "mail", "staticfiles"):
        (project.path / directory).mkdir()
        (project.path / directory / "test_upload.py").write_text("raise SystemExit(1)\n")
    assert project.run("pytest", "--collect-only", **QUICK).returncode == 0


@pytest.mark.slow
def test_without_the_starter_page_no_test_needs_an_edit(generate: Generate):
    project = generate()
    shutil.rmtree(project.path / "pages")
    shutil.rmtree(project.path / "templates/pages")
    project.edit("config/settings.py", '    "pages",\n', "")
    project.edit("config/urls.py", '    path("", include("pages.urls")),\n', "")
    result = project.run("pytest", **QUICK)
    assert result.returncode == 0, result.stdout


def test_what_a_deploy_writes_next_to_the_code_is_nothing_for_git(generate: Generate):
    project = generate()
    written = """.coverage .mypy_cache/a db.sqlite3 db.sqlite3-wal other.sqlite3 htmlcov/index.html mail/1.log
        media/a.png node_modules/a/index.js staticfiles/a.css"""
    for name in written.split():
        (project.path / name).parent.mkdir(parents=True, exist_ok=True)
        (project.path / name).write_text("")
    result = project.run("git", "status", "--porcelain", "--untracked-files=all")
    assert (result.returncode, [line for line in result.stdout.splitlines() if line[3:] in written]) == (0, [])
