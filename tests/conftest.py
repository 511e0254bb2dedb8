"""Where the fixtures come from."""

import signal

pytest_plugins = ["alone", "servers", "skips", "generation", "shell"]

# Shells start what is in the background without Ctrl-C, and programs that are started there would never get theirs.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
