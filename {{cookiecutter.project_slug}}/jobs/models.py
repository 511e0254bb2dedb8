"""The heartbeats of the workers."""

from django.db import models


class Heartbeat(models.Model):
    """The last sign of life of a worker, by the clock of the database: the clocks of machines differ."""

    worker_id = models.CharField(max_length=64, primary_key=True)
    seen_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.worker_id
