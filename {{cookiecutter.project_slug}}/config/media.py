"""Uploads on this machine's disk, served by the web process: no web server in front is needed."""

import errno
from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponseBase
from django.utils.csp import CSP
from django.views.decorators.csp import csp_override
from django.views.static import serve

# Uploaded documents, such as SVG, run no scripts and see no cookies of this site.
SANDBOX: dict[str, Any] = {"default-src": [CSP.NONE], "sandbox": True}

# Types that browsers show. Everything else is a download: pages may load scripts and styles from this site, so no
# upload may be one. PDF is not among them, because Safari shows an empty window for one in a sandbox.
SHOWN = ("image/", "audio/", "video/", "text/plain")


@csp_override(SANDBOX)
def media(request: HttpRequest, path: str) -> HttpResponseBase:
    """Serve an upload from disk; a bucket serves its own."""
    if not settings.MEDIA_ROOT:
        raise Http404("Uploads are in a bucket.")
    try:
        response = serve(request, path, document_root=settings.MEDIA_ROOT)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise Http404("No file has such a name.") from None
        raise
    if response.status_code == 200 and not response.headers["Content-Type"].startswith(SHOWN):
        response.headers["Content-Type"] = "application/octet-stream"
        response.headers["Content-Disposition"] = "attachment"
        del response.headers["Content-Encoding"]  # it would let browsers unpack a .gz
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
