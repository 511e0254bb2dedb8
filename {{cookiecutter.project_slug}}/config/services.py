"""Mail, background tasks and uploads: each function turns a variable into a backing service.

https://docs.djangoproject.com/en/6.1/topics/email/ https://docs.djangoproject.com/en/6.1/topics/tasks/
https://docs.djangoproject.com/en/6.1/topics/files/
"""

import re
from typing import Any
from urllib.parse import unquote

from config.env import InvalidError
from config.service_urls import CONNECT_TIMEOUT, Service, parse_directory, parse_options, parse_url, require_client

# The options of each scheme for Django's backend, which knows the usual ports.
SMTP: dict[str, dict[str, bool]] = {"smtp": {}, "smtp+tls": {"use_tls": True}, "smtps": {"use_ssl": True}}


def mail(url: str) -> Service:
    """Return the mail service of console://, file:directory, smtp://…, smtp+tls://… or smtps://….

    smtp+tls is STARTTLS, on port 587 unless the URL has another; smtps is TLS from the start, on 465. Raises
    InvalidError.
    """
    backend = "django.core.mail.backends.{}.EmailBackend"
    if url == "console://":
        return Service({"BACKEND": backend.format("console")}, "printed")
    if url.startswith("file:"):
        path = parse_directory(url, "mail")
        return Service({"BACKEND": backend.format("filebased"), "OPTIONS": {"file_path": path}}, "files", path=path)
    parts = parse_url(url)
    if parts.scheme not in SMTP:
        raise InvalidError("has an unknown scheme: smtp, smtp+tls, smtps, file and console are known")
    if not parts.hostname:
        raise InvalidError("names no host")
    if bool(parts.username) != bool(parts.password):  # Django would not log in at all
        raise InvalidError("has a user without a password, or a password without a user")
    if parts.port in ((25, 587) if parts.scheme == "smtps" else (465,)):  # https://www.rfc-editor.org/rfc/rfc8314
        raise InvalidError("has a port of another scheme: smtps is for 465, smtp+tls for 587")
    # Without a timeout a dead server would hold a thread for ever.
    timeout = parse_options(parts, {"timeout"}).get("timeout", "10")
    if not re.fullmatch("[1-9][0-9]*", timeout):
        raise InvalidError("has a timeout that is not a whole number")
    options = {
        "host": parts.hostname,
        "port": parts.port,
        "username": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "timeout": int(timeout),
        **SMTP[parts.scheme],
    }
    return Service({"BACKEND": backend.format("smtp"), "OPTIONS": options}, f"SMTP at {parts.hostname}")


def tasks(name: str) -> Service:
    """Return what runs background tasks: immediate (the process that enqueues them) or database (the worker)."""
    backends = {
        "immediate": ("django.tasks.backends.immediate.ImmediateBackend", "in the web process, at once"),
        "database": ("django_tasks_db.DatabaseBackend", "in the worker, through the database"),
    }
    if name not in backends:
        raise InvalidError(f"is not one of {', '.join(backends)}")
    backend, label = backends[name]
    return Service({"BACKEND": backend, "QUEUES": []}, label)  # an empty list allows every name


def uploads(url: str) -> Service:
    """Return the storage of file:directory or s3://bucket/prefix?endpoint=https://host&region=name.

    The credentials are those that every tool for S3 reads: AWS_ACCESS_KEY_ID and so on. Raises InvalidError.
    """
    if url.startswith("file:"):
        path = parse_directory(url, "media")
        return Service({"BACKEND": "django.core.files.storage.FileSystemStorage"}, "disk", path=path, url="/media/")
    parts = parse_url(url)
    if parts.scheme != "s3":
        raise InvalidError("has an unknown scheme: file and s3 are known")
    bucket = parts.netloc
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", bucket):
        raise InvalidError("names no bucket")
    query = parse_options(parts, {"endpoint", "region"})
    endpoint, region = query.get("endpoint", "").rstrip("/"), query.get("region")
    store = parse_url(endpoint or "https://amazon")
    if store.scheme not in ("http", "https") or not store.hostname or store.query:
        raise InvalidError("has an endpoint that is not https://host")
    if "." in bucket and not endpoint:
        raise InvalidError("names a bucket with a dot, which Amazon's certificates do not cover")
    require_client("storages", "django-storages[s3]")
    require_client("botocore", "django-storages[s3]")
    from botocore.config import Config

    # Custom endpoints rarely have a certificate for each bucket's host, so the bucket is in the path. Amazon's buckets
    # have hosts of their own, in the bucket's region.
    style = {"addressing_style": "path" if endpoint else "virtual", "us_east_1_regional_endpoint": "regional"}
    client = Config(s3=style, signature_version="s3v4", connect_timeout=CONNECT_TIMEOUT, retries={"mode": "standard"})
    options: dict[str, Any] = {
        "bucket_name": bucket,
        "location": unquote(parts.path.strip("/")),
        "endpoint_url": endpoint or None,
        # Without a region boto3 takes the environment's, and makes addresses that the site's policy refuses.
        "region_name": region or "aws-global",
        "client_config": client,
        "file_overwrite": False,  # as on disk: a second upload of the same name gets another
    }
    china = ".cn" if region and region.startswith("cn-") else ""
    amazon = f"https://{bucket}.s3.{region}.amazonaws.com{china}/" if region else f"https://{bucket}.s3.amazonaws.com/"
    origin = f"{endpoint}/{bucket}/" if endpoint else amazon
    return Service(
        {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options}, f"S3, bucket {bucket}", url=origin
    )
