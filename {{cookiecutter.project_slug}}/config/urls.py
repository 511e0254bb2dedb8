"""Which view answers which address: https://docs.djangoproject.com/en/6.1/topics/http/urls/."""

from django.conf import settings
from django.contrib import admin
from django.urls import path

from pages.views import favicon, home, media

urlpatterns = [
    path("", home, name="home"),
    path("favicon.ico", favicon),
    path("admin/", admin.site.urls),
]

if settings.STORAGES["default"]["BACKEND"].endswith("FileSystemStorage"):
    urlpatterns.append(path("media/<path:path>", media))
