"""Images that a request names by URL: fetched where the settings allow it, refused otherwise.

Must not import ONNX Runtime.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from linnet.errors import ImageError, MissingExtra
from service.admission import Hold
from service.body import Upload
from service.errors import UrlsOff
from service.settings import Settings

if TYPE_CHECKING:
    from service.fetching import Fetcher


def fetcher_of(settings: Settings) -> Fetcher | None:
    """Return what fetches images, or None where it is off; raises `MissingExtra`."""
    if not settings.fetch_urls:
        return None
    try:
        from service.fetching import Fetcher
    except ModuleNotFoundError as error:
        raise MissingExtra("serve", error.name or "httpcore", "urls") from error
    return Fetcher(settings.fetch_timeout_ms, settings.max_body_bytes)


async def images_of(uploads: Sequence[Upload], fetcher: Fetcher | None, hold: Hold) -> Sequence[bytes | ImageError]:
    """Return the encoded image of each upload, or why it could not be had; raises `UrlsOff` or `Overloaded`.

    Nothing is fetched any more when it ends: what came later would be held for nobody.
    """
    if all(upload.url is None for upload in uploads):
        return [upload.data for upload in uploads]
    if fetcher is None:
        raise UrlsOff
    # All are waited for: what is cancelled while it connects leaves its socket to the garbage collector.
    fetched = await asyncio.gather(*(_image_of(upload, fetcher, hold) for upload in uploads), return_exceptions=True)
    found: list[bytes | ImageError] = []
    for one in fetched:
        if isinstance(one, BaseException) and not isinstance(one, ImageError):
            raise one
        found.append(one)
    return found


async def _image_of(upload: Upload, fetcher: Fetcher, hold: Hold) -> bytes | ImageError:
    if upload.url is None:
        return upload.data
    try:
        return await fetcher(upload.url, hold)
    except ImageError as error:
        return error
