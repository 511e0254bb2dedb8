"""The pages that every visitor sees."""

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect, render
from django.templatetags.static import static
from django.utils.csp import CSP
from django.views.decorators.csp import csp_override
from django.views.static import serve

from config import health
from config.services import describe


def home(request: HttpRequest) -> HttpResponseBase:
    """Say that it works; with DEBUG on also show which services this deploy has and whether they answer."""
    context = {}
    if settings.DEBUG:
        errors = {name: probe.error() for name, probe in health.PROBES.items()}
        context["services"] = [
            {"name": name, "attached": attached, "probed": name in errors, "error": errors.get(name)}
            for name, attached in describe(settings).items()
        ]
    return render(request, "pages/home.html", context)


def favicon(request: HttpRequest) -> HttpResponseBase:
    """Redirect to the icon of pages that name none, such as the admin's."""
    return redirect(static("favicon.svg"))


@csp_override({"default-src": [CSP.NONE], "sandbox": True})
def media(request: HttpRequest, path: str) -> HttpResponseBase:
    """Serve an upload from disk, so that it can be seen with no web server in front; a bucket serves its own.

    What people upload is not ours: in the sandbox a page among it runs no script and sees no cookie of this site.
    """
    return serve(request, path, document_root=settings.STORAGES["default"]["OPTIONS"]["location"])
