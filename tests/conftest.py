"""Where the fixtures come from."""

pytest_plugins = ["servers", "no_skips", "generation"]
