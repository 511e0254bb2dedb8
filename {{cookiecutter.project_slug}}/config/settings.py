"""Django's settings, the same code for every deploy.

What varies between deploys is read from the environment, here and nowhere else: .env.example describes each variable.
A required variable has no default: without it the process ends at start and names it.
Every setting is described in https://docs.djangoproject.com/en/6.1/ref/settings/.
"""

import os
from pathlib import Path
from zoneinfo import ZoneInfo

from django.utils.csp import CSP

from config import logs, services
from config.env import HOST, ORIGIN, REQUIRED, Env, web_process

BASE_DIR = Path(__file__).resolve().parent.parent

env = Env(os.environ)

# Off where nothing is said: https://docs.djangoproject.com/en/6.1/howto/deployment/checklist/
DEBUG = env.boolean("DEBUG", default=False)

NEW_KEY = '$(python -c "import secrets; print(secrets.token_urlsafe(50))")'
SECRET_KEY = env.text("SECRET_KEY", example=NEW_KEY)
if SECRET_KEY and SECRET_KEY.startswith("django-insecure-") and not DEBUG:
    env.refuse("SECRET_KEY", "is the public key of .env.example, and DEBUG is off", NEW_KEY)
SECRET_KEY_FALLBACKS = env.strings("SECRET_KEY_FALLBACKS", default=[])

needed = {"default": [] if DEBUG else REQUIRED, "because": "while DEBUG is off"}
ALLOWED_HOSTS = env.strings("ALLOWED_HOSTS", pattern=HOST, example="www.example.com", **needed)
CSRF_TRUSTED_ORIGINS = env.strings("CSRF_TRUSTED_ORIGINS", default=[], pattern=ORIGIN, example="https://example.com")


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


# Backing services: each is a URL, which config/services.py turns into Django's setting
# https://docs.djangoproject.com/en/6.1/ref/databases/ https://docs.djangoproject.com/en/6.1/topics/cache/
# https://docs.djangoproject.com/en/6.1/topics/email/ https://docs.djangoproject.com/en/6.1/topics/tasks/

CONN_MAX_AGE = env.integer("DATABASE_CONN_MAX_AGE", default=60)
DATABASES = {
    "default": env.parsed(
        "DATABASE_URL",
        lambda url: services.database(url, conn_max_age=CONN_MAX_AGE),
        example="postgres://user:password@host:5432/name",
    )
}
CACHE_TLS_VERIFY = env.boolean("CACHE_TLS_VERIFY", default=True)
CACHES = {
    "default": env.parsed(
        "CACHE_URL",
        lambda url: services.cache(url, verify=CACHE_TLS_VERIFY),
        default="locmem://",
        example="redis://:password@host/0",
    )
}
MAILERS = {
    "default": env.parsed("EMAIL_URL", services.mail, default="console://", example="smtp+tls://user:password@host")
}
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env.text("DEFAULT_FROM_EMAIL", default="webmaster@localhost")
TASKS = {"default": env.parsed("TASKS", services.tasks, default="immediate", example="database")}

# Sessions live in the database, unless the environment puts them into a cache, one that all processes share.
SESSIONS = env.choice("SESSION_ENGINE", ["db", "cached_db", "cache"], default="db")
SESSION_ENGINE = f"django.contrib.sessions.backends.{SESSIONS}"
if SESSIONS in ("cached_db", "cache") and CACHES["default"] and "LOCATION" not in CACHES["default"]:
    env.refuse("SESSION_ENGINE", "needs a CACHE_URL of a cache that processes share, Redis or Memcached", "db")


# Users and passwords
# https://docs.djangoproject.com/en/6.1/topics/auth/customizing/#using-a-custom-user-model-when-starting-a-project

AUTH_USER_MODEL = "accounts.User"
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


# Uploads, and static files: those are collected at build and served by the web process, compressed and for ever under
# a hashed name; with DEBUG on they come from where they are edited. https://whitenoise.readthedocs.io/

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATICFILES_STORAGE = "config.static.StaticFilesStorage"
if DEBUG:
    STATICFILES_STORAGE = "django.contrib.staticfiles.storage.StaticFilesStorage"
STORAGES = {
    "default": env.parsed("STORAGE_URL", services.storage, default="file:media", example="s3://bucket?region=name"),
    "staticfiles": {"BACKEND": STATICFILES_STORAGE},
}
WHITENOISE_KEEP_ONLY_HASHED_FILES = True
# Files with a hash in their name never change. WhiteNoise's own test of that makes its scan at start twice as long.
WHITENOISE_IMMUTABLE_FILE_TEST = r"\.[0-9a-f]{12}\."
# Said here and not left to Django's DEBUG, which tests turn off: then there would be no files to serve.
WHITENOISE_AUTOREFRESH = WHITENOISE_USE_FINDERS = DEBUG


# Security: on while DEBUG is off, each with a switch of its own
# https://docs.djangoproject.com/en/6.1/topics/security/

SECURE_SSL_REDIRECT = env.boolean("SECURE_SSL_REDIRECT", default=not DEBUG)
SESSION_COOKIE_SECURE = env.boolean("SESSION_COOKIE_SECURE", default=not DEBUG)
CSRF_COOKIE_SECURE = env.boolean("CSRF_COOKIE_SECURE", default=not DEBUG)
# Browsers refuse plain HTTP for so many seconds after a visit, whatever the server says later: an hour to begin with.
SECURE_HSTS_SECONDS = env.integer("SECURE_HSTS_SECONDS", default=0 if DEBUG else 3600)
# These speak for hosts that this project does not know, so only the environment turns them on; the checks ask for both.
SECURE_HSTS_INCLUDE_SUBDOMAINS = env.boolean("SECURE_HSTS_INCLUDE_SUBDOMAINS", default=False)
SECURE_HSTS_PRELOAD = env.boolean("SECURE_HSTS_PRELOAD", default=False)
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
# No inline scripts or styles, nothing from other sites. Django's admin works under it.
SECURE_CSP = {
    "default-src": [CSP.SELF],
    "base-uri": [CSP.SELF],
    "form-action": [CSP.SELF],
    "frame-ancestors": [CSP.NONE],
    "img-src": [CSP.SELF, *services.origin(STORAGES["default"])],
    "media-src": [CSP.SELF, *services.origin(STORAGES["default"])],
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

web_process(env)  # for gunicorn.conf.py: one message has the problems of the whole environment
env.verify()
