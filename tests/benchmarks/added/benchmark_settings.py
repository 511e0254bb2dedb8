# Appended by the benchmark to what startproject wrote: what its checklist for deployment asks for.

import json
import os

DEBUG = False
SECRET_KEY = os.environ["SECRET_KEY"]
ALLOWED_HOSTS = [os.environ["ALLOWED_HOSTS"]]
DATABASES = {"default": json.loads(os.environ["DATABASE"])}
if "TASKS" in os.environ:
    INSTALLED_APPS += ["django_tasks_db"]  # noqa: F821
    TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
