"""Bodies of type multipart/form-data (RFC 7578), parsed as they stream in and kept in memory under our own caps.

Parts named `file` are images; other fields are read past. Must not import ONNX Runtime.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from service.body import MAX_FILENAME_CHARACTERS, Upload
from service.errors import MalformedRequest, TooManyImages

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

PART_NAME = "file"
MAX_FIELDS = 16


class MultipartReader:
    """Reads the parts named `file` of one body."""

    def __init__(self, boundary: bytes, max_images: int) -> None:
        # The parser refers to the parts but not to this reader: in a cycle the images would outlive the request.
        self._parts = _Parts(max_images)
        try:
            self._parser = MultipartParser(boundary, self._parts.callbacks())
        except FormParserError as error:
            raise MalformedRequest("the boundary in Content-Type is too long") from error

    def feed(self, chunk: bytes) -> None:
        """Parse the next chunk; raises `MalformedRequest` or `TooManyImages`."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise MalformedRequest(f"the multipart body is damaged ({str(error)[:80]})") from error

    def finish(self) -> list[Upload]:
        """Return the images in the order they were sent."""
        if not self._parts.is_complete:
            raise MalformedRequest("the multipart body ends before its closing boundary")
        if not self._parts.uploads:
            raise MalformedRequest(f"no part is named {PART_NAME!r}")
        return self._parts.uploads


class _Parts:
    """What the parser has found so far."""

    def __init__(self, max_images: int) -> None:
        self.uploads: list[Upload] = []
        self.is_complete = False
        self._max_images = max_images
        self._fields = 0
        self._header = (bytearray(), bytearray())  # name and value of the header that is being read
        self._disposition = b""
        self._filename: str | None = None
        self._part: bytearray | None = None  # the image that is being read; None in a part that is read past

    def callbacks(self) -> MultipartCallbacks:
        """Return what the parser calls as it goes."""
        return {
            "on_part_begin": self._begin_part,
            "on_header_begin": self._begin_header,
            "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._add_data,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    def _begin_part(self) -> None:
        self._disposition = b""

    def _begin_header(self) -> None:
        self._header = (bytearray(), bytearray())

    def _end_header(self) -> None:
        name, value = self._header
        if name.lower() == b"content-disposition":
            self._disposition = bytes(value)

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode("utf-8", "replace")
        filename = options.get(b"filename")
        if name == PART_NAME:
            if len(self.uploads) == self._max_images:
                raise TooManyImages(self._max_images)
            self._part = bytearray()
            self._filename = None if filename is None else filename.decode("utf-8", "replace")[:MAX_FILENAME_CHARACTERS]
        elif filename is not None:
            raise MalformedRequest(f"a part with a file is named {name[:40]!r}: name it {PART_NAME!r}")
        else:
            self._fields += 1
            if self._fields > MAX_FIELDS:
                raise MalformedRequest(f"more than {MAX_FIELDS} fields beside the images")

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._part is not None:
            self._part += memoryview(data)[start:end]

    def _end_part(self) -> None:
        if self._part is not None:
            self.uploads.append(Upload(self._filename, bytes(self._part)))
            self._part = None

    def _end(self) -> None:
        self.is_complete = True


def boundary_of(content_type: str) -> bytes:
    """Return the boundary that separates the parts, or raise `MalformedRequest`."""
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    if not boundary:
        raise MalformedRequest("Content-Type names no boundary; let the HTTP library set this header")
    return boundary
