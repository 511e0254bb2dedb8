"""The pages that every visitor sees."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.templatetags.static import static

from config import health
from config.settings import attached


def home(request: HttpRequest) -> HttpResponse:
    """Say that it works; with DEBUG on also show which services this deploy has and whether they answer."""
    context = {}
    if settings.DEBUG:
        errors = {name: probe.error() for name, probe in health.PROBES.items()}
        context["services"] = [
            {"name": name, "attached": service.label, "probed": name in errors, "error": errors.get(name)}
            for name, service in attached.items()
        ]
    return render(request, "pages/home.html", context)


def favicon(request: HttpRequest) -> HttpResponseBase:
    """Redirect to the icon: browsers ask here when a page names none, such as the admin's."""
    return redirect(static("favicon.svg"))
