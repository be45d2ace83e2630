"""Blobs in an object store, by `obstore`: S3 and what speaks its protocol, GCS, Azure.

Imported only when such a place is named: `pip install "executus[s3]"`. Credentials, region and
endpoint are found where the providers' own tools find them (AWS_ACCESS_KEY_ID, AWS_REGION,
AWS_ENDPOINT_URL, instance roles ...); executus has no settings for them.
"""

import os
from collections.abc import Awaitable
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from executus.errors import ConfigError, MissingExtra, StoreError
from executus.sanitize import clean_line
from executus.scrub import cut_urls
from executus.stores.blobs import BlobInfo, NoBlob

try:
    import obstore
    from obstore.exceptions import BaseError
    from obstore.store import from_url
except ImportError:
    raise MissingExtra("s3", "keeping files in an object store") from None

if TYPE_CHECKING:
    from obstore.store import ObjectStore

REQUEST_SECONDS = 30
"""Seconds one request may take."""
RETRIES, RETRY_SECONDS = 2, 10
"""What a request that failed in passing may cost. Temporal cannot try these again: the tool whose
result is being kept has run."""

T = TypeVar("T")


class ObjectBlobs:
    """Blobs below one prefix of a bucket."""

    def __init__(self, url: str) -> None:
        """`url`: `s3://bucket/prefix`, `gs://...` or `az://...`.

        Raises:
            ConfigError: the URL or the environment does not fit the service.
        """
        plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
        try:
            self._store: ObjectStore = from_url(
                url,
                client_options={
                    "timeout": timedelta(seconds=REQUEST_SECONDS),
                    "connect_timeout": timedelta(seconds=5),
                    "allow_http": plain,  # an endpoint that somebody runs beside the worker
                },
                retry_config={
                    "max_retries": RETRIES,
                    "retry_timeout": timedelta(seconds=RETRY_SECONDS),
                },
            )
        except (BaseError, ValueError) as error:
            raise ConfigError(f"files in {cut_urls(url)}: {_words(error)}") from None

    async def write(self, key: str, data: bytes) -> None:
        """See `Blobs.write`; an object appears whole or not at all."""
        try:
            await _checked(obstore.put_async(self._store, key, data))
        except FileNotFoundError:
            raise StoreError("the store of files: there is no such bucket") from None

    async def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """See `Blobs.read`."""
        try:
            if length is None and start == 0:
                found = await _checked(obstore.get_async(self._store, key))
                return bytes(await _checked(found.bytes_async()))
            if length is None:
                end = (await _checked(obstore.head_async(self._store, key)))["size"]
                length = max(0, end - start)
            if length == 0:
                return b""
            part = obstore.get_range_async(self._store, key, start=start, length=length)
            return bytes(await _checked(part))
        except FileNotFoundError:
            raise NoBlob from None

    async def ls(self, prefix: str = "") -> list[BlobInfo]:
        """See `Blobs.ls`."""
        found = list[BlobInfo]()
        try:
            chunks = obstore.list(self._store, prefix or None, chunk_size=1_000)  # pyright: ignore[reportUnknownMemberType] - its Arrow overloads
            async for chunk in chunks:
                found += [BlobInfo(o["path"], o["size"], o["last_modified"]) for o in chunk]
        except BaseError as error:
            raise StoreError(f"the store of files: {_words(error)}") from None
        return sorted(found)

    async def clear(self, prefix: str) -> None:
        """See `Blobs.clear`."""
        keys = [item.key for item in await self.ls(prefix)]
        if keys:
            await _checked(obstore.delete_async(self._store, keys))

    async def close(self) -> None:
        """Connections close with the last reference."""


async def _checked(request: Awaitable[T]) -> T:
    """The answer; any trouble but "not found" as a `StoreError`."""
    try:
        return await request
    except FileNotFoundError:
        raise
    except (BaseError, OSError) as error:
        raise StoreError(f"the store of files: {_words(error)}") from None


def _words(error: Exception) -> str:
    """The first line: below it the library prints its internals."""
    return clean_line(cut_urls(str(error).partition("\n")[0]), 300)
