"""Which workers are alive, as the database knows it."""

from django.db import models


class Heartbeat(models.Model):
    """When a worker last showed that it lives, by the clock of the database: those of machines differ."""

    worker_id = models.CharField(max_length=64, primary_key=True)
    seen_at = models.DateTimeField()

    def __str__(self) -> str:
        """Return the worker's id."""
        return self.worker_id
