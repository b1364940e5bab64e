"""What can go wrong between finished runs and a page."""

from __future__ import annotations

from collections.abc import Sequence

from linnet.errors import UsageError


class UnknownLayer(UsageError):
    """No layer of that name has feature maps."""

    def __init__(self, layer: str, known: Sequence[str]) -> None:
        super().__init__(f"There are no feature maps of a layer {layer!r}: choose one of {', '.join(known)}.")
