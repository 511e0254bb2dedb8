"""The addresses of the pages."""

from django.urls import path

from pages.views import favicon, home

urlpatterns = [
    path("", home, name="home"),
    path("favicon.ico", favicon),
]
