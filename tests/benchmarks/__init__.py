"""How fast a generated project is next to bare Django: `python -m tests.benchmarks --help`."""
