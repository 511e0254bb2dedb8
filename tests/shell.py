"""A person at a terminal: types commands as the READMEs show them, answers what they ask, looks at the page."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from generation import QUESTIONS, Server, free_port

# What a person answers: a prompt, and the keys.
DIALOGS = {
    "cookiecutter": [(rf"\[{n + 1}/{len(QUESTIONS)}\]", b"\r") for n in range(len(QUESTIONS))],
    "createsuperuser": [
        ("Username", b"ada\r"),
        ("Email", b"\r"),
        ("Password:", b"a-long-password\r"),
        (r"Password \(again\)", b"a-long-password\r"),
    ],
}


def blocks(text: str, language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", text)


def commands(block: str) -> list[str]:
    """Return the commands of a `console` block."""
    return re.findall(r"(?m)^\$ (.+)$", block)


class Shell:
    """A shell on a terminal: takes a command at a time, keeps its directory and variables."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        """Start in `directory`, with nothing but `environment` set."""
        self.directory = directory
        self.environment = environment
        self.state = Path(environment["HOME"]) / "state"
        self.processes: list[Server] = []

    def type(self, command: str, *, fails: bool = False) -> Server:
        """Run a command, answer what it asks, interrupt it when it serves; assert that it works, or `fails`."""
        script = (
            f"test ! -e {self.state} || . {self.state}\n{command}\n"
            f"code=$?; export -p > {self.state}; pwd > {self.state}.pwd; exit $code"
        )
        port = free_port()
        serves = command.endswith("honcho start")
        if serves:
            env = self.directory / ".env"
            text = re.sub(r"(?m)^PORT=.*$", f"PORT={port}", env.read_text(encoding="utf-8"))
            env.write_text(text, encoding="utf-8")
        process = Server(["sh", "-c", script], self.directory, self.environment, tty=True)
        self.processes.append(process)
        process.port = port
        for program, dialog in DIALOGS.items():
            for prompt, keys in dialog if re.search(rf"(?<!install ){program}", command) else ():
                process.wait_for(prompt, 120)
                process.type(keys)
        if serves and not fails:
            process.wait_until_ready(seconds=180)
            page = process.get("/", address="localhost")
            assert (page.status, "It works" in page.text) == (200, True), process.output
            process.wait_until_quiet()
            process.type(b"\x03")
            process.wait()
        else:
            assert (process.wait(180) != 0) == fails, f"{command}\n{process.output}"
            self.directory = Path(self.state.with_suffix(".pwd").read_text().strip())
        assert "Traceback" not in process.output, process.output
        return process


@pytest.fixture
def shell() -> Iterator[Callable[[Path, dict[str, str]], Shell]]:
    """Return a function that opens a shell in a directory; what it started ends with the test."""
    opened: list[Shell] = []

    def get(directory: Path, environment: dict[str, str]) -> Shell:
        opened.append(Shell(directory, environment))
        return opened[-1]

    yield get
    for each in opened:
        for process in each.processes:
            process.close()
