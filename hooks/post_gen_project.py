"""Complete the new project and say how to start it: offline, and with the standard library alone."""

import json
import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

# As JSON: an answer between quotes could end them.
ANSWERS = json.loads(r'{{ cookiecutter | tojson }}')  # fmt: skip
UNNEEDED = {
    "Caddyfile Dockerfile .dockerignore compose.yaml .github/workflows/image.yml": ANSWERS["deploy"] == "procfile",
    "kubernetes": ANSWERS["deploy"] != "kubernetes",
    "kubernetes/uploads": ANSWERS["media_storage"] != "disk",
    ".github/workflows/postgresql.yml": ANSWERS["database"] != "postgresql",
    ".github/workflows/mysql.yml": ANSWERS["database"] != "mysql",
}


def write_env() -> None:
    """Copy .env.example to .env (mode 0600) with a fresh SECRET_KEY: complete, or not at all."""
    example = Path(".env.example").read_text(encoding="utf-8")
    half = Path(".env.half")
    half.touch(mode=0o600)
    key = f"SECRET_KEY={secrets.token_urlsafe(50)}"  # 400 bits, in characters that all readers of .env files agree on
    half.write_text(re.sub(r"(?m)^SECRET_KEY=.*$", key, example), encoding="utf-8", newline="\n")
    half.replace(".env")


def works(*command: str) -> bool:
    """Return whether a command succeeds in the new directory, typed in the shell that started Cookiecutter."""
    # A shim of pyenv names the version that it chose in these variables, and puts its directory in front of PATH.
    path = [entry for entry in os.get_exec_path() if "PYENV_DIR" not in os.environ or "/versions/" not in entry]
    typed = ["/usr/bin/env", "-u", "PYENV_DIR", "-u", "PYENV_VERSION", f"PATH={os.pathsep.join(path)}", *command]
    return subprocess.run(typed, capture_output=True).returncode == 0


def next_steps(directory: str, python: str) -> str:
    """Return the commands that start the project on this machine, or what it lacks for them."""
    commands, note = ["uv run honcho start"], "The first start downloads the dependencies: it needs the network."
    if not works("uv", "--version"):
        if not works(f"python{python}", "-c", "import ensurepip"):
            return f"Install Python {python}, or uv outside of pyenv (https://docs.astral.sh/uv/). Then see README.md."
        commands = [f"python{python} -m venv .venv", ". .venv/bin/activate", "pip install --upgrade pip"]
        commands += ["pip install . --group dev", "honcho start"]
    elif not works("uv", "python", "find"):
        note = f"Python {python} is not on this machine: uv downloads it, or install it first."
    steps = "\n  ".join([f"cd {shlex.quote(directory)}", *commands])
    return f"Next:\n  {steps}\nand open http://localhost:8000/\n{note}"


if __name__ == "__main__":
    try:
        for name in " ".join(names for names, unneeded in UNNEEDED.items() if unneeded).split():
            shutil.rmtree(name) if os.path.isdir(name) else Path(name).unlink(missing_ok=True)
        os.chmod("manage.py", (mode := os.stat("manage.py").st_mode) | (mode & 0o444) >> 2)  # a zip file loses the x
        works("git", "rev-parse", "--is-inside-work-tree") or works("git", "init")
        write_env()  # last: where an .env is, the project is complete
    except (OSError, KeyboardInterrupt) as error:
        sys.exit(f"The project is not complete: {str(error) or 'interrupted'}. Generate it again, with -f.")
    caller = os.environ.get("PWD", "/")
    if not os.path.exists(os.path.join(caller, ".cruft.json")):  # cruft compares copies, which it is about to delete
        print(f"\n{next_steps(os.path.relpath(os.getcwd(), caller), ANSWERS['python_version'])}\n")
