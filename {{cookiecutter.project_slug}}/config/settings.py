"""Django's settings, the same code for every deploy.

What varies between deploys is read from the environment, here and in gunicorn.conf.py; .env.example describes each
variable. A required variable has no default: without it the process ends at start and names it.
Every setting is described in https://docs.djangoproject.com/en/6.1/ref/settings/.
"""

import os
import secrets
from pathlib import Path
from zoneinfo import ZoneInfo

from django.utils.csp import CSP

from config import caches, databases, logs, services, values
from config.env import Env

BASE_DIR = Path(__file__).resolve().parent.parent

env = Env(os.environ)

# Off unless the environment turns it on: https://docs.djangoproject.com/en/6.1/howto/deployment/checklist/
DEBUG = env.boolean("DEBUG", default=False)

# With DEBUG on any key will do, even the public one of .env.example.
_key = str if DEBUG else values.secret_key
SECRET_KEY = env.parsed("SECRET_KEY", _key, example=secrets.token_urlsafe(50))
SECRET_KEY_FALLBACKS = env.strings("SECRET_KEY_FALLBACKS", _key, default="", example=secrets.token_urlsafe(50))

_hosts = "" if DEBUG else None  # without a default it is required
ALLOWED_HOSTS = env.strings("ALLOWED_HOSTS", values.host, default=_hosts, example="www.example.com")
CSRF_TRUSTED_ORIGINS = env.strings("CSRF_TRUSTED_ORIGINS", values.origin, default="", example="https://example.com")


# Application definition

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_tasks_db",
    "accounts",
    "jobs",
    "pages",
]

MIDDLEWARE = [
    "config.logs.request_id_middleware",
    "config.health.health_middleware",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.csp.ContentSecurityPolicyMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]


# Backing services: for each a function turns the variable into Django's setting and a label for the first page

_age = env.integer("DATABASE_CONN_MAX_AGE", default=60)
_verify = env.boolean("CACHE_TLS_VERIFY", default=True)
attached = {
    "database": env.parsed("DATABASE_URL", lambda url: databases.database(url, _age), example="sqlite:///db.sqlite3"),
    "cache": env.parsed("CACHE_URL", lambda url: caches.cache(url, _verify), default="locmem://", example="dummy://"),
    "mail": env.parsed("EMAIL_URL", services.mail, default="console://", example="smtp+tls://user:password@host"),
    "uploads": env.parsed("STORAGE_URL", services.uploads, default="file:media", example="file:media"),
    "tasks": env.parsed("TASKS", services.tasks, default="immediate", example="database"),
}
DATABASES = {"default": attached["database"].setting}
CACHES = {"default": attached["cache"].setting}
MAILERS = {"default": attached["mail"].setting}
TASKS = {"default": attached["tasks"].setting}
if any(attached["uploads"].holds(service) for service in attached.values()):
    env.add_problem("STORAGE_URL", "would publish the database or the mail in that directory", "file:media")
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env.parsed(
    "DEFAULT_FROM_EMAIL", values.address, default="webmaster@localhost", example="site@example.com"
)

# Sessions live in the database, unless the environment puts them into a cache.
_sessions = env.choice("SESSION_ENGINE", ["db", "cached_db", "cache"], default="db")
SESSION_ENGINE = f"django.contrib.sessions.backends.{_sessions}"
if _sessions != "db" and not attached["cache"].shared:
    env.add_problem("SESSION_ENGINE", "needs a CACHE_URL that processes share: Redis or Memcached", "db")


# Users and passwords
# https://docs.djangoproject.com/en/6.1/topics/auth/customizing/#using-a-custom-user-model-when-starting-a-project

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]


# Internationalization
# https://docs.djangoproject.com/en/6.1/topics/i18n/

LANGUAGE_CODE = "en-us"
TIME_ZONE = env.parsed("TIME_ZONE", lambda name: ZoneInfo(name).key, default="UTC", example="Europe/Paris")
USE_I18N = True
USE_TZ = True


# Uploads, and static files. collectstatic compresses static files and puts hashes into their names, so browsers keep
# them; the web process serves them. With DEBUG on it serves the originals. https://whitenoise.readthedocs.io/

MEDIA_ROOT = str(attached["uploads"].path or "")
MEDIA_URL = attached["uploads"].url
STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "static"]
_static_files = "django.contrib.staticfiles.storage.StaticFilesStorage" if DEBUG else "config.static.StaticFilesStorage"
STORAGES = {"default": attached["uploads"].setting, "staticfiles": {"BACKEND": _static_files}}
WHITENOISE_KEEP_ONLY_HASHED_FILES = True
# Files with a hash in their name never change. WhiteNoise's default check doubles its scan at startup.
WHITENOISE_IMMUTABLE_FILE_TEST = r"\.[0-9a-f]{12}\."
# Explicit, because the test runner forces DEBUG=False, with which WhiteNoise wants collected files.
WHITENOISE_AUTOREFRESH = WHITENOISE_USE_FINDERS = DEBUG


# Security: on while DEBUG is off unless noted, each with a switch of its own
# https://docs.djangoproject.com/en/6.1/topics/security/

SECURE_SSL_REDIRECT = env.boolean("SECURE_SSL_REDIRECT", default=not DEBUG)
SESSION_COOKIE_SECURE = env.boolean("SESSION_COOKIE_SECURE", default=not DEBUG)
CSRF_COOKIE_SECURE = env.boolean("CSRF_COOKIE_SECURE", default=not DEBUG)
# Seconds for which browsers refuse plain HTTP after a visit. It cannot be taken back, so it starts with an hour.
SECURE_HSTS_SECONDS = env.integer("SECURE_HSTS_SECONDS", default=0 if DEBUG else 3600)
# These affect every subdomain, so they are opt-in, and the two checks that ask for them are silenced.
SECURE_HSTS_INCLUDE_SUBDOMAINS = env.boolean("SECURE_HSTS_INCLUDE_SUBDOMAINS", default=False)
SECURE_HSTS_PRELOAD = env.boolean("SECURE_HSTS_PRELOAD", default=False)
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
# No inline scripts or styles, nothing from other sites but uploads. Django's admin works under it.
_bucket = [] if MEDIA_ROOT else [MEDIA_URL]
SECURE_CSP: dict[str, list[str]] = {
    "default-src": [CSP.SELF],
    "base-uri": [CSP.SELF],
    "form-action": [CSP.SELF],
    "frame-ancestors": [CSP.NONE],
    "img-src": [CSP.SELF, *_bucket],
    "media-src": [CSP.SELF, *_bucket],
    "object-src": [CSP.NONE],
}
if not env.boolean("SECURE_CSP", default=True):
    SECURE_CSP = {}


# Logging
# https://docs.djangoproject.com/en/6.1/topics/logging/

LOGGING = logs.logging_config(
    level=env.choice("LOG_LEVEL", logs.LEVELS, default="info"),
    format=env.choice("LOG_FORMAT", logs.FORMATS, default="json"),
)


# Tokens for external services: a line each, and one in .env.example

env.verify()
