"""Typed reads of the environment, which report every problem at once and never show a value.

The environment is the configuration (https://12factor.net/config), so a mistake in it ends the process
at start, by name, and not on some later page.
"""

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

REQUIRED: Any = object()  # the default of a variable that has none

# gunicorn's own code for "a worker cannot boot": with any other it starts the worker again, for ever.
EXIT_CODE = 3

BOOLEANS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


# Whole values for `strings`: what Django compares hosts and origins with, so neither https:// nor a port in a host.
HOST = r"\*|\.?[\w-]+(\.[\w-]+)*|\[[0-9a-f:.]+\]"
ORIGIN = r"https?://[^/\s]+"


class InvalidError(ValueError):
    """What is wrong with a value, in words that may be shown: never the value, nor a part of it."""


class Env:
    """Reads variables, remembers which, and collects what is wrong with them for `verify`.

    Blank means unset, because dotenv readers differ in what they make of `NAME=`. A variable with a problem
    reads as None, so that the reading goes on to the next one.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Read from `environ`, the environment of the process but in tests."""
        self.environ = environ
        self.names: set[str] = set()
        self.problems: list[str] = []

    def parsed(
        self, name: str, parse: Callable[[str], Any], *, default: Any = REQUIRED, example: str, because: str = ""
    ) -> Any:
        """Return `parse(value)` of the variable `name`, or `parse(default)` when it is unset.

        `parse` raises InvalidError with what is wrong; `example` is a value that would do; `because` says why a
        variable that is required now is not always.
        """
        self.names.add(name)
        value = self.environ.get(name, "").strip()
        if not value and default is REQUIRED:
            return self.refuse(name, f"is missing{because and ', and required ' + because}", example)
        try:
            return parse(value or default) if value or isinstance(default, str) else default
        except InvalidError as error:
            return self.refuse(name, str(error), example)
        except (ValueError, LookupError):  # from a library, whose message may hold the value
            return self.refuse(name, "cannot be read", example)

    def refuse(self, name: str, problem: str, example: str) -> None:
        """Remember for `verify` what is wrong with a variable, in words that do not hold its value."""
        self.problems.append(f"{name} {problem}. Example: {name}={example}")

    def text(self, name: str, *, default: Any = REQUIRED, example: str = "some-text", **more: Any) -> str:
        """Return the variable as it stands, without the spaces around it."""
        return self.parsed(name, str, default=default, example=example, **more)

    def boolean(self, name: str, *, default: Any = REQUIRED) -> bool:
        """Return true or false, of true/false/1/0/yes/no/on/off in any case."""

        def parse(value: str) -> bool:
            if value.lower() not in BOOLEANS:
                raise InvalidError("is not a boolean: write true or false")
            return BOOLEANS[value.lower()]

        return self.parsed(name, parse, default=default, example="true")

    def integer(self, name: str, *, default: Any = REQUIRED, minimum: int = 0, maximum: int | None = None) -> int:
        """Return a whole number from `minimum` to `maximum`."""

        def parse(value: str) -> int:
            if not re.fullmatch(r"[0-9]{1,18}", value):
                raise InvalidError("is not a whole number")
            number = int(value)
            if number < minimum or (maximum is not None and number > maximum):
                limit = f"{minimum} or more" if maximum is None else f"between {minimum} and {maximum}"
                raise InvalidError(f"is out of range: it must be {limit}")
            return number

        return self.parsed(name, parse, default=default, example=str(minimum if default is REQUIRED else default))

    def choice(self, name: str, choices: Sequence[str], *, default: Any = REQUIRED) -> str:
        """Return one of `choices`, which are in lower case, however it is written."""

        def parse(value: str) -> str:
            if value.lower() not in choices:
                raise InvalidError(f"is not one of {', '.join(choices)}")
            return value.lower()

        return self.parsed(name, parse, default=default, example=choices[0] if default is REQUIRED else default)

    def strings(
        self, name: str, *, default: Any = REQUIRED, pattern: str = ".+", example: str = "one,two", because: str = ""
    ) -> list[str]:
        """Return the comma-separated values, each of which matches `pattern` as a whole."""

        def parse(value: str) -> list[str]:
            values = [part for part in map(str.strip, value.split(",")) if part]
            if not values or not all(re.fullmatch(pattern, part) for part in values):
                raise InvalidError("is not a comma-separated list of such values")
            return values

        return self.parsed(name, parse, default=default, example=example, because=because)

    def verify(self) -> None:
        """Return if every variable read so far was right; else say on stderr what is wrong and end the process.

        Raises SystemExit, which ends manage.py, pytest and gunicorn without a traceback.
        """
        if not self.problems:
            return
        count = "a problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        lines = "".join(f"  {problem}\n" for problem in self.problems)
        print(
            f"\nThe environment of this process has {count}:\n\n{lines}\n"
            "Every variable is described in .env.example. To run a command with the variables of .env:\n"
            "  honcho run python manage.py check\n"
            "No .env yet? This one is good for development: cp .env.example .env\n",
            file=sys.stderr,
            flush=True,
        )
        raise SystemExit(EXIT_CODE)


def web_process(env: Env) -> tuple[int, int, int]:
    """Return the port, processes and threads of the web process, which gunicorn.conf.py uses and settings.py checks."""
    return (
        env.integer("PORT", default=8000, minimum=1, maximum=65535),
        env.integer("WEB_CONCURRENCY", default=1, minimum=1),
        env.integer("WEB_THREADS", default=4, minimum=1),
    )
