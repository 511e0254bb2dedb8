"""The twelve factors, tested by what the processes do: a module a factor, each of which can be deleted.

They run with all other tests. `uv run pytest tests/factors` runs them alone, `uv run pytest --ignore tests/factors`
leaves them out. On SQLite by default; with DATABASE_URL and CACHE_URL set, on databases of their own on those servers.
"""
