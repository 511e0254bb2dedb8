"""Checks of single values: each function returns the value as it is used, or raises InvalidError."""

import re
from email.utils import getaddresses
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import urlsplit

from django.core.checks.security import base as django
from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from config.env import InvalidError

# Underscores are no part of the standard, but host names of private networks have them.
NAME = re.compile(r"\.?[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*", re.IGNORECASE)
DEFAULT_PORTS = {"http": 80, "https": 443}


def secret_key(value: str) -> str:
    """Check a SECRET_KEY by the limits of Django's own `check --deploy`."""
    if value.startswith(django.SECRET_KEY_INSECURE_PREFIX):
        raise InvalidError(f"starts with {django.SECRET_KEY_INSECURE_PREFIX}, as public keys do, and DEBUG is off")
    if "$(" in value or "${" in value:
        raise InvalidError("contains $( or ${, which no shell has expanded")
    length, unique = django.SECRET_KEY_MIN_LENGTH, django.SECRET_KEY_MIN_UNIQUE_CHARACTERS
    if len(value) < length or len(set(value)) < unique:
        raise InvalidError(f"is too weak: a key has {length} characters or more, at least {unique} different ones")
    return value


def host(value: str) -> str:
    """Check a host as ALLOWED_HOSTS takes it: a name, .name for its subdomains too, an address, or * for all."""
    if value == "*":
        return value
    if not value.isascii():
        raise InvalidError("has a name that is not ASCII: write its form that starts with xn--")
    try:
        if value.startswith("["):
            return f"[{IPv6Address(value.removeprefix('[').removesuffix(']'))}]"
        if value.rpartition(".")[2].isdecimal():  # browsers take such a host for an address too
            return str(IPv4Address(value))
    except ValueError:
        raise InvalidError("has a value that is no IP address") from None
    if not NAME.fullmatch(value) or value.lower() in ("none", "null"):
        raise InvalidError("has a value that is not a host: leave out the scheme, port and path")
    return value


def origin(value: str) -> str:
    """Check an origin as CSRF_TRUSTED_ORIGINS takes it: scheme, host and port; *. stands for all subdomains."""
    parts = urlsplit(value)
    name = parts.netloc.rpartition(":")[0] if parts.port else parts.netloc
    parent = name.removeprefix("*.")
    whole = f"{parts.scheme}://{parts.netloc}"
    if parts.scheme not in DEFAULT_PORTS or value != whole or parent.startswith((".", "*")):
        raise InvalidError("has a value that is not an origin: write a scheme and a host, without user and path")
    if name != parent and "." not in parent:
        raise InvalidError("trusts every site of a top-level domain")
    if parts.port == DEFAULT_PORTS[parts.scheme]:
        raise InvalidError("has the default port, which browsers leave out")
    host(parent)
    return value.lower()


def address(value: str) -> str:
    """Check a mail address, with or without a name: ada@example.com or Ada <ada@example.com>."""
    try:
        [(_, mailbox)] = getaddresses([value])
        validate_email(mailbox)
    except (ValidationError, ValueError):
        raise InvalidError("is no mail address") from None
    return value
