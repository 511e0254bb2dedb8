"""The users of this project."""

from django.contrib.auth.models import AbstractUser


class User(AbstractUser):
    """Django's own user in a table of ours, because it cannot be swapped after the first migrations.

    https://docs.djangoproject.com/en/6.1/topics/auth/customizing/#using-a-custom-user-model-when-starting-a-project
    """
