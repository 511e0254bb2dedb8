"""Django's PostgreSQL, with a cheaper check of the connections that are kept: DATABASES names this package as ENGINE.

https://docs.djangoproject.com/en/6.1/ref/databases/#subclassing-the-built-in-database-backends
"""

from select import POLLIN, poll

from django.db.backends.postgresql import base


class DatabaseWrapper(base.DatabaseWrapper):
    """Checks a kept connection by its socket, which takes 1 µs: Django's query takes 0.3 ms a request."""

    def is_usable(self) -> bool:
        """Return False when the server has closed the connection: that makes its socket readable."""
        if self.connection is None or self.connection.closed:
            return False
        socket = poll()
        socket.register(self.connection.fileno(), POLLIN)
        return not socket.poll(0)
