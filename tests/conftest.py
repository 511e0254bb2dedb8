"""Where the fixtures come from."""

import os
import signal

pytest_plugins = ["alone", "servers", "skips", "generation", "shell"]


def pytest_xdist_auto_num_workers() -> int:
    """Return how many tests run at a time: one more than cores, because many wait for something; at most four."""
    return min(4, (os.cpu_count() or 1) + 1)


# Shells start what is in the background without Ctrl-C, and programs that are started there would never get theirs.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
