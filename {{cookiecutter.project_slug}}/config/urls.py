"""Which view answers which address: https://docs.djangoproject.com/en/6.1/topics/http/urls/."""

from django.contrib import admin
from django.urls import path

from pages.views import home

urlpatterns = [
    path("", home, name="home"),
    path("admin/", admin.site.urls),
]
