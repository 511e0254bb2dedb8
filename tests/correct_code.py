"""Ordinary, correct code that the factors must not complain of, as different teams would have it in one project."""

from edits import add, command, delete, page, replace, setting

# What looks like a deploy's name or like a secret, and is none.
WORDS = [
    *add("production/__init__.py", ""),
    *add("production/migrations/__init__.py", ""),
    *add(
        "production/models.py",
        '''"""What the factory makes."""

from django.db import models


class Piece(models.Model):
    """A piece on its way through the factory."""

    class Stage(models.TextChoices):
        """Where it is."""

        STAGING = "staging"
        PRODUCTION = "production"
        TEST = "test"

    stage = models.CharField(max_length=20, choices=Stage, default=Stage.STAGING)
    qa = models.BooleanField(default=False)

    def __str__(self) -> str:
        """Say where it is."""
        return self.stage


PASSWORD_RESET_TOKEN = "password-reset-token"
GERMAN = {"password": "Passwort", "secret": "Geheimnis", "host": "example.com"}
PUBLISHABLE = "pk_test_TYooMQauvdEDq54NiTphI7jx"
''',
    ),
    *add(
        "production/migrations/0001_initial.py",
        """from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    operations = [
        migrations.CreateModel(
            "Piece",
            [
                (
                    "id",
                    models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
                ),
                (
                    "stage",
                    models.CharField(
                        choices=[("staging", "Staging"), ("production", "Production"), ("test", "Test")],
                        default="staging",
                        max_length=20,
                    ),
                ),
                ("qa", models.BooleanField(default=False)),
            ],
        )
    ]
""",
    ),
    *replace("config/settings.py", '    "pages",\n', '    "pages",\n    "production",\n'),
    *setting(
        'SENTRY_ENVIRONMENT = env.text("SENTRY_ENVIRONMENT", default="production")\n'
        "# Compared as a set, since the order differs from process to process.\n"
        'RESERVED_NAMES = {"staging", "production", "development", "admin", "root", "www"}'
    ),
    *add(".env.example", "\n# What Sentry files errors under.\n# SENTRY_ENVIRONMENT=production\n"),
    *add("production/fixtures/dev.json", '[{"model": "production.piece", "pk": 1, "fields": {"stage": "test"}}]\n'),
    *add(
        "compose.dev.yaml",
        "services:\n  database:\n    image: postgres:18\n    environment:\n      POSTGRES_PASSWORD: development\n",
    ),
    *add(
        "package-lock.json",
        '{"name": "shop", "lockfileVersion": 3, "packages": {"node_modules/htmx.org": {"version": "2.0.4", "integrity":'
        ' "sha512-HLxMCdfXDOJirs3vBZl/ZLoY+c7PfM4Ahr2Ad4YXh6d22T5ltbTXFFkpx9Tgb2vvmWFMbIc3LqN2ToNkZJvyYQ=="}}}\n',
    ),
    *add(
        "Dockerfile.docs",
        "FROM nginx:1.29@sha256:33e0bbc7ca9ecf108140af6288c7c9d1ecc77548cbfd3952fd8466a75edefe57\n",
    ),
    *add("Procfile.dev", 'css: python -c "import threading; threading.Event().wait()"\n'),
    *replace(
        "templates/base.html",
        "<head>",
        '<head>\n  <meta name="google-site-verification" content="kX3pQ9vT0mZ7bL2cN8yR5wE1sD6fG4hJ0aUiOoPqW2e">\n'
        '  <link rel="preload" as="script" href="/static/style.css"'
        ' integrity="sha384-oqVuAfXRKap7fdgcCY5uykM6+R9GqQ8K/uxy9rx7HNQlGYl1kPzQho1wx4JwY8wC">',
    ),
    *command(
        "production",
        "seed",
        '''"""Rows to try things with: `python manage.py seed`."""

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    """Make a user whose password everybody knows."""

    def handle(self, **options: object) -> None:
        """Make the user."""
        get_user_model().objects.create_user("ada", password="demo")
''',
    ),
]

# What looks like state or like a file that stays, and is none.
HABITS = [
    *page(
        "exports",
        '''import csv
import mimetypes
import os
import platform
import tempfile
from pathlib import Path

try:
    import lxml.etree as etree
except ImportError:
    etree = None

EXPORTERS = {}
_client = None


def exporter(function):
    """Register an exporter under its name."""
    EXPORTERS[function.__name__] = function
    return function


class Format:
    """A format knows all formats: each class registers itself."""

    known: list[type] = []
    separator = ","

    def __init_subclass__(cls) -> None:
        Format.known.append(cls)

    def __init__(self, separator: str) -> None:
        self.separator = separator


class Semicolons(Format):
    """What some spreadsheets read."""


class Client:
    """Something that takes long to make, and is the same each time."""

    def rows(self) -> list[list[str]]:
        """Return what is exported."""
        return [["stage", "count"]]


def get_client() -> Client:
    """Return the client, made on first use."""
    global _client
    if _client is None:
        _client = Client()
    return _client


@exporter
def as_csv(path: Path) -> None:
    """Write rows."""
    with path.open("w") as file:
        csv.writer(file, delimiter=Semicolons(";").separator).writerows(get_client().rows())


def page(request):
    """Export what the exporters write, by way of files that are gone afterwards."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "pages.d").mkdir()
        path = Path(directory, "export.csv")
        for export in EXPORTERS.values():
            export(path)
        content = path.read_text()
    with tempfile.NamedTemporaryFile("w", delete=False) as file:
        file.write(content)
    Path(file.name).unlink()
    kind = mimetypes.guess_type("export.csv")[0]
    answer = HttpResponse(f"{content} {len(Format.known)} {kind}", headers={"Cache-Control": "no-store"})
    answer["Server"] = platform.system()
    environment = os.environ.copy()
    assert environment is not None
    return answer
''',
    ),
    *page(
        "documents",
        '''from django import forms
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage


class Upload(forms.Form):
    """A form that a template of the project renders."""

    document = forms.FileField()


def page(request):
    """Write to the storage, wherever that is, and show a form."""
    name = default_storage.save("document.txt", ContentFile(b"first"))
    with default_storage.open(name, "wb") as document:
        document.write(b"second")
    default_storage.delete(name)
    return HttpResponse(Upload().as_p())
''',
    ),
    # A page that writes a file whose place is a variable.
    *page(
        "search",
        '''from django.conf import settings


def page(request):
    """Write the index anew."""
    settings.SEARCH_INDEX.write_text("{}")
    return HttpResponse("done")
''',
    ),
    *setting('SEARCH_INDEX = BASE_DIR / env.text("SEARCH_INDEX")'),
    *add(".env.example", "\n# Where the index of the search lies.\nSEARCH_INDEX=search.json\n"),
    # A page without an end, and one whose address is not ASCII.
    *page(
        "events",
        '''import time

from django.http import StreamingHttpResponse


def stream():
    """Send events as long as somebody listens."""
    while True:
        yield b": still here\\n\\n"
        time.sleep(0.1)


def page(request):
    """Stream events."""
    return StreamingHttpResponse(stream(), content_type="text/event-stream")
''',
    ),
    *add("config/urls.py", '\nurlpatterns.append(path("über uns/", exports.page, name="about"))\n'),
    # A key of which only one form is read, and a file that holds a secret.
    *setting(
        'import base64\n\n_read = lambda value: base64.b64decode(value, validate=True)[9:].index(b"9")\n'
        'FIELD_KEY = env.parsed("FIELD_KEY", _read, example="MDEyMzQ1Njc4OQ==")\n'
        '_file = env.text("SIGNING_KEY_FILE", default="")\nSIGNING_KEY = Path(_file).read_text() if _file else ""'
    ),
    *add(".env.example", "\n# BILLING\n\n# Encrypts fields.\nFIELD_KEY=MDEyMzQ1Njc4OQ==\n"),
    *add(".env.example", "\n# A file with the key for signatures.\n# SIGNING_KEY_FILE=/run/secrets/signing-key\n"),
    *add("static/.gitkeep", ""),
    # Two variables, of which a switch says which one is used.
    *setting(
        '_live, _test = env.text("STRIPE_LIVE_KEY", default=""), env.text("STRIPE_TEST_KEY", default="")\n'
        'STRIPE_KEY = _live if env.boolean("STRIPE_LIVE_MODE", default=False) else _test'
    ),
    *add(".env.example", "\n# Who pays for real, and who for a test.\nSTRIPE_LIVE_MODE=false\n"),
    *add(".env.example", "# STRIPE_LIVE_KEY=pk_live_1\n# STRIPE_TEST_KEY=pk_test_1\n"),
    *replace("config/settings.py", '    "pages",\n', '    "pages",\n    "exports",\n    "django.forms",\n'),
    *setting('FORM_RENDERER = "django.forms.renderers.TemplatesSetting"'),
    *command(
        "exports",
        "export",
        '''"""`python manage.py export --to FILE`."""

from argparse import ArgumentParser
from pathlib import Path

from django.core.management.base import BaseCommand

from exports.views import as_csv


class Command(BaseCommand):
    """Write where the option says."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the option."""
        parser.add_argument("--to", type=Path, required=True)

    def handle(self, *, to: Path, **options: object) -> None:
        """Write."""
        as_csv(to)
''',
    ),
]

# Libraries: Django REST framework, whose browsable pages use pygments if it is there, and Sentry, which asks the
# platform, the environment and the name of the host.
LIBRARIES = [
    *replace(
        "pyproject.toml",
        "dependencies = [\n",
        'dependencies = [\n    "djangorestframework>=3.16",\n    "sentry-sdk>=2.0",\n',
    ),
    *page(
        "api",
        '''from rest_framework.response import Response
from rest_framework.views import APIView


class Pieces(APIView):
    """An answer that browsers see as a page."""

    def get(self, request, format=None):
        """Return the pieces."""
        return Response({"pieces": []})


page = Pieces.as_view()
''',
    ),
    *replace("config/settings.py", '    "pages",\n', '    "pages",\n    "rest_framework",\n    "api",\n'),
    *replace("config/settings.py", "from django.utils.csp", "import sentry_sdk\nfrom django.utils.csp"),
    *setting('SENTRY_DSN = env.text("SENTRY_DSN", default="")\nsentry_sdk.init(dsn=SENTRY_DSN)'),
    *add(".env.example", "\n# Where errors are reported.\n# SENTRY_DSN=https://key@errors.example.com/1\n"),
]

# Pages and users of its own: those of the template are deleted, and uploads are nobody's to see.
WITHOUT_THE_EXAMPLES = [
    *delete("pages", "accounts", "templates/pages", "config/urls.py"),
    *add(
        "config/urls.py",
        '''"""Which view answers which address."""

from django.http import HttpRequest, HttpResponse
from django.urls import path


def closed(request: HttpRequest) -> HttpResponse:
    """Say that the site is closed, also before a process was killed."""
    return HttpResponse("We open tomorrow", status=503)


urlpatterns = [path("", closed, name="home")]
''',
    ),
    *replace("config/settings.py", '    "django.contrib.admin",\n', ""),
    *replace("config/settings.py", '    "accounts",\n', ""),
    *replace("config/settings.py", '    "pages",\n', ""),
    *replace("config/settings.py", 'AUTH_USER_MODEL = "accounts.User"\n', ""),
]

# Data moved row by row, as in a table of some size.
LONG_MIGRATION = add(
    "jobs/migrations/0002_backfill.py",
    """import time

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("jobs", "0001_initial")]
    operations = [migrations.RunPython(lambda apps, schema_editor: time.sleep(65))]
""",
)


# What a team allows itself in [tool.factors]: the name of the commit, asked of git.
GIT_VERSION = page(
    "about",
    """import subprocess

VERSION = subprocess.run(["git", "--version"], capture_output=True).stdout


def page(request):
    return HttpResponse(VERSION)
""",
)

# A build that cannot succeed, and notes each time it is tried.
FULL_DISK = """from pathlib import Path

from django.contrib.staticfiles.finders import FileSystemFinder


class FullDisk(FileSystemFinder):
    def list(self, ignore_patterns):
        with Path({tries!r}).open("a") as file:
            file.write("tried\\n")
        raise OSError("the disk is full")
"""
