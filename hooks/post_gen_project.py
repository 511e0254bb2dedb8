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
import sys
from contextlib import suppress
from pathlib import Path

# Read as JSON, like in the other hook: an answer between quotes could end them.
DATABASE = json.loads(r'{{ cookiecutter.database | tojson }}')  # fmt: skip
DEPLOY = json.loads(r'{{ cookiecutter.deploy | tojson }}')  # fmt: skip
MEDIA_STORAGE = json.loads(r'{{ cookiecutter.media_storage | tojson }}')  # fmt: skip

# Paths that some answers do not need.
UNNEEDED = {
    "Dockerfile .dockerignore compose.yaml .github/workflows/image.yml": DEPLOY == "procfile",
    "kubernetes": DEPLOY != "kubernetes",
    "kubernetes/uploads": MEDIA_STORAGE != "disk",
    ".github/workflows/postgresql.yml": DATABASE != "postgresql",
    ".github/workflows/mysql.yml": DATABASE != "mysql",
}


def put_back() -> int:
    """Undo what --skip-if-file-exists should not have overwritten; return when the generation began, in nanoseconds."""
    aside = Path(".generating")
    since = aside.stat().st_mtime_ns
    rendered = [Path(name) for name in (".env.example", ".gitignore", "Procfile", "README.md", "pyproject.toml")]
    if any(path.exists() and path.stat().st_mtime_ns < since for path in rendered):  # so they were skipped
        for kept in aside.rglob("*"):
            if kept.is_symlink() or kept.is_file():
                kept.replace(kept.relative_to(aside))
    shutil.rmtree(aside)
    return since


def drop_unneeded(since: int) -> None:
    """Remove what the answers do not need: of the files written just now, never a user's own."""
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
    try:
        descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        half.rename(".env")
    finally:
        half.unlink(missing_ok=True)


def make_executable() -> None:
    """Let manage.py run by itself, for those who may read it: in a zip file of the template the mode is lost."""
    mode = os.stat("manage.py").st_mode
    if not mode & 0o100:
        os.chmod("manage.py", mode | (mode & 0o444) >> 2)


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
    if os.path.exists(os.path.join(shell, ".cruft.json")):
        return ""  # cruft compares versions of a project, in a directory that it is about to delete
    place = os.path.relpath(project, shell) if os.path.isdir(shell) else project
    return f"""
Next:
  cd {shlex.quote(place)}
  uv run honcho start
and open http://localhost:8000/
The first start downloads the dependencies: it needs the network.

"""


if __name__ == "__main__":
    try:
        drop_unneeded(put_back())
        write_env()
        make_executable()
        git_init()
        print(next_commands(), end="")
    except OSError as error:
        sys.exit(f"The project is not complete: {error}. Once that is solved, generate it again.")
    except KeyboardInterrupt:
        sys.exit("Interrupted. To complete the project, generate it again with -f: an .env that is there stays.")
