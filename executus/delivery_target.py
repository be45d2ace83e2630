"""DeliveryTarget: where a run's outcome goes."""

from urllib.parse import urlsplit

from pydantic import Field

from executus.data import Data
from executus.sanitize import clean_line

MAX_ADDRESS = 2_048
MAX_SHOWN = 120
"""Characters of a target where people see it."""


class DeliveryTarget(Data):
    """Where a run's outcome goes."""

    kind: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")
    """`stdout`, `file`, `webhook`, or a kind of the host's own. One that the host does not have is
    refused before anything is paid for."""
    address: str = Field(default="", max_length=MAX_ADDRESS, pattern=r"^[^\x00-\x1f\x7f]*$")
    """What it means is the kind's affair: an URL or a configured endpoint's name for `webhook`, a
    file name for `file`, nothing for `stdout`. It stands in history: no passwords here."""

    @property
    def shown(self) -> str:
        """For people, logs and the audit.

        Of an URL the path and query are left out: many receivers keep a secret there.
        """
        address = self.address
        if "://" in address:
            address = _origin(address)
        return clean_line(f"{self.kind} {address}".rstrip(), MAX_SHOWN)


def _origin(url: str) -> str:
    """Scheme, host and port of an URL."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "an address that cannot be read"
    return f"{parts.scheme}://{parts.hostname or '?'}{port}/..."
