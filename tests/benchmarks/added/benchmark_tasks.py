"""A task that does nothing, so that what is measured is the queue; as a program, enqueues some."""

import sys

from django.tasks import task


@task
def nothing() -> None:
    """Return."""


if __name__ == "__main__":
    import django
    from django.db import transaction

    django.setup()
    from benchmark_tasks import nothing as importable

    with transaction.atomic():
        for _ in range(int(sys.argv[1])):
            importable.enqueue()
