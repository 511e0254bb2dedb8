""".env.example is the reference of the environment: it and the code name the same variables, both ways."""

import re
import runpy
from pathlib import Path

from config import settings

PROJECT = Path(__file__).parent.parent
EXAMPLE = (PROJECT / ".env.example").read_text(encoding="utf-8")


def documented() -> dict[str, str]:
    """Return the variables of .env.example, each with the comment above it."""
    variables, comment = {}, ""
    for line in EXAMPLE.splitlines():
        if match := re.fullmatch(r"(?:# )?([A-Z][A-Z0-9_]*)=\S+", line):
            variables[match[1]] = comment
        elif line.startswith("#"):
            comment += line
        else:
            comment = ""
    return variables


def read_by_us() -> set[str]:
    """Return the variables that settings.py and gunicorn.conf.py read."""
    return settings.env.names | runpy.run_path(str(PROJECT / "gunicorn.conf.py"))["env"].names


def test_every_variable_that_the_code_reads_is_documented():
    assert read_by_us() - documented().keys() == set()


def test_every_documented_variable_is_read():
    others = {name for name, comment in documented().items() if "Read by" in comment}
    assert documented().keys() - read_by_us() == others


def test_every_variable_of_a_procfile_is_documented():
    for procfile in PROJECT.glob("Procfile*"):
        used = set(re.findall(r"\$\{?([A-Z][A-Z0-9_]*)", procfile.read_text(encoding="utf-8")))
        assert used - documented().keys() == set()


def test_values_are_written_as_every_env_reader_understands():
    # Quotes, spaces, # and $ mean something else to each of the programs that read such files.
    lines = [line for line in EXAMPLE.splitlines() if line and not line.startswith("#")]
    names = [line.partition("=")[0] for line in lines]
    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]*=[A-Za-z0-9._\-/:,@%+=?*]+", line) for line in lines)
    assert len(names) == len(set(names))
    assert "\r" not in EXAMPLE
