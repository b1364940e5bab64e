"""Bodies that are one image, or JSON with images in base64.

Must not import ONNX Runtime.
"""

from __future__ import annotations

import base64
import binascii

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from linnet.bundle import first_problem
from service.body import MAX_FILENAME_CHARACTERS, Upload
from service.errors import MalformedRequest, TooManyImages

# A value costs many times the bytes it is sent in, and values are told apart by commas, of which base64 has none.
COMMAS_OF_AN_IMAGE = 64  # generous: those of a URL

URL_SCHEMES = ("http://", "https://")


class RawReader:
    """The whole body is one image."""

    def __init__(self) -> None:
        self._body = bytearray()

    def feed(self, chunk: bytes) -> None:
        """Take the next chunk."""
        self._body += chunk

    def finish(self) -> list[Upload]:
        """Return the one upload."""
        if not self._body:
            raise MalformedRequest("the body is empty")
        return [Upload(None, bytes(self._body))]


class PredictRequest(BaseModel):
    """The JSON form of a request."""

    model_config = ConfigDict(extra="forbid", strict=True)

    images: list[str] = Field(
        min_length=1,
        description="encoded images in standard base64, a data: URL prefix is allowed; or http(s) URLs where the "
        "operator lets the service fetch them",
    )


class JsonReader:
    """The body is JSON; `finish` takes some milliseconds per megabyte and belongs on a thread."""

    def __init__(self, max_images: int) -> None:
        self._body = bytearray()
        self._max_images = max_images

    def feed(self, chunk: bytes) -> None:
        """Take the next chunk."""
        self._body += chunk

    def discard(self) -> None:
        """Let the body go, where nobody waits for the images any longer."""
        self._body = bytearray()

    def finish(self) -> list[Upload]:
        """Parse and decode; raises `MalformedRequest` or `TooManyImages`."""
        body, self._body = self._body, bytearray()
        if body.count(b",") > COMMAS_OF_AN_IMAGE * (self._max_images + 1):
            raise TooManyImages(self._max_images)
        try:
            request = PredictRequest.model_validate_json(body)
        except ValidationError as error:
            raise MalformedRequest(f"in the JSON body, {first_problem(error)[:200]}") from error
        del body
        if len(request.images) > self._max_images:
            raise TooManyImages(self._max_images)
        return [_upload(index, text) for index, text in enumerate(request.images)]


def _upload(index: int, text: str) -> Upload:
    if text.startswith(URL_SCHEMES):  # a colon is not of base64's alphabet
        return Upload(text[:MAX_FILENAME_CHARACTERS], b"", url=text)
    return Upload(None, _decode(index, text))


def _decode(index: int, text: str) -> bytes:
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        reason = str(error)[:80].rstrip(".")
        raise MalformedRequest(f"images[{index}] is not standard base64 without line breaks ({reason})") from error
