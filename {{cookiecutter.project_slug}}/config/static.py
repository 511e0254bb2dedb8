"""Static files in production: compressed, under names with a hash, which change only with a release."""

from functools import cache
from typing import Any

from whitenoise.storage import CompressedManifestStaticFilesStorage


class StaticFilesStorage(CompressedManifestStaticFilesStorage):
    """WhiteNoise's, but it works out the address of a file once, not 30 µs each time that a page names it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take what Django gives a storage."""
        super().__init__(*args, **kwargs)
        self.url = cache(super().url)
