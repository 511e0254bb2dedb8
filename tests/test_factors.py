"""The tests of the twelve factors in a generated project can fail, each for its own factor.

That they pass in a project as it was generated is shown by test_generation.py, for each answer.

A mutation is a realistic way in which a team breaks a factor. It is applied to a generated
project, all twelve modules run there, and exactly the expected ones fail, in words that name the
factor and the cause.

All twelve take half a minute, so mutations that are expected to fail different factors share a
project: what one of them breaks besides shows in a factor that none is meant to break.
EACH_ALONE=1 in the environment gives each a project of its own.
"""

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from generation import PROJECT_DIRECTORY, TEMPLATE, Project

FACTORS = TEMPLATE / PROJECT_DIRECTORY / "tests" / "factors"
NUMERALS = "I II III IV V VI VII VIII IX X XI XII".split()


@dataclass
class Mutation:
    """A broken factor: what is edited, which factors' modules fail for it, and what they say."""

    name: str
    fails: set[int]
    says: str
    replace: list[tuple[str, str, str]] = field(default_factory=list)  # file, old, new
    append: dict[str, str] = field(default_factory=dict)
    only: str = ""  # the one test to run, where all would take minutes

    def apply(self, project: Path) -> None:
        """Edit a project."""
        for name, old, new in self.replace:
            text = (project / name).read_text()
            assert old in text, f"{self.name}: {name} has changed: {old!r}"
            (project / name).write_text(text.replace(old, new))
        for name, text in self.append.items():
            (project / name).parent.mkdir(parents=True, exist_ok=True)
            with (project / name).open("a") as file:
                file.write(text)


VIEW = "    context = {}\n"
WEB = "web: gunicorn config.wsgi"
# In parts, so that nobody's scanner takes it for a real one.
TOKEN = "sk_" + "live_" + "51H8xQ2eZvKYlo2C0aBcDeFgH"
# What cannot be seen where no web process answers.
NEEDS_WEB = {1, 2, 4, 5, 6, 7, 8, 9, 10, 11}

MUTATIONS = [
    Mutation(
        "a module that git ignores",
        {1},
        "I Codebase: a checkout of the commit alone does not run: git does not hold config/local.py",
        append={
            ".gitignore": "/config/local.py\n",
            "config/local.py": "TITLE = 'It works here'\n",
            "config/urls.py": "\nfrom config import local  # noqa: E402, F401\n",
        },
    ),
    Mutation(
        "a view that rewrites a file of the commit",
        {1},
        r"I Codebase: a file of the commit changed while the processes ran: "
        r"static/visits.txt was written by pages/views",
        replace=[
            (
                "pages/views.py",
                VIEW,
                VIEW + "    (settings.BASE_DIR / 'static' / 'visits.txt').write_text('1')\n",
            )
        ],
        append={"static/visits.txt": "0"},
    ),
    Mutation(
        "code from the directory next door",
        {1},
        "I Codebase: pyproject.toml takes shared from a path outside",
        append={"pyproject.toml": '\n[tool.uv.sources]\nshared = { path = "../shared" }\n'},
    ),
    Mutation(
        "an import that another distribution happens to bring",
        {2},
        "II Dependencies: not declared in the dependencies of pyproject.toml: pages/views.py:3 imports sqlparse",
        replace=[
            (
                "pages/views.py",
                "from django.conf",
                "import sqlparse  # noqa: F401\nfrom django.conf",
            )
        ],
    ),
    Mutation(
        "a dependency that was forgotten",
        {2},
        r"II Dependencies: loaded, but no dependency of pyproject.toml brings it: .*whitenoise",
        replace=[("pyproject.toml", '    "whitenoise[brotli]', '    # "whitenoise[brotli]')],
    ),
    Mutation(
        "git asked for the version",
        {2},
        r"II Dependencies: a tool of the system is no declared dependency: "
        r"pages/views.py:\d+ calls subprocess.run\(\['git'",
        append={"pages/views.py": '\nVERSION = subprocess.run(["git", "--version"], capture_output=True).stdout\n'},
        replace=[("pages/views.py", "from django.conf", "import subprocess\n\nfrom django.conf")],
    ),
    Mutation(
        "DEBUG in the code",
        {3},
        "III Config: DEBUG.* in the environment changes nothing: the code decides it",
        replace=[("config/settings.py", 'DEBUG = env.boolean("DEBUG", default=False)', "DEBUG = True")],
    ),
    Mutation(
        "a key in the code, for when there is none",
        {3},
        "III Config: it starts without SECRET_KEY",
        replace=[
            (
                "config/settings.py",
                'env.parsed("SECRET_KEY", _key, example',
                f'env.parsed("SECRET_KEY", _key, default="{"abcde" * 10}", example',
            )
        ],
    ),
    Mutation(
        "the name of a deploy",
        {3},
        r"III Config: the name of a deploy decides.* config/settings.py:\d+ has 'production'",
        replace=[
            (
                "config/settings.py",
                "env.verify()",
                'if os.environ.get("ENV") == "production":\n    X = 1\nenv.verify()',
            )
        ],
    ),
    Mutation(
        "a file of settings next to the code",
        {3},
        "III Config: configuration comes from a file and not from the environment: "
        "config/settings.py:.* reads app.json",
        replace=[
            (
                "config/settings.py",
                "env.verify()",
                'TITLE = (BASE_DIR / "app.json").read_text()\nenv.verify()',
            )
        ],
        append={"app.json": '"Title"'},
    ),
    Mutation(
        "a token in the repository",
        {3},
        r"III Config: secrets in the repository: pages/views.py:\d+ a token",
        append={"pages/views.py": f'\nPAYMENTS = "{TOKEN}"\n'},
    ),
    Mutation(
        "the mail server in the code",
        {4},
        "IV Backing services: EMAIL_URL in the environment does not say where mail goes",
        replace=[
            (
                "config/settings.py",
                "\nDEFAULT_FROM",
                '\nMAILERS = {"default": services.mail("console://").setting}\nDEFAULT_FROM',
            )
        ],
    ),
    Mutation(
        "a client with an address of its own",
        {4},
        r"IV Backing services: .* pages/views.py:\d+ to 127.0.0.1:9",
        replace=[
            (
                "pages/views.py",
                VIEW,
                VIEW
                + "    try:\n"
                + '        socket.create_connection(("127.0.0.1", 9), 1)\n'
                + "    except OSError:\n        pass\n",
            ),
            ("pages/views.py", "from django.conf", "import socket\n\nfrom django.conf"),
        ],
    ),
    Mutation(
        "the database in the code",
        {4, 6},  # a file next to the code, which no other machine has
        "IV Backing services: DATABASE_URL in the environment does not say where rows go",
        replace=[
            (
                "config/settings.py",
                "CACHES = {",
                'DATABASES = {"default": databases.database("sqlite:///db.sqlite3").setting}\nCACHES = {',
            )
        ],
    ),
    Mutation(
        "migrations in the web process",
        {5},
        "V Build, release, run: starting the processes made tables, which is the release's part",
        replace=[("Procfile", WEB, "web: python manage.py migrate && gunicorn config.wsgi")],
    ),
    Mutation(
        "a build at every start",
        {5},
        "V Build, release, run: code and static files are the build's, but "
        "staticfiles/version.txt was written by config/wsgi",
        append={
            "config/wsgi.py": "\nfrom django.conf import settings  # noqa: E402\n\n"
            "settings.STATIC_ROOT.mkdir(exist_ok=True)\n"
            '(settings.STATIC_ROOT / "version.txt").write_text("1")\n'
        },
        replace=[("config/wsgi.py", '"""The WSGI', '"""The WSGI')],
    ),
    Mutation(
        "a query at import",
        {5},
        "V Build, release, run: the build needs a database or the network: accounts/admin.py:.* uses .*db.sqlite3",
        append={"accounts/admin.py": "\ntry:\n    COUNT = User.objects.count()\nexcept Exception:\n    COUNT = 0\n"},
    ),
    Mutation(
        "a release that does nothing",
        {5},
        "V Build, release, run: the release of the Procfile leaves migrations unapplied",
        replace=[
            ("Procfile", "release: python manage.py migrate", "release: python manage.py check"),
            ("Procfile.dev", "manage.py migrate", "manage.py check"),
        ],
    ),
    Mutation(
        "a dictionary as a store",
        {6},
        r"VI Processes: state in the memory of one process: pages/views.py:\d+ home\(\) "
        r"keeps VISITS",
        replace=[
            ("pages/views.py", "\n\ndef home", "\n\nVISITS = {}\n\n\ndef home"),
            ("pages/views.py", VIEW, '    VISITS["all"] = VISITS.get("all", 0) + 1\n' + VIEW),
        ],
    ),
    Mutation(
        "an object that counts",
        {6},
        "VI Processes: / is answered from the memory or the disk of one process",
        replace=[
            (
                "pages/views.py",
                "\n\ndef home",
                "\n\nclass Visits:\n    count = 0\n\n\nVISITS = Visits()\n\n\ndef home",
            ),
            (
                "pages/views.py",
                VIEW,
                VIEW + '    VISITS.count += 1\n    context["visits"] = VISITS.count\n',
            ),
            ("templates/pages/home.html", "<h1>It works</h1>", "<h1>It works</h1> {{ visits }}"),
        ],
    ),
    Mutation(
        "sessions in local files",
        {6},
        "VI Processes: a session made in one process is not known to another",
        replace=[
            (
                "config/settings.py",
                'f"django.contrib.sessions.backends.{_sessions}"',
                '"django.contrib.sessions.backends.file"',
            )
        ],
    ),
    Mutation(
        "a queue in the directory for temporary files",
        {6},
        r"VI Processes: state on the local disk, which no other machine has: /\S+/queue "
        r"was written by pages/views.py",
        replace=[
            (
                "pages/views.py",
                VIEW,
                VIEW + '    open(tempfile.gettempdir() + "/queue", "a").write("job\\n")\n',
            ),
            ("pages/views.py", "from django.conf", "import tempfile\n\nfrom django.conf"),
        ],
    ),
    Mutation(
        "a port in the code",
        NEEDS_WEB,
        r"VII Port binding: the web process does not start: see VII Port binding "
        r"\(nothing answers on PORT=\d+, it listens on 14999",
        replace=[("gunicorn.conf.py", 'bind = f"{host}:{port}"', 'bind = f"{host}:14999"')],
    ),
    Mutation(
        "static files left to a web server",
        {7},
        r"VII Port binding: /static/\S+ answers 404: a web server in front would have to serve it",
        replace=[("config/settings.py", '    "whitenoise.middleware.WhiteNoiseMiddleware",\n', "")],
    ),
    Mutation(
        "a port that only a web server here would reach",
        {7},
        "VII Port binding: PORT is bound for this machine alone",
        replace=[("gunicorn.conf.py", 'if debug else "0.0.0.0"', 'if debug else "127.0.0.1"')],
    ),
    Mutation(
        "one process, whatever is asked for",
        {8},
        "VIII Concurrency: WEB_CONCURRENCY=2 does not give two processes on one port",
        append={"gunicorn.conf.py": "\nworkers = 1\n"},
    ),
    Mutation(
        "one worker at a time",
        {8, 9},  # after a SIGKILL the next one waits for a person
        "VIII Concurrency: a process of the formation ended",
        replace=[
            (
                "jobs/management/commands/worker.py",
                "                worker = Worker(",
                "                from jobs.models import Heartbeat\n\n"
                "                if Heartbeat.objects.exists():\n"
                '                    sys.exit("a worker runs already")\n'
                "                worker = Worker(",
            )
        ],
    ),
    Mutation(
        "a PID file",
        {8},
        "VIII Concurrency: .*web.pid|VIII Concurrency: a process of the formation ended",
        append={"gunicorn.conf.py": '\npidfile = "web.pid"\n'},
    ),
    Mutation(
        "a worker that SIGTERM does not stop",
        {9},
        "IX Disposability: the worker process ignores SIGTERM",
        replace=[
            (
                "jobs/management/commands/worker.py",
                "worker.configure_signals()",
                "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
            )
        ],
    ),
    Mutation(
        "no time to finish",
        {9},
        "IX Disposability: SIGTERM cut off the request in flight",
        append={"gunicorn.conf.py": "\ngraceful_timeout = 0\n"},
    ),
    Mutation(
        "a start that takes its time",
        {9},
        r"IX Disposability: the web process takes \d+.\d s to start",
        append={"gunicorn.conf.py": "\nimport time  # noqa: E402\n\ntime.sleep(12)\n"},
        only="test_09_disposability.py::test_the_web_process_starts_within_seconds",
    ),
    Mutation(
        "another server in development",
        {10},
        "X Dev/prod parity: development does not run production's processes: in Procfile.dev web is `.*runserver",
        replace=[("Procfile.dev", "exec gunicorn config.wsgi", "exec python manage.py runserver $PORT")],
    ),
    Mutation(
        "another mailer in development",
        {10},
        "X Dev/prod parity: DEBUG changes more than it may, development has another MAILERS than production",
        replace=[
            (
                "config/settings.py",
                "\nDEFAULT_FROM",
                '\nif DEBUG:\n    MAILERS = {"default": services.mail("console://").setting}\nDEFAULT_FROM',
            )
        ],
    ),
    Mutation(
        "a log file that rotates",
        {11},
        "XI Logs: events belong on stdout, but a log file app.log was written",
        replace=[
            (
                "config/logs.py",
                '        "root": {"handlers": ["stdout"]',
                '        "root": {"handlers": ["stdout", "file"]',
            ),
            (
                "config/logs.py",
                '        "handlers": {\n            "stdout"',
                '        "handlers": {\n            "file": {'
                '"class": "logging.handlers.RotatingFileHandler", "filename": "app.log", '
                '"formatter": format, "filters": [prepare]},\n            "stdout"',
            ),
        ],
    ),
    Mutation(
        "lines that wait for others",
        {11},
        "XI Logs: .* logged nowhere while the process ran",
        replace=[
            (
                "config/logs.py",
                '"handlers": ["stdout"], "level": level',
                '"handlers": ["later"], "level": level',
            ),
            (
                "config/logs.py",
                '        "handlers": {\n            "stdout"',
                '        "handlers": {\n            "later": {'
                '"class": "logging.handlers.MemoryHandler", "capacity": 1000, '
                '"target": "stdout"},\n            "stdout"',
            ),
        ],
    ),
    Mutation(
        "events on stderr",
        {11},
        "XI Logs: a request of the web process is logged on stderr, not on stdout",
        replace=[("config/logs.py", "ext://sys.stdout", "ext://sys.stderr")],
    ),
    Mutation(
        "settings of their own for commands",
        {12},
        "XII Admin processes: one-off commands differ from the web process in .*SETTINGS_MODULE",
        replace=[("manage.py", '"config.settings"', '"config.commands"')],
        append={"config/commands.py": "from config.settings import *  # noqa: F403\n\nLANGUAGE_CODE = 'fr'\n"},
    ),
    Mutation(
        "a command that needs what is not installed",
        {2, 12},
        "XII Admin processes: commands that do not run with the release's code and dependencies: .*no_such_library",
        append={"jobs/management/commands/report.py": "import no_such_library  # noqa: F401\n"},
    ),
]


def factors_of(project: Project, *tests: str) -> tuple[set[int], str]:
    """Run the tests of factors in a project; return the factors that failed, and what was said."""
    selected = tests or ("tests/factors",)
    # Like a user's shell, with lines long enough for whole messages.
    result = project.run(
        *"python -m pytest -q --tb=short -rfE -p no:cacheprovider".split(),
        *selected,
        seconds=600,
        COLUMNS="2000",
    )
    lines = re.findall(r"(?m)^(?:FAILED|ERROR) tests/factors/test_(\d\d)_", result.stdout)
    assert result.returncode in (0, 1), result.stdout + result.stderr
    assert bool(lines) == bool(result.returncode), result.stdout
    return set(map(int, lines)), result.stdout


def modules() -> list[Path]:
    """Return the twelve modules."""
    return sorted(FACTORS.glob("test_*.py"))


def groups() -> list[list[Mutation]]:
    """Return the mutations, together where they are meant to fail different factors."""
    found: list[list[Mutation]] = []
    for mutation in MUTATIONS:
        for group in found:
            taken = set().union(*(other.fails for other in group))
            alone = mutation.only or len(mutation.fails) > 2 or any(o.only or len(o.fails) > 2 for o in group)
            if not alone and not taken & mutation.fails and len(group) < 5 and "EACH_ALONE" not in os.environ:
                group.append(mutation)
                break
        else:
            found.append([mutation])
    return found


@pytest.mark.parametrize("group", groups(), ids=lambda group: ",".join(m.name.replace(" ", "-") for m in group))
def test_a_broken_factor_is_named(group: list[Mutation], generate: Callable[..., Project]) -> None:
    project = generate(database="sqlite")
    for mutation in group:
        mutation.apply(project.path)
    failed, said = factors_of(project, *(f"tests/factors/{mutation.only}" for mutation in group if mutation.only))
    assert failed == set().union(*(mutation.fails for mutation in group)), said
    for mutation in group:
        assert re.search(mutation.says, said), f"{mutation.name}: {mutation.says!r} is not said in\n{said}"
    for number in failed:
        assert re.search(rf"\b{NUMERALS[number - 1]} [A-Z]\w+", said), said


def test_each_factor_is_broken_in_two_ways_at_least() -> None:
    own = [NUMERALS.index(re.match("[IVX]+", mutation.says)[0]) + 1 for mutation in MUTATIONS]
    assert {number: own.count(number) for number in range(1, 13) if own.count(number) < 2} == {}


def test_a_factor_that_is_not_wanted_is_one_file_less(generate: Callable[..., Project], tmp_path: Path) -> None:
    project = generate(database="sqlite").path
    for path in sorted((project / "tests" / "factors").glob("test_*.py")):
        kept = shutil.move(path, tmp_path)
        others = [p for p in (project / "tests").rglob("*.py") if re.search(rf"\b{path.stem}\b", p.read_text())]
        assert not others, f"{path.name} is named in {others}"
        shutil.move(kept, path)


def test_every_module_says_what_it_tests_and_what_it_cannot() -> None:
    assert [path.name[5:7] for path in modules()] == [f"{number:02}" for number in range(1, 13)]
    for path, numeral in zip(modules(), NUMERALS, strict=True):
        documentation = path.read_text().partition('"""')[2].partition('"""')[0]
        assert documentation.startswith(f"{numeral}. "), path
        for part in ("https://12factor.net/", "Tested:", "Not testable here:"):
            assert part in documentation, f"{path} does not say {part!r}"
