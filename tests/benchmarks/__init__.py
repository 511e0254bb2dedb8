"""How fast a generated project is, next to bare Django: `uv run python -m tests.benchmarks --help`."""
