"""A pytest plugin: tests run on .env.example, on any machine; a variable that is set counts more.

It is named with -p in pyproject.toml, because a conftest.py would come after Django's settings.
"""

import os
import re
from pathlib import Path

EXAMPLE = Path(__file__).parent.parent / ".env.example"

for name, value in re.findall(r"(?m)^([A-Z][A-Z0-9_]*)=(.*)$", EXAMPLE.read_text(encoding="utf-8")):
    if not os.environ.get(name, "").strip():
        os.environ[name] = value
