"""Checks of single values: each function returns the value as it is used, or raises InvalidError."""

import re
from email.utils import getaddresses
from urllib.parse import urlsplit

from django.core.checks.security import base as django
from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from config.env import InvalidError

# A host name or an address, but not None or null, which programs write for a missing value. Underscores are not
# standard, but names in private networks have them.
_LABEL = "[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?"
HOST = re.compile(rf"(?!none$|null$){_LABEL}(\.{_LABEL})*|\[[0-9a-f:.]+\]", re.ASCII | re.IGNORECASE)


def secret_key(value: str) -> str:
    """Check a SECRET_KEY by the limits of Django's own `check --deploy`."""
    if value.startswith(django.SECRET_KEY_INSECURE_PREFIX):
        raise InvalidError(f"starts with {django.SECRET_KEY_INSECURE_PREFIX}, as a public key does, and DEBUG is off")
    if re.search(r"^\$\(|\$\(.* |\$\{", value):  # keys that Django makes may hold $( but neither a space nor {
        raise InvalidError("contains $( or ${, which no shell has expanded")
    length, unique = django.SECRET_KEY_MIN_LENGTH, django.SECRET_KEY_MIN_UNIQUE_CHARACTERS
    if len(value) < length or len(set(value)) < unique:
        raise InvalidError(f"is too weak: it needs {length} characters, at least {unique} of them different")
    return value


def host(value: str) -> str:
    """Check a host as ALLOWED_HOSTS takes it: a name, .name for its subdomains too, an address, or * for all."""
    if value != "*" and not HOST.fullmatch(value.removeprefix(".")):
        raise InvalidError("has a value that is not a host: leave out scheme, port, path; write non-ASCII as xn--…")
    return value


def origin(value: str) -> str:
    """Check an origin as CSRF_TRUSTED_ORIGINS takes it: scheme, host and port; *. stands for all subdomains."""
    parts = urlsplit(value)
    name = parts.netloc.removesuffix(f":{parts.port}")
    parent = name.removeprefix("*.")
    if not re.match("https?://", value) or value != f"{parts.scheme}://{parts.netloc}" or not HOST.fullmatch(parent):
        raise InvalidError("has a value that is not an origin: write a scheme and a host, without user and path")
    if parts.port == {"http": 80, "https": 443}[parts.scheme]:
        raise InvalidError("has the usual port of its scheme, which browsers leave out")
    if name != parent and "." not in parent:
        raise InvalidError("trusts every site of a top-level domain")
    return value.lower()


def address(value: str) -> str:
    """Check a mail address, with or without a name: ada@example.com or Ada <ada@example.com>."""
    try:
        [(_, mailbox)] = getaddresses([value])
        validate_email(mailbox)
    except (ValidationError, ValueError):
        raise InvalidError("is not a mail address") from None
    return value
