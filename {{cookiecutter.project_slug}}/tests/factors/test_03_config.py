"""III. Config: what differs between deploys is in the environment, and nowhere else: https://12factor.net/config.

Tested: without its variables the project does not start and names each; each documented variable changes a setting;
the settings read no file; no name of a deploy decides anything in the code; nothing reads the environment past
settings.py; no file of the repository holds a secret.
Not testable here: a secret that looks like any other word, and a constant that should have been a variable.
"""

import ast
import base64
import itertools
import json
import math
import re
import shlex
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest
from django.conf import settings

from tests.factors.day import read_notes, watched
from tests.factors.processes import PROJECT, example, procfile
from tests.factors.source import dotted, is_test, modules, strings, tracked

FACTOR = "III Config"

REQUIRED = ("SECRET_KEY", "DATABASE_URL", "ALLOWED_HOSTS")

# Another value for each variable that is no URL of a service (those are IV's): it must change a setting.
OTHERS = {
    "DEBUG": "true",
    "SECRET_KEY": "another-key-0123456789-abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJKLM",
    "SECRET_KEY_FALLBACKS": "a-former-key-0123456789-abcdefghijklmnopqrstuvwxyz-ABCDEFG",
    "ALLOWED_HOSTS": "another.example.com",
    "CSRF_TRUSTED_ORIGINS": "https://another.example.com",
    "TIME_ZONE": "Europe/Paris",
    "DATABASE_CONN_MAX_AGE": "7",
    "DEFAULT_FROM_EMAIL": "another@example.com",
    "LOG_LEVEL": "error",
    "LOG_FORMAT": "text",
    "SECURE_SSL_REDIRECT": "false",
    "SESSION_COOKIE_SECURE": "false",
    "CSRF_COOKIE_SECURE": "false",
    "SECURE_HSTS_SECONDS": "7",
    "SECURE_HSTS_INCLUDE_SUBDOMAINS": "true",
    "SECURE_HSTS_PRELOAD": "true",
    "SECURE_CSP": "false",
}

# Runs the settings once for each environment of a list; prints what each became.
SETTINGS = """
import json, os, re, runpy, sys
base = dict(os.environ)
for change in json.loads(sys.argv[2]):
    os.environ.clear()
    os.environ.update(base | change)
    try:
        found = runpy.run_path(sys.argv[1])
    except SystemExit as end:
        print(json.dumps({"ended": end.code}))
        continue
    values = {name: re.sub("0x[0-9a-f]+", "", repr(value)) for name, value in found.items() if name.isupper()}
    print(json.dumps(values))
"""


def settings_file() -> Path:
    """Return the settings module's file, relative to the project."""
    return Path(*settings.SETTINGS_MODULE.split(".")).with_suffix(".py")


@pytest.fixture
def settings_of(deploy, tmp_path):
    """Return a function: the settings that each change of the production environment gives."""

    def run(changes: list[dict[str, str]], production=None, **variables: str) -> list[dict[str, str]]:
        production = production or deploy()
        script = tmp_path / "script.py"
        script.write_text(f"import sys; sys.path[0] = {str(production.code)!r}\n{SETTINGS}")
        command = [sys.executable, str(script), str(settings_file()), json.dumps(changes)]
        result = production.run(shlex.join(command), **variables)
        assert result.returncode == 0, f"{FACTOR}: the settings do not load: {result.stderr}"
        return [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]

    return run


@pytest.fixture
def with_dotenv(deploy, built, tmp_path):
    """Return a deploy whose code has a .env next to it, which only honcho and the like may read."""
    code = Path(shutil.copytree(built, tmp_path / "code", symlinks=True))
    (code / ".env").write_text("".join(f"{name}={value}\n" for name, value in example().items()))
    return deploy(code=code)


def test_an_empty_environment_is_told_every_required_variable(with_dotenv, settings_of):
    environment = with_dotenv.environment
    with_dotenv.environment = {"PATH": environment["PATH"], "HOME": environment["HOME"]}
    result = with_dotenv.run("python manage.py check")
    assert result.returncode, f"{FACTOR}: it starts in an empty environment: its configuration is in the code or a file"
    said = result.stdout + result.stderr
    unnamed = [name for name in REQUIRED if name not in said]
    if "DATABASE_URL" in unnamed:  # in the code for good, or with a default? The first is the matter of IV
        (first, second) = settings_of([{}, {"DATABASE_URL": "sqlite:////elsewhere/another.sqlite3"}])
        if first.get("DATABASES") == second.get("DATABASES"):
            unnamed.remove("DATABASE_URL")
    how = "crashes without a word about" if "Traceback" in said else "starts without"
    assert not unnamed, f"{FACTOR}: it {how} {' and '.join(unnamed)}: is the value in the code?\n{said}"


def test_each_variable_changes_what_the_same_code_does(settings_of):
    text = (PROJECT / ".env.example").read_text(encoding="utf-8")
    documented = set(re.findall(r"(?m)^(?:# )?([A-Z][A-Z0-9_]*)=", text)) | {"DEBUG", "SECRET_KEY", "ALLOWED_HOSTS"}
    changes = [{}, *({name: value} for name, value in OTHERS.items() if name in documented)]
    production, *others = settings_of(changes)
    assert "ended" not in production, f"{FACTOR}: the environment of production is refused"
    without = [next(iter(change)) for change, other in zip(changes[1:], others, strict=True) if other == production]
    assert not without, f"{FACTOR}: {', '.join(without)} in the environment changes nothing: the code decides it"
    assert production["DEBUG"] == "False", f"{FACTOR}: DEBUG is on where the environment does not say so"


LOAD = "from django.urls import get_resolver\nget_resolver().url_patterns"
CONFIGURATION = {".json", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".conf", ".env", ".txt", ".xml", ""}


def test_loading_the_code_reads_no_file_of_settings(with_dotenv):
    with_dotenv.ask(LOAD, **watched(with_dotenv), FACTORS_WATCH_READS="1")
    notes = read_notes(with_dotenv.root / "notes")
    static = with_dotenv.code / Path(settings.STATIC_ROOT).relative_to(PROJECT)
    places = (with_dotenv.code, "/etc", "/run", "/opt", with_dotenv.environment["HOME"])
    read = {
        f"{note['by']} reads {note['target'].removeprefix(f'{with_dotenv.code}/')}"
        for note in notes
        if note["event"] == "read" and note["by"]
        for path in [Path(note["target"])]
        if path.suffix in CONFIGURATION or path.name.startswith(".env")
        if any(path.is_relative_to(place) for place in places)
        if not path.is_relative_to(static) and path != Path("/etc/localtime")
    }
    assert not read, (
        f"{FACTOR}: configuration comes from a file and not from the environment: {'; '.join(sorted(read))}"
    )


DEPLOYS = {
    "production",
    "prod",
    "staging",
    "stage",
    "development",
    "dev",
    "qa",
    "uat",
    "preprod",
    "preproduction",
    "heroku",
}
WHERE = re.compile(r"(.*_)?(ENV|ENVIRONMENT|STAGE|DEPLOYMENT|TIER)|IS_(PROD|DEV|STAG|HEROKU|LOCAL|TEST).*|DYNO|RENDER")


def words(text: str) -> set[str]:
    """Return the words of an identifier or a path."""
    return set(re.split(r"[^a-z0-9]+|_", re.sub(r"([a-z])([A-Z])", r"\1_\2", text).lower()))


def test_no_name_of_a_deploy_decides_anything():
    found = []
    for path, tree in modules():
        for node in strings(tree):
            if re.fullmatch(r"[\w.\-]+", node.value) and words(node.value) & DEPLOYS:
                found.append(f"{path}:{node.lineno} has {node.value!r}")
            elif WHERE.fullmatch(node.value):
                found.append(f"{path}:{node.lineno} asks for {node.value!r}")
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and words(node.id) & (DEPLOYS - {"stage"}):
                found.append(f"{path}:{node.lineno} has {node.id}")
        for node in {part for test in conditions(tree) for part in ast.walk(test) if isinstance(part, ast.Call)}:
            if dotted(node.func) in ("socket.gethostname", "platform.node", "os.uname"):
                found.append(f"{path}:{node.lineno} asks for the name of the machine")
    for path in tracked():
        code = path.suffix in (".py", ".toml", ".ini", ".cfg", ".json", ".yaml", ".yml", ".env") or ".env." in path.name
        deploys_of_code = len(path.parts) < (4 if path.suffix == ".py" else 3) and path.parts[0] not in (
            ".github",
            "tests",
            "static",
        )
        if code and deploys_of_code and not is_test(path) and words(str(path)) & (DEPLOYS | {"local"}):
            found.append(f"{path} is named after a deploy")
    for process, command in procfile().items():
        if words(command) & DEPLOYS:
            found.append(f"Procfile: {process} names a deploy: {command}")
    assert not found, (
        f"{FACTOR}: the name of a deploy decides, instead of one variable for each thing: {'; '.join(found)}"
    )


def conditions(tree: ast.Module) -> list[ast.expr]:
    """Return what a module decides by."""
    tests = [node.test for node in ast.walk(tree) if isinstance(node, (ast.If, ast.IfExp, ast.While))]
    return tests + [node for node in ast.walk(tree) if isinstance(node, ast.Compare)]


ALLOWED = ("Env(os.environ)", "os.environ.setdefault('DJANGO_SETTINGS_MODULE'")
READS = {"os.environ", "os.environb", "os.getenv", "os.getenvb", "environ", "getenv"}


def test_only_the_settings_read_the_environment():
    found = []
    for path, tree in modules():
        allowed = {
            id(part)
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and ast.unparse(node).startswith(ALLOWED)
            for part in ast.walk(node)
        }
        kinds = (ast.Attribute, ast.Name) if imports_environ(tree) else ast.Attribute
        for node in ast.walk(tree):
            if isinstance(node, kinds) and dotted(node) in READS and id(node) not in allowed:
                found.append(f"{path}:{node.lineno}")
    assert not found, f"{FACTOR}: the environment is read or changed past Env, in {', '.join(found)}"


def imports_environ(tree: ast.Module) -> bool:
    """Tell whether os.environ goes by a shorter name."""
    return any(
        isinstance(node, ast.ImportFrom)
        and node.module == "os"
        and {a.name for a in node.names} & {"environ", "getenv"}
        for node in ast.walk(tree)
    )


TOKENS = re.compile(
    r"AKIA[0-9A-Z]{16}|gh[pousr]_\w{30,}|github_pat_\w{30,}|glpat-[\w-]{20,}|[srp]k_(live|test)_\w{16,}|xox[abpr]-[\w-]{10,}"
    r"|AIza[\w-]{35}|SG\.[\w-]{16,}\.[\w-]{16,}|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]+|-----BEGIN [A-Z ]*PRIVATE KEY"
)
PASSWORD_IN_URL = re.compile(r"[a-z][a-z0-9+]*://([^\s:/@\"'<>{}$%]*):([^\s@/\"'<>{}$]+)@([\w.\-]+)")
SECRET_NAME = re.compile(r"(?i)(.*_)?(secret|secret_?key|password|passwd|token|api_?key|private_?key|access_?key|dsn)")
PUBLIC = re.compile(
    r"(?i)django-insecure-.*|.*(example|password|secret|changeme|placeholder|fake|dummy|not-a).*|user|pass|app"
)


def looks_random(text: str) -> bool:
    """Tell whether a string has the look of a generated key: long, mixed, and no two of three characters in order."""
    kinds = sum(bool(re.search(kind, text)) for kind in ("[a-z]", "[A-Z]", "[0-9]"))
    counts = Counter(text).values()
    entropy = -sum(count / len(text) * math.log2(count / len(text)) for count in counts)
    steps = sum(ord(b) - ord(a) == 1 for a, b in itertools.pairwise(text))
    hexadecimal = re.fullmatch(r"[0-9a-f]{32,}", text) and entropy > 3
    return steps < len(text) / 4 and bool(hexadecimal or (kinds == 3 and entropy > 4))


def test_no_file_holds_a_secret():
    found = []
    for path in tracked():
        if path.name.endswith((".lock", ".svg")) or path.name == ".env.example":
            text = "" if path.name != ".env.example" else (PROJECT / path).read_text(encoding="utf-8")
        else:
            text = (PROJECT / path).read_bytes().decode("utf-8", errors="ignore")
        for number, line in enumerate(text.splitlines(), start=1):
            if TOKENS.search(line):
                found.append(f"{path}:{number} a token")
            for user, password, host in PASSWORD_IN_URL.findall(line):
                local = host.endswith(("localhost", "127.0.0.1", "example.com", "example")) or "." not in host
                if not is_test(path) and not local and not PUBLIC.fullmatch(password) and password != user:
                    found.append(f"{path}:{number} a password in a URL")
            if not is_test(path):
                line = re.sub(r"\buses: [\w./-]+@[0-9a-f]{40}\b", "", line)  # an action, pinned by its commit
                for word in re.findall(r"[\w+/-]{32,}", line):
                    if looks_random(word) and not PUBLIC.fullmatch(word):
                        found.append(f"{path}:{number} a random key")
    for path, tree in modules():
        for node in ast.walk(tree):
            for name, value in assigned(node):
                if (
                    SECRET_NAME.fullmatch(name)
                    and value.strip()
                    and " " not in value
                    and not value.startswith("django.")
                ):
                    found.append(f"{path}:{node.lineno} a value of {name}")
    found += [
        f"{path} is in the repository"
        for path in tracked()
        if re.fullmatch(r"\.env(\..+)?|.*\.(pem|key)", path.name) and path.name != ".env.example"
    ]
    assert not found, f"{FACTOR}: secrets in the repository: {'; '.join(found)}"


def assigned(node: ast.AST) -> list[tuple[str, str]]:
    """Return the names that a statement gives a string to."""
    pairs = []
    if isinstance(node, ast.Assign):
        pairs = [(dotted(target).rpartition(".")[2], node.value) for target in node.targets]
    elif isinstance(node, ast.AnnAssign) and node.value:
        pairs = [(dotted(node.target).rpartition(".")[2], node.value)]
    elif isinstance(node, ast.keyword):
        pairs = [(node.arg or "", node.value)]
    elif isinstance(node, ast.Dict):
        keys = [key.value if isinstance(key, ast.Constant) else "" for key in node.keys]
        pairs = list(zip(map(str, keys), node.values, strict=True))
    return [(name, v.value) for name, v in pairs if isinstance(v, ast.Constant) and isinstance(v.value, str)]


def test_a_random_key_is_told_from_a_word():
    assert looks_random(base64.urlsafe_b64encode(bytes(range(7, 250, 5))).decode())
    assert not looks_random("a_name_that_is_long_but_says_something_to_people")
