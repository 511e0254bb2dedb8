"""Make the new project ready to start, offline and with the standard library of Cookiecutter's Python alone."""

import json
import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

# As JSON: an answer between quotes could end them.
ANSWERS = json.loads(r'{{ cookiecutter | tojson }}')  # fmt: skip
UNNEEDED = {
    "Dockerfile .dockerignore compose.yaml .github/workflows/image.yml": ANSWERS["deploy"] == "procfile",
    "kubernetes": ANSWERS["deploy"] != "kubernetes",
    "kubernetes/uploads": ANSWERS["media_storage"] != "disk",
    ".github/workflows/postgresql.yml": ANSWERS["database"] != "postgresql",
    ".github/workflows/mysql.yml": ANSWERS["database"] != "mysql",
}


def settle() -> None:
    """Put back what --skip-if-file-exists overwrote, which is in .generating; drop new files that nobody needs."""
    aside = Path(".generating")
    since = aside.stat().st_mtime_ns
    rendered = (Path(name) for name in (".env.example", ".gitignore", "Procfile", "README.md", "pyproject.toml"))
    if any(path.exists() and path.stat().st_mtime_ns < since for path in rendered):  # so they were skipped
        for kept in filter(os.path.isfile, aside.rglob("*")):
            kept.replace(kept.relative_to(aside))
    shutil.rmtree(aside)
    for name in " ".join(names for names, unneeded in UNNEEDED.items() if unneeded).split():
        for path in [*sorted(Path(name).rglob("*"), reverse=True), Path(name)]:
            with suppress(OSError):  # a directory that is not empty, or nothing
                if path.is_dir():
                    path.rmdir()
                elif path.lstat().st_mtime_ns >= since:
                    path.unlink()


def write_env() -> None:
    """Copy .env.example to .env (mode 0600) with a fresh SECRET_KEY; an existing .env is not touched."""
    if os.path.lexists(".env"):
        return print(".env is there already: it stays as it is.")
    example = Path(".env.example").read_text(encoding="utf-8")
    # token_urlsafe, since every reader of .env files agrees on its characters; 50 bytes are 400 bits.
    text = re.sub(r"(?m)^SECRET_KEY=.*$", "SECRET_KEY=" + secrets.token_urlsafe(50), example)
    half = Path(".env.half")  # complete or not at all
    half.unlink(missing_ok=True)
    try:
        with open(
            os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8", newline="\n"
        ) as file:
            file.write(text)
        half.rename(".env")
    finally:
        half.unlink(missing_ok=True)


def git_init() -> None:
    """Make a repository, unless there is one around or git is missing; a project without one is complete too."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": False}
    if shutil.which("git") and subprocess.run(["git", "rev-parse", "--is-inside-work-tree"], **quiet).returncode:
        subprocess.run(["git", "init"], **quiet)


if __name__ == "__main__":
    try:
        settle()
        write_env()
        mode = os.stat("manage.py").st_mode  # executable by whoever may read it, which a zip of the template loses
        os.chmod("manage.py", mode | (mode & 0o444) >> 2)
        git_init()
    except OSError as error:
        sys.exit(f"The project is not complete: {error}. Once that is solved, generate it again.")
    except KeyboardInterrupt:
        sys.exit("Interrupted. To complete the project, generate it again with -f: an .env that is there stays.")
    caller = os.environ.get("PWD", "/")
    if not os.path.exists(os.path.join(caller, ".cruft.json")):  # cruft compares copies, which it is about to delete
        print(f"\nNext:\n  cd {shlex.quote(os.path.relpath(os.getcwd(), caller))}\n  uv run honcho start")
        print("and open http://localhost:8000/\nThe first start downloads the dependencies: it needs the network.\n")
