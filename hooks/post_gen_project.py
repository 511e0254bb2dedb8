"""Make the new project ready to start: only the files it needs, its .env, its git repository, and what to type next.

Runs in the project's directory under the Python of Cookiecutter: offline, standard library only.
"""

import json
import os
import re
import secrets
import shlex
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

DATABASE = json.loads(r'{{ cookiecutter.database | tojson }}')
DEPLOY = json.loads(r'{{ cookiecutter.deploy | tojson }}')
MEDIA_STORAGE = json.loads(r'{{ cookiecutter.media_storage | tojson }}')

# Paths that some answers do not need.
UNNEEDED = {
    "Dockerfile .dockerignore compose.yaml .github/workflows/image.yml": DEPLOY == "procfile",
    "kubernetes": DEPLOY != "kubernetes",
    "kubernetes/uploads": MEDIA_STORAGE != "disk",
    ".github/workflows/postgresql.yml": DATABASE != "postgresql",
    ".github/workflows/mysql.yml": DATABASE != "mysql",
}


def drop_unneeded() -> None:
    """Remove what the answers do not need: of the files written just now, never a user's own."""
    since = Path(".generating").stat().st_mtime_ns  # the pre-gen hook made it
    Path(".generating").unlink()
    for name in " ".join(names for names, unneeded in UNNEEDED.items() if unneeded).split():
        for path in [*sorted(Path(name).rglob("*"), reverse=True), Path(name)]:
            with suppress(OSError):  # a directory that is not empty
                if path.is_dir():
                    path.rmdir()
                elif path.lstat().st_mtime_ns >= since:
                    path.unlink()


def write_env() -> None:
    """Copy .env.example to .env (mode 0600) with a fresh SECRET_KEY; an existing .env is not touched."""
    if os.path.lexists(".env"):
        print(".env is there already: it stays as it is.")
        return
    example = Path(".env.example").read_text(encoding="utf-8")
    # token_urlsafe, since every reader of .env files agrees on its characters; 50 bytes are 400 bits.
    text = re.sub(r"(?m)^SECRET_KEY=.*$", "SECRET_KEY=" + secrets.token_urlsafe(50), example)
    # Complete or not at all: written aside, then named.
    half = Path(".env.half")
    half.unlink(missing_ok=True)
    with open(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
    half.rename(".env")


def git_init() -> None:
    """Make a repository, unless there is one around or git is missing; a project without one is complete too."""
    if shutil.which("git"):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": False}
        if subprocess.run(["git", "rev-parse", "--is-inside-work-tree"], **quiet).returncode:
            subprocess.run(["git", "init"], **quiet)


def next_commands() -> str:
    """Return what to type, from the directory that Cookiecutter was called in."""
    project = os.getcwd()
    shell = os.environ.get("PWD", "")
    place = os.path.relpath(project, shell) if os.path.isdir(shell) else project
    return f"\nNext:\n  cd {shlex.quote(place)}\n  uv run honcho start\nand open http://localhost:8000/\n"


if __name__ == "__main__":
    drop_unneeded()
    write_env()
    git_init()
    print(next_commands())
