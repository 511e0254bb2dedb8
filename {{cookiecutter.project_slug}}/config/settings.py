"""Django's settings, the same code for every deploy.

What varies between deploys is read from the environment, here and nowhere else: .env.example describes each variable.
A required variable has no default: without it the process ends at start and names it.

https://docs.djangoproject.com/en/6.1/ref/settings/
"""

import os
from pathlib import Path
from zoneinfo import ZoneInfo

from django.utils.csp import CSP

from config import logs, services
from config.env import REQUIRED, Env, InvalidError

BASE_DIR = Path(__file__).resolve().parent.parent

env = Env(os.environ)


# Safe unless the environment says otherwise: DEBUG is off where nothing is said.
# https://docs.djangoproject.com/en/6.1/howto/deployment/checklist/

DEBUG = env.boolean("DEBUG", default=False)


def secret_key(value: str) -> str:
    """Return the key, unless it is the public one of .env.example where it would matter."""
    if value.startswith("django-insecure-") and not DEBUG:
        raise InvalidError("is the public key of .env.example: it needs one of its own while DEBUG is off")
    return value


NEW_KEY = '$(python -c "import secrets; print(secrets.token_urlsafe(50))")'
SECRET_KEY = env.parsed("SECRET_KEY", secret_key, example=NEW_KEY)
SECRET_KEY_FALLBACKS = env.strings("SECRET_KEY_FALLBACKS", default=[])

ALLOWED_HOSTS = env.strings(
    "ALLOWED_HOSTS",
    default=[] if DEBUG else REQUIRED,
    because="while DEBUG is off",
    pattern=r"\*|\.?[\w-]+(\.[\w-]+)*|\[[0-9a-f:.]+\]",
    example="www.example.com",
)
CSRF_TRUSTED_ORIGINS = env.strings(
    "CSRF_TRUSTED_ORIGINS", default=[], pattern=r"https?://[^/\s]+", example="https://www.example.com"
)


# Application definition

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "accounts",
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

WSGI_APPLICATION = "config.wsgi.application"


# Database
# https://docs.djangoproject.com/en/6.1/ref/settings/#databases

DATABASE_CONN_MAX_AGE = env.integer("DATABASE_CONN_MAX_AGE", default=60)

DATABASES = {
    "default": env.parsed(
        "DATABASE_URL",
        lambda url: services.database(url, BASE_DIR, DATABASE_CONN_MAX_AGE),
        example="postgres://user:password@host:5432/name",
    )
}

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"


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


def time_zone(value: str) -> str:
    """Return the name of a time zone, if there is one."""
    try:
        return ZoneInfo(value).key
    except (KeyError, ValueError, OSError) as error:
        raise InvalidError("is not the name of a time zone") from error


TIME_ZONE = env.parsed("TIME_ZONE", time_zone, default="UTC", example="Europe/Paris")

USE_I18N = True

USE_TZ = True


# Static files: collected at build, served by the web process itself, compressed and for ever under a hashed name.
# With DEBUG on they come from where they are edited. https://whitenoise.readthedocs.io/en/stable/django.html

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "static"]

STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}

WHITENOISE_KEEP_ONLY_HASHED_FILES = True
# Said here and not left to Django's DEBUG, which tests turn off: then there would be no files to serve.
WHITENOISE_AUTOREFRESH = WHITENOISE_USE_FINDERS = DEBUG


# Security: on while DEBUG is off, each with a switch of its own.
# https://docs.djangoproject.com/en/6.1/topics/security/

SECURE_SSL_REDIRECT = env.boolean("SECURE_SSL_REDIRECT", default=not DEBUG)
SESSION_COOKIE_SECURE = env.boolean("SESSION_COOKIE_SECURE", default=not DEBUG)
CSRF_COOKIE_SECURE = env.boolean("CSRF_COOKIE_SECURE", default=not DEBUG)

# A browser that saw this header refuses plain HTTP for so many seconds, whatever the server says later. An hour is
# long enough to protect and short enough to repent; a year (31536000) is for a site that has proven itself.
SECURE_HSTS_SECONDS = env.integer("SECURE_HSTS_SECONDS", default=0 if DEBUG else 3600)
# These two speak for hosts that this project does not know, so that only the environment can turn them on.
SECURE_HSTS_INCLUDE_SUBDOMAINS = env.boolean("SECURE_HSTS_INCLUDE_SUBDOMAINS", default=False)
SECURE_HSTS_PRELOAD = env.boolean("SECURE_HSTS_PRELOAD", default=False)
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]  # check --deploy asks for both

# No inline scripts or styles, nothing from other sites. Django's admin works under it.
# https://docs.djangoproject.com/en/6.1/howto/csp/
SECURE_CSP = {
    "default-src": [CSP.SELF],
    "base-uri": [CSP.SELF],
    "form-action": [CSP.SELF],
    "frame-ancestors": [CSP.NONE],
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


# Tokens for external services go here: one line, and one in .env.example.


env.verify()
