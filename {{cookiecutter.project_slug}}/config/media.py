"""Uploads on this machine's disk, served so that they can be seen without a web server in front."""

from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponseBase
from django.utils.csp import CSP
from django.views.decorators.csp import csp_override
from django.views.static import serve

# A page that somebody uploaded runs no script and sees no cookie of this site.
SANDBOX: dict[str, Any] = {"default-src": [CSP.NONE], "sandbox": True}


@csp_override(SANDBOX)
def media(request: HttpRequest, path: str) -> HttpResponseBase:
    """Serve an upload from disk; a bucket serves its own."""
    if not settings.MEDIA_ROOT:
        raise Http404("Uploads are in a bucket.")
    return serve(request, path, document_root=settings.MEDIA_ROOT)
