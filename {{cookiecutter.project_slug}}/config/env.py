"""Typed reads of the environment, which report every problem at once and never show a value.

The environment is the configuration (https://12factor.net/config), so a mistake in it ends the process
at start and names the variable, instead of failing on some later page.
"""

import sys
from collections.abc import Callable, Mapping, Sequence

BOOLEANS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


class InvalidError(ValueError):
    """Says what is wrong with a value. The message is shown to people, so it holds no part of the value."""


class Env:
    """Reads variables, remembers their names, and collects their problems for `verify`.

    Blank means unset, because readers of .env files differ in what they make of `NAME=`. A variable with a problem
    reads as its example, so every read returns the type that it promises. Without a default a variable is required.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.names: set[str] = set()
        self.problems: list[str] = []

    def parsed[T](self, name: str, parse: Callable[[str], T], *, default: str | int | None = None, example: str) -> T:
        """Return what `parse` makes of the variable `name`, or of its default while it is unset.

        `parse` raises InvalidError with the problem. `example` is a value that works.
        """
        self.names.add(name)
        value = self.environ.get(name, "").strip() or default
        try:
            if value is None:
                raise InvalidError("is missing")
            return parse(str(value))
        except InvalidError as error:
            self.add_problem(name, str(error), example)
        except (ValueError, LookupError):  # from a library, whose message may hold the value
            self.add_problem(name, "cannot be read", example)
        return parse(example)

    def add_problem(self, name: str, problem: str, example: str) -> None:
        """Remember for `verify` what is wrong with a variable, in words that do not hold its value."""
        self.problems.append(f"{name} {problem}. Example: {name}={example}")

    def text(self, name: str, *, default: str | None = None, example: str = "some-text") -> str:
        """Return the variable as it is, without spaces around it."""
        return self.parsed(name, str, default=default, example=example)

    def boolean(self, name: str, *, default: bool | None = None) -> bool:
        """Return True or False for true/false/1/0/yes/no/on/off, in upper or lower case."""

        def parse(value: str) -> bool:
            if value.lower() not in BOOLEANS:
                raise InvalidError("is not a boolean: write true or false")
            return BOOLEANS[value.lower()]

        return self.parsed(name, parse, default=default, example="true")

    def integer(self, name: str, *, default: int | None = None, minimum: int = 0, maximum: int = 2**31 - 1) -> int:
        """Return a whole number from `minimum` to `maximum`."""

        def parse(value: str) -> int:
            if not (value.isascii() and value.isdigit() and minimum <= int(value) <= maximum):
                raise InvalidError(f"is not a whole number from {minimum} to {maximum}")
            return int(value)

        return self.parsed(name, parse, default=default, example=str(minimum if default is None else default))

    def choice(self, name: str, choices: Sequence[str], *, default: str | None = None) -> str:
        """Return one of `choices`, which are in lower case; the variable may be in upper case."""

        def parse(value: str) -> str:
            if value.lower() not in choices:
                raise InvalidError(f"is not one of {', '.join(choices)}")
            return value.lower()

        return self.parsed(name, parse, default=default, example=default or choices[0])

    def strings(self, name: str, parse: Callable[[str], str], *, default: str | None = None, example: str) -> list[str]:
        """Return the comma-separated values, each as `parse` returns it."""

        def parse_all(value: str) -> list[str]:
            values = [parse(part) for part in map(str.strip, value.split(",")) if part]
            if value and not values:
                raise InvalidError("has nothing between its commas")
            return values

        return self.parsed(name, parse_all, default=default, example=example)

    def verify(self) -> None:
        """Print every problem to stderr and end the process; return when there is none.

        Raises SystemExit, which ends manage.py, pytest and gunicorn without a traceback.
        """
        if not self.problems:
            return
        count = "a problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        message = (
            f"\nThe environment of this process has {count}:\n\n{lines}\n\n"
            "Every variable is described in .env.example. To run a command with the variables of .env:\n"
            "  uv run honcho run python manage.py check\n"
            "No .env yet? For development: cp .env.example .env\n"
        )
        print(message, file=sys.stderr, flush=True)
        # gunicorn's own code for "a worker cannot boot": after any other it starts the worker again, for ever.
        raise SystemExit(3)
