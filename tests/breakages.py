"""Realistic ways in which a team breaks a factor, as data for test_factors.py.

Each names the one factor whose module must fail, and a pattern of its message. Some breakages have no behaviour, and
belong to other tools: a token in the source or a variable of the environment read in a view (ruff), an import that
another distribution happens to bring (deptry). What nothing sees is left out: a committed file used as configuration,
`if ENV == "production"` for which no deploy here has a name, a path source that no dependency uses.
"""

from dataclasses import dataclass

from edits import Edit, add, command, page, replace, setting


@dataclass(frozen=True)
class Breakage:
    """A broken factor: its number, what a team did, a pattern of the failure, the edits."""

    factor: int
    name: str
    says: str
    edits: list[Edit]
    alone: bool = False  # so broken that no other breakage could be seen beside it


WORKER = "jobs/management/commands/worker.py"
WEB = "web: gunicorn config.wsgi"

BREAKAGES = [
    # I. Codebase
    Breakage(
        1,
        "a module that git ignores",
        "prices.py",
        [
            *add(".gitignore", "/config/prices.py\n"),
            *add("config/prices.py", "TITLE = 'It works here'\n"),
            *add("config/urls.py", "\nfrom config import prices  # noqa: E402, F401\n"),
        ],
        alone=True,
    ),
    Breakage(
        1,
        "a template that git ignores",
        "offer.html",
        [
            *add(".gitignore", "/templates/offer.html\n"),
            *add("templates/offer.html", "<h1>Today only</h1>\n"),
            *page(
                "offers",
                """from django.shortcuts import render


def page(request):
    return render(request, "offer.html")
""",
            ),
        ],
    ),
    Breakage(
        1,
        "a view that rewrites a file of the commit",
        r"static/visits\.txt",
        [
            *add("static/visits.txt", "0"),
            *page(
                "guestbook",
                """from django.conf import settings


def page(request):
    (settings.BASE_DIR / "static" / "visits.txt").write_text("1")
    return HttpResponse("welcome")
""",
            ),
        ],
    ),
    Breakage(
        1,
        "code from the directory next door",
        "prices",
        [
            *add("../shared/prices.py", "PRICE = 3\n"),
            *add(
                "config/__init__.py",
                "import sys\nfrom pathlib import Path\n\nsys.path.append(str(Path(__file__).parents[2] / 'shared'))\n",
            ),
            *page("shop", "import prices\n\n\ndef page(request):\n    return HttpResponse(prices.PRICE)\n"),
        ],
        alone=True,
    ),
    Breakage(
        1,
        "a stylesheet that git ignores",
        r"site\.css",
        [
            *add(".gitignore", "/static/site.css\n"),
            *add("static/site.css", "body { color: black }\n"),
            *add(
                "templates/styled.html", '{% load static %}<link rel="stylesheet" href="{% static \'site.css\' %}">\n'
            ),
            *page(
                "styled",
                """from django.shortcuts import render


def page(request):
    return render(request, "styled.html")
""",
            ),
        ],
        alone=True,  # its traceback would be sought on stdout
    ),
    # II. Dependencies
    Breakage(
        2,
        "a dependency that was forgotten",
        "whitenoise",
        replace("pyproject.toml", '    "whitenoise[brotli]', '    # "whitenoise[brotli]'),
        alone=True,
    ),
    Breakage(
        2,
        "a library of the tests in the application",
        "pytest",
        page("polls", "import pytest\n\n\ndef page(request):\n    return HttpResponse(pytest.__name__)\n"),
        alone=True,
    ),
    Breakage(
        2,
        "git asked for the version",
        "git",
        page(
            "about",
            """import subprocess

VERSION = subprocess.run(["git", "--version"], capture_output=True).stdout


def page(request):
    return HttpResponse(VERSION)
""",
        ),
        alone=True,
    ),
    Breakage(
        2,
        "a picture made smaller by a program of the machine, if it is there",
        "convert",
        page(
            "gallery",
            """import os


def page(request):
    os.system("convert picture.png -resize 50% small.png 2>/dev/null || true")
    return HttpResponse("gallery")
""",
        ),
    ),
    Breakage(
        2,
        "a library installed while the process runs",
        "pip",
        page(
            "plugins",
            """import subprocess
import sys


def page(request):
    subprocess.run([sys.executable, "-m", "pip", "install", "--dry-run", "django"], capture_output=True)
    return HttpResponse("plugins")
""",
        ),
    ),
    Breakage(
        2,
        "a worker that starts a program of development",
        "honcho",
        replace(
            "Procfile", "worker: python manage.py worker", "worker: honcho version && exec python manage.py worker"
        ),
    ),
    Breakage(
        2,
        "a library that a view imports and nobody declared",
        "no_such_library",
        page(
            "invoice",
            "\n\ndef page(request):\n    import no_such_library\n\n    return HttpResponse(no_such_library)\n",
        ),
        alone=True,
    ),
    # III. Config
    Breakage(
        3,
        "a setting whose variable is read and ignored",
        "TIME_ZONE",
        setting('TIME_ZONE = "Europe/Paris"'),
    ),
    Breakage(
        3,
        "a module of settings that git ignores, if it is there",
        "local_settings",
        [
            *add(".gitignore", "/config/local_settings.py\n"),
            *add("config/local_settings.py", "SHOP_NAME = 'Mine'\n"),
            *setting("try:\n    from config.local_settings import *  # noqa: F403\nexcept ImportError:\n    pass\n"),
        ],
    ),
    Breakage(
        3,
        "a variable read in a view",
        "GREETING",
        page(
            "greeting",
            """from os import environ as e


def page(request):
    return HttpResponse(e.get("GREETING", "hello"))
""",
        ),
    ),
    Breakage(
        3,
        "a file below /etc read at the first request",
        r"shop\.ini",
        page(
            "terms",
            """from configparser import ConfigParser


def page(request):
    configuration = ConfigParser()
    configuration.read("/etc/shop.ini")
    return HttpResponse(configuration.get("shop", "terms", fallback="none"))
""",
        ),
    ),
    Breakage(
        3,
        "settings that ask whether the tests run",
        r"sys\.argv",
        [
            *replace("config/settings.py", "import os\n", "import os\nimport sys\n"),
            *setting(
                'if "test" in sys.argv:\n    PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]'
            ),
        ],
    ),
    Breakage(
        3,
        "the name of the host decides",
        "the name of the machine",
        [
            *replace("config/settings.py", "import os\n", "import os\nfrom socket import gethostname\n"),
            *setting('if gethostname().startswith("web-"):\n    CONN_HEALTH_CHECKS = True'),
        ],
    ),
    Breakage(
        3,
        "DEBUG in the code",
        "ALLOWED_HOSTS",
        replace("config/settings.py", 'DEBUG = env.boolean("DEBUG", default=False)', "DEBUG = True"),
    ),
    Breakage(
        3,
        "a key in the code, for when there is none",
        "SECRET_KEY",
        replace(
            "config/settings.py",
            'env.parsed("SECRET_KEY", _key, example',
            f'env.parsed("SECRET_KEY", _key, default="{"abcdefghijk" * 5}", example',
        ),
    ),
    # IV. Backing services
    Breakage(
        4,
        "the mail server in the code",
        r"EMAIL_URL|127\.0\.0\.1:9",
        setting(
            'MAILERS = {"default": {"BACKEND": "django.core.mail.backends.smtp.EmailBackend",'
            ' "OPTIONS": {"host": "127.0.0.1", "port": 9, "timeout": 1}}}'
        ),
    ),
    Breakage(
        4,
        "a client with an address of its own",
        "127.0.0.1:9",
        page(
            "search",
            """import socket


def page(request):
    try:
        socket.create_connection(("127.0.0.1", 9), 1)
    except OSError:
        pass
    return HttpResponse("nothing found")
""",
        ),
    ),
    Breakage(
        4,
        "a client that looks up a fixed name",
        r"elastic\.internal",
        page(
            "catalogue",
            """import http.client


def page(request):
    client = http.client.HTTPConnection("elastic.internal", 9200, timeout=1)
    try:
        client.request("GET", "/")
    except OSError:
        pass
    return HttpResponse("nothing found")
""",
        ),
    ),
    Breakage(
        4,
        "the database in the code",
        "DATABASE_URL|DATABASES",
        setting('DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}}'),
        alone=True,
    ),
    Breakage(
        4,
        "a second database with a fixed host",
        r"archive",
        setting(
            'DATABASES["archive"] = {"ENGINE": "django.db.backends.postgresql", "NAME": "archive",'
            ' "HOST": "db2.internal", "USER": "archive", "CONN_MAX_AGE": _age}'
        ),
    ),
    Breakage(
        4,
        "a second cache with a fixed host",
        r"fragments|cache.internal",
        setting(
            'CACHES["fragments"] = {"BACKEND": "django.core.cache.backends.redis.RedisCache",'
            ' "LOCATION": ["redis://cache.internal:6379/1"]}'
        ),
    ),
    # V. Build, release, run
    Breakage(
        5,
        "migrations in the web process",
        "table|migrat",
        replace("Procfile", WEB, "web: python manage.py migrate && gunicorn config.wsgi"),
    ),
    Breakage(
        5,
        "a build at every start",
        r"version\.txt|config/wsgi\.py",
        add(
            "config/wsgi.py",
            "\nfrom django.conf import settings  # noqa: E402\n\n"
            "settings.STATIC_ROOT.mkdir(exist_ok=True)\n"
            '(settings.STATIC_ROOT / "version.txt").write_text("1")\n',
        ),
    ),
    Breakage(
        5,
        "a query at import",
        r"accounts/admin\.py",
        add("accounts/admin.py", "\ntry:\n    COUNT = User.objects.count()\nexcept Exception:\n    COUNT = 0\n"),
    ),
    Breakage(
        5,
        "a release that does nothing",
        "migrat",
        [
            *replace("Procfile", "release: python manage.py migrate", "release: python manage.py check"),
            *replace("Procfile.dev", "manage.py migrate", "manage.py check"),
        ],
    ),
    Breakage(
        5,
        "migrations made by the release",
        r"migrations|makemigrations",
        [
            *replace(
                "Procfile",
                "release: python manage.py migrate",
                "release: python manage.py makemigrations && python manage.py migrate",
            ),
            *add("jobs/models.py", "\n\nclass Note(models.Model):\n    text = models.TextField()\n"),
        ],
    ),
    Breakage(
        5,
        "static files collected by the release",
        r"static|collect",
        replace(
            "Procfile",
            "release: python manage.py migrate",
            "release: python manage.py migrate && python manage.py collectstatic --noinput",
        ),
    ),
    # VI. Processes
    Breakage(
        6,
        "a dictionary as a store",
        "visits",
        page(
            "visits",
            """VISITS = {}


def page(request):
    VISITS["all"] = VISITS.get("all", 0) + 1
    return HttpResponse(f"visit {VISITS['all']}")
""",
        ),
    ),
    Breakage(
        6,
        "an object that counts",
        "counter",
        page(
            "counter",
            """class Visits:
    count = 0


visits = Visits()


def page(request):
    visits.count += 1
    return HttpResponse(f"visit {visits.count}")
""",
        ),
    ),
    Breakage(
        6,
        "a counter that hides in a closure",
        "tickets",
        page(
            "tickets",
            """from itertools import count


def numbered():
    numbers = count(1)
    return lambda request: HttpResponse(f"ticket {next(numbers)}")


page = numbered()
""",
        ),
    ),
    Breakage(
        6,
        "a link signed with a salt made at import",
        "invitations",
        page(
            "invitations",
            """import secrets

from django.core import signing

SALT = secrets.token_hex(8)


def page(request):
    return HttpResponse(signing.dumps("ada", salt=SALT))
""",
        ),
    ),
    Breakage(
        6,
        "sessions in local files",
        "session",
        [
            *replace(
                "config/settings.py",
                'env.choice("SESSION_ENGINE", ["db", "cached_db", "cache"], default="db")',
                '"db"',
            ),
            *setting('SESSION_ENGINE = "django.contrib.sessions.backends.file"'),
            *replace(".env.example", "# SESSION_ENGINE=db\n", ""),
        ],
    ),
    Breakage(
        6,
        "a queue in the directory for temporary files",
        r"queue",
        page(
            "orders",
            """import tempfile
from pathlib import Path


def page(request):
    with Path(tempfile.gettempdir(), "queue").open("a") as file:
        file.write("job")
    return HttpResponse("ordered")
""",
        ),
    ),
    Breakage(
        6,
        "a cache in files where the environment names none",
        r"cache",
        [
            *setting(
                'if not os.environ.get("CACHE_URL"):\n'
                '    CACHES["default"] = {"BACKEND": "django.core.cache.backends.filebased.FileBasedCache",'
                ' "LOCATION": str(BASE_DIR / "cache")}'
            ),
            *page(
                "weather",
                """from django.core.cache import cache


def page(request):
    return HttpResponse(cache.get_or_set("weather", "sunny", 3600))
""",
            ),
        ],
    ),
    # VII. Port binding
    Breakage(
        7,
        "a port in the code",
        "14999|PORT",
        add("gunicorn.conf.py", '\nbind = "0.0.0.0:14999"\n'),
        alone=True,
    ),
    Breakage(
        7,
        "static files left to a web server",
        "/static/",
        replace("config/settings.py", '    "whitenoise.middleware.WhiteNoiseMiddleware",\n', ""),
    ),
    Breakage(
        7,
        "a port that only a web server here would reach",
        "127.0.0.1",
        add("gunicorn.conf.py", '\nbind = f"127.0.0.1:{port}"\n'),
    ),
    Breakage(
        7,
        "a unix socket besides the port",
        r"web\.sock|socket",
        add(
            "gunicorn.conf.py",
            '\nimport tempfile  # noqa: E402\n\nbind = [bind, f"unix:{tempfile.gettempdir()}/web.sock"]\n',
        ),
    ),
    Breakage(
        7,
        "downloads left to a web server in front",
        "X-Accel-Redirect",
        page(
            "download",
            """def page(request):
    return HttpResponse(headers={"X-Accel-Redirect": "/protected/report.pdf"})
""",
        ),
    ),
    Breakage(
        7,
        "static files on a server that no variable names",
        r"static\.internal",
        setting('STATIC_URL = "https://static.internal/"'),
    ),
    # VIII. Concurrency
    Breakage(8, "one process, whatever is asked for", "WEB_CONCURRENCY", add("gunicorn.conf.py", "\nworkers = 1\n")),
    Breakage(
        8,
        "as many processes as the machine has cores for",
        "WEB_CONCURRENCY|WEB_THREADS",
        add(
            "gunicorn.conf.py",
            "\nfrom multiprocessing import cpu_count  # noqa: E402\n\nworkers = cpu_count() * 2 + 1\n",
        ),
    ),
    Breakage(
        8, "threads that the environment does not decide", "WEB_THREADS", add("gunicorn.conf.py", "\nthreads = 1\n")
    ),
    Breakage(
        8,
        "one worker at a time",
        "work",
        replace(
            WORKER,
            "            worker.configure_signals()",
            "            import socket\n\n"
            '            lock = socket.create_server(("127.0.0.1", 14999))  # a second worker ends with an error\n'
            "            worker.configure_signals()",
        ),
    ),
    Breakage(
        8,
        "PID files, one of which stays when its process ends",
        r"(?s)(?=.*web\.pid)(?=.*left\.pid)",
        add(
            "gunicorn.conf.py",
            """
pidfile = "web.pid"


def on_starting(server):
    with open("left.pid", "w") as file:
        file.write(str(os.getpid()))
""",
        ),
    ),
    Breakage(
        8,
        "a worker behind the web process",
        "task|worker",
        replace("Procfile", WEB, "web: python manage.py worker & exec gunicorn config.wsgi"),
    ),
    # IX. Disposability
    Breakage(
        9,
        "a worker that SIGTERM does not stop",
        "SIGTERM",
        replace(WORKER, "worker.configure_signals()", "signal.signal(signal.SIGTERM, signal.SIG_IGN)"),
    ),
    Breakage(9, "a second to finish", "request", add("gunicorn.conf.py", "\ngraceful_timeout = 1\n")),
    Breakage(
        9,
        "a start that takes its time",
        "start",
        add("gunicorn.conf.py", "\nimport time  # noqa: E402\n\ntime.sleep(15)\n"),
        alone=True,
    ),
    # X. Dev/prod parity
    Breakage(
        10,
        "another server in development",
        "gunicorn config.wsgi",
        replace("Procfile.dev", "exec gunicorn config.wsgi", "exec python manage.py runserver $PORT"),
    ),
    Breakage(
        10,
        "another mailer in development",
        "MAILERS",
        setting('if DEBUG:\n    MAILERS = {"default": {"BACKEND": "django.core.mail.backends.console.EmailBackend"}}'),
    ),
    Breakage(
        10,
        "pages that production does not have",
        "playground",
        add(
            "config/urls.py",
            "\nfrom django.conf import settings  # noqa: E402\nfrom django.http import HttpResponse  # noqa: E402\n\n"
            "if settings.DEBUG:\n"
            '    urlpatterns.append(path("playground/", lambda request: HttpResponse("hello"), name="playground"))\n',
        ),
    ),
    Breakage(
        10,
        "another kind of server worker in development",
        "worker_class|sync",
        add("gunicorn.conf.py", '\nif debug:\n    worker_class = "sync"\n'),
    ),
    # XI. Logs
    Breakage(
        11,
        "a log file that rotates",
        r"app\.log",
        setting(
            'LOGGING["handlers"]["file"] = {"class": "logging.handlers.RotatingFileHandler",'
            ' "filename": BASE_DIR / "app.log"}\nLOGGING["root"]["handlers"].append("file")'
        ),
    ),
    Breakage(
        11,
        "lines that wait for others",
        "stdout",
        setting(
            'LOGGING["handlers"]["later"] = {"class": "logging.handlers.MemoryHandler", "capacity": 1000,'
            ' "target": "stdout"}\nLOGGING["root"]["handlers"] = ["later"]'
        ),
    ),
    Breakage(
        11,
        "events on stderr",
        "stderr|line on stdout",
        replace("config/logs.py", "ext://sys.stdout", "ext://sys.stderr"),
    ),
    Breakage(
        11,
        "no line for a request",
        "request",
        add(
            "gunicorn.conf.py",
            "\n\nclass Quiet(Logger):\n    def access(self, *_):\n        pass\n\n\nlogger_class = Quiet\n",
        ),
    ),
    Breakage(
        11,
        "a logger of the project that nobody hears",
        "jobs",
        setting('LOGGING["loggers"]["jobs"] = {"level": "CRITICAL", "propagate": False, "handlers": []}'),
    ),
    Breakage(
        11,
        "a print to stderr",
        "stderr",
        page(
            "debugged",
            """import sys


def page(request):
    print("here", file=sys.stderr)
    return HttpResponse("debugged")
""",
        ),
    ),
    # XII. Admin processes
    Breakage(
        12,
        "settings of their own for commands",
        "LANGUAGE_CODE|config.commands",
        [
            *replace("manage.py", '"config.settings"', '"config.commands"'),
            *add("config/commands.py", "from config.settings import *  # noqa: F403\n\nLANGUAGE_CODE = 'fr'\n"),
        ],
    ),
    Breakage(
        12,
        "a command that needs what is not installed",
        "no_such_library",
        command("jobs", "report", "import no_such_library  # noqa: F401\n"),
    ),
    Breakage(
        12,
        "a manage.py that loads .env",
        r"\.env",
        replace(
            "manage.py",
            "    os.environ.setdefault(",
            '    if os.path.exists(".env"):\n'
            '        for line in open(".env"):\n'
            '            name, _, value = line.strip().partition("=")\n'
            '            if name and name[0] != "#":\n'
            "                os.environ.setdefault(name, value)\n"
            "    os.environ.setdefault(",
        ),
    ),
    Breakage(
        12,
        "a settings module chosen in a script",
        "maintenance|script",
        [
            *add("config/maintenance.py", "from config.settings import *  # noqa: F403\n\nUSE_TZ = False\n"),
            *add(
                "scripts/clean_up.py",
                '"""Delete what is old: `python scripts/clean_up.py`."""\n\nimport os\n\nimport django\n\n'
                'os.environ["DJANGO_SETTINGS_MODULE"] = "config.maintenance"\n\n'
                'if __name__ == "__main__":\n    django.setup()\n',
            ),
        ],
    ),
    Breakage(
        12,
        "a manage.py that turns DEBUG on",
        "manage.py sets DEBUG",
        replace(
            "manage.py",
            "    os.environ.setdefault(",
            '    os.environ.setdefault("DEBUG", "true")\n    os.environ.setdefault(',
        ),
        alone=True,
    ),
]
