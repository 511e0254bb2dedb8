"""Background tasks: https://docs.djangoproject.com/en/6.1/topics/tasks/.

A task whose worker was killed runs again, so write each so that running it twice does no harm.
"""

import logging

from django.core.mail import send_mail
from django.tasks import task

logger = logging.getLogger(__name__)


@task
def send_greeting(address: str) -> int:
    """Send a mail, as an example: `send_greeting.enqueue("ada@example.com")`. Delete it when you have a task."""
    logger.info("sending a greeting")
    return send_mail("Hello", "Background tasks work.", None, [address])
