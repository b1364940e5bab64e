"""Why a sweep ends without a learning rate."""

from __future__ import annotations

from collections.abc import Sequence

from linnet.errors import LinnetError, UsageError


class UnknownPhase(UsageError):
    """The recipe has no phase of that name."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(f"The recipe has no phase {name!r}: choose one of {', '.join(known)}.")


class NoRateFound(LinnetError):
    """No learning rate of a sweep lowered the loss."""

    def __init__(self, phase: str, lowest: float, highest: float) -> None:
        super().__init__(
            f"The loss of phase {phase!r} fell at no learning rate from {lowest:.0e} to {highest:.0e}: look at the "
            "labels, or let more of the network train."
        )
