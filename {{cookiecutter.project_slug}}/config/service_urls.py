"""The URL of a backing service, taken apart with care.

The code makes no distinction between local and third-party services (https://12factor.net/backing-services): each is
attached by a URL in the environment. URLs that urllib would silently misparse are refused.
"""

import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from config.env import InvalidError

BASE_DIR = Path(__file__).resolve().parent.parent

# Seconds until a service that does not answer counts as unreachable.
CONNECT_TIMEOUT = 5

ESCAPE = "percent-encode special characters in the user name and password (@ is %40, # is %23, / is %2F)"


@dataclass(frozen=True)
class Service:
    """A backing service, as the environment attached it."""

    setting: dict[str, Any]  # Django's entry of DATABASES, CACHES and so on
    label: str  # for people: what it is and its host, without user names and passwords
    shared: bool = True  # whether all processes see the same data
    path: Path | None = None  # of its files on this machine
    url: str = ""  # where browsers fetch its files from

    def holds(self, other: "Service") -> bool:
        """Tell whether the other's files are among the files of this one."""
        return bool(self is not other and self.path and other.path and other.path.is_relative_to(self.path))


def parse_url(url: str) -> SplitResult:
    """Return the parts of a URL.

    Raises InvalidError if a password holds a `#`, `/`, `?` or `@` that is not percent-encoded: urllib would take a part
    of the password for the host or the path.
    """
    if not re.match(r"[a-z][a-z0-9+.-]*:", url):
        raise InvalidError("does not start with a scheme, as the example does")
    if re.search(r"%(?![0-9A-Fa-f]{2})|[^!-~]|[#<>\"\\^`{|}]", url):
        raise InvalidError(f"has a character that a URL cannot hold: {ESCAPE}")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidError(f"has a host or port that cannot be read: {ESCAPE}") from None
    if "@" in parts.path or "@" in parts.query or parts.netloc.count("@") > 1:
        raise InvalidError(f"has an @ in the wrong place: {ESCAPE}")
    if parts.netloc.endswith(":") or port == 0:
        raise InvalidError("has no port after the colon")
    return parts


def parse_options(parts: SplitResult, known: set[str]) -> dict[str, str]:
    """Return the options after the `?`; raise InvalidError for one that is not in `known`."""
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if options.keys() - known:  # not named in the message: it may be a part of a password
        raise InvalidError(f"has an unknown option after the ?; known: {', '.join(sorted(known))}")
    return options


def parse_directory(url: str, usual: str) -> Path:
    """Return the directory of file:relative (to the project) or file:///absolute.

    Raises InvalidError for the project's directory, any above it and any inside it: files would be published or
    committed. `usual` and directories below it are allowed, because git and builds ignore them.
    """
    parts = parse_url(url)
    if parts.netloc or parts.query or not parts.path.strip("/"):
        raise InvalidError(f"names no directory: write file:{usual} or file:///absolute")
    path = (BASE_DIR / unquote(parts.path)).resolve()
    inside = path.is_relative_to(BASE_DIR) and not path.is_relative_to(BASE_DIR / usual)
    if inside or BASE_DIR.is_relative_to(path):
        raise InvalidError(f"is inside the project or contains it: write file:{usual}, or a directory elsewhere")
    return path


def require_client(module: str, package: str) -> None:
    """Raise InvalidError, with the command that installs it, unless `module` can be imported."""
    if find_spec(module) is None:
        raise InvalidError(f'needs a client that is not installed: uv add "{package}"')
