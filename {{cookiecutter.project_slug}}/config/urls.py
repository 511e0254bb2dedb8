"""Which view answers which address: https://docs.djangoproject.com/en/6.1/topics/http/urls/."""

from django.contrib import admin
from django.urls import include, path

from config.media import media

urlpatterns = [
    path("", include("pages.urls")),
    path("admin/", admin.site.urls),
    path("media/<path:path>", media),
]
