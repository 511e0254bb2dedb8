"""Tests marked `alone` measure time: no other test runs meanwhile, in any process of pytest-xdist.

Every test holds a lock that many can hold, and one that is marked holds it alone. The gate before it keeps those who
come later from overtaking the one who waits.
"""

import fcntl
from collections.abc import Generator
from pathlib import Path

import pytest


def is_alone(item: pytest.Item | None) -> bool:
    """Say whether a test is marked."""
    return item is not None and item.get_closest_marker("alone") is not None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the marked tests last, when the others have less to wait for."""
    items.sort(key=is_alone)


class Turns:
    """The lock, in files that all processes of a session share."""

    def __init__(self, directory: Path) -> None:
        """Open the files."""
        self.gate = (directory / "gate").open("w")
        self.room = (directory / "room").open("w")
        self.kept = False  # since the test before

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, object, object]:
        """Hold the lock while a test runs, its fixtures included, and on to the next one that is marked too."""
        if not self.kept:
            fcntl.flock(self.gate, fcntl.LOCK_EX)
            fcntl.flock(self.room, fcntl.LOCK_EX if is_alone(item) else fcntl.LOCK_SH)
            fcntl.flock(self.gate, fcntl.LOCK_UN)
        try:
            return (yield)
        finally:
            self.kept = is_alone(item) and is_alone(nextitem)
            if not self.kept:
                fcntl.flock(self.room, fcntl.LOCK_UN)


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Let the tests of this process take turns with those of the others."""
    base: Path = config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
    config.pluginmanager.register(Turns(base.parent if hasattr(config, "workerinput") else base))
