"""The pages that every visitor sees."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from config import health
from config.services import describe


def home(request: HttpRequest) -> HttpResponse:
    """Say that it works; with DEBUG on also show which services this deploy has and whether they answer."""
    context = {}
    if settings.DEBUG:
        errors = {probe.name: probe.error() for probe in health.PROBES}
        context["services"] = [
            {"name": name, "attached": attached, "probed": name in errors, "error": errors.get(name)}
            for name, attached in describe(settings).items()
        ]
    return render(request, "pages/home.html", context)
