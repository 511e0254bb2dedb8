"""The users of this project."""

from django.contrib.auth.models import AbstractUser


class User(AbstractUser):
    """Django's own user for now, in a table of ours: once there are migrations it cannot be swapped any more.

    https://docs.djangoproject.com/en/6.1/topics/auth/customizing/#using-a-custom-user-model-when-starting-a-project
    """
