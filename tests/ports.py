"""Ports for servers: each process that runs tests has a range of its own."""

import itertools
import re
import socket
from contextlib import suppress
from functools import cache
from pathlib import Path

HOST = "127.0.0.1"
# From 15,000 on, tests of generated projects look for theirs; further up the kernel gives ports to clients.
FIRST, LAST = 10_000, 15_000
RANGE = 100


def is_free(port: int) -> bool:
    """Say whether nothing listens on a port."""
    with suppress(OSError), socket.create_server((HOST, port)):
        return True
    return False


@cache
def own_range() -> tuple[socket.socket, "itertools.cycle[int]"]:
    """Take the first range that no other process has: who listens on its first port has it, until its end."""
    limits = Path("/proc/sys/net/ipv4/ip_local_port_range")
    clients = int(re.findall(r"\d+", limits.read_text())[0]) if limits.exists() else LAST
    for first in range(FIRST, min(LAST, clients) - RANGE + 1, RANGE):
        with suppress(OSError):
            return socket.create_server((HOST, first)), itertools.cycle(range(first + 1, first + RANGE))
    raise RuntimeError(f"all ports from {FIRST} to {min(LAST, clients)} are taken")


def free_port() -> int:
    """Return a port that nothing listens on and that nobody else is given.

    It is below those that the kernel chooses: a server that is stopped for a while finds it free again.
    """
    _, ports = own_range()
    return next(filter(is_free, itertools.islice(ports, RANGE)))
