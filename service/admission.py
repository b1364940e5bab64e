"""How much the service takes on at once: pending images and the bytes of pending bodies.

What does not fit is refused at once; nothing waits for admission. Used from the event loop only. Must not import a web
framework or ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.errors import Overloaded


class Hold:
    """What one request holds of the capacity."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.images = 0
        self.bytes = 0

    @property
    def most_images(self) -> int:
        """Return how many images the whole service takes on at once."""
        return self._admission.max_images

    def add_images(self, count: int) -> None:
        """Take on `count` more images, or raise `Overloaded`."""
        if self._admission.images + count > self._admission.max_images:
            raise Overloaded
        self.images += count
        self._admission.images += count
        self._admission.announce()

    def add_bytes(self, count: int) -> None:
        """Take on `count` more bytes of a body, or raise `Overloaded`."""
        if self._admission.bytes + count > self._admission.max_bytes:
            raise Overloaded
        self.bytes += count
        self._admission.bytes += count
        self._admission.announce()


class Admission:
    """The bounds and what is pending under them."""

    def __init__(self, max_images: int, max_bytes: int, on_change: Callable[[int, int], None] | None = None) -> None:
        self._on_change = on_change  # called with the images and bytes that are pending
        self.max_images = max_images
        self.max_bytes = max_bytes
        self.images = 0
        self.bytes = 0

    @contextmanager
    def admit(self, declared_bytes: int = 0) -> Iterator[Hold]:
        """Admit a request with at least one image and give back all it held at the end, however it ends.

        `declared_bytes` decides whether to begin at all; what is held is only what has arrived, so a client that
        announces a body and does not send it keeps nobody out. Raises `Overloaded`.
        """
        if self.bytes + declared_bytes > self.max_bytes:
            raise Overloaded
        hold = Hold(self)
        hold.add_images(1)
        try:
            yield hold
        finally:
            self.images -= hold.images
            self.bytes -= hold.bytes
            self.announce()

    def announce(self) -> None:
        """Tell whoever counts what is pending now."""
        if self._on_change is not None:
            self._on_change(self.images, self.bytes)
