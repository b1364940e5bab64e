"""Why an export ends without a bundle."""

from __future__ import annotations

from pathlib import Path

from linnet.errors import GateError, LinnetError, UsageError


class ParityFailed(GateError):
    """The ONNX file does not answer as the trained network does."""

    def __init__(self, what: str, measured: str, allowed: str) -> None:
        super().__init__(
            f"The parity gate failed: {what} is {measured} where {allowed} is required; nothing was written. "
            "Report the run's backbone and library versions, or train again with other versions."
        )


class AnswersNotFinite(GateError):
    """The network answers with values that are no numbers."""

    def __init__(self, precision: str) -> None:
        super().__init__(
            f"The gate of finite answers failed: the {precision} variant answers images of the validation split with "
            "values that are no numbers: look at the run's history, and train again at a lower learning rate."
        )


class AccuracyLost(GateError):
    """A variant of lower precision classifies worse than fp32 by more than is allowed."""

    def __init__(self, variant: str, lost: int, images: int, allowed: int) -> None:
        super().__init__(
            f"The accuracy gate failed: the {variant} variant answers {lost} of {images} validation images fewer "
            f"correctly than fp32 where {allowed} are allowed, whichever layers are kept in float; no bundle was "
            f"written. Export without --{variant}, or allow more with --max-loss."
        )


class TooLargeForFp16(GateError):
    """The network computes with numbers that 16 bits do not hold, or nearly so."""

    def __init__(self, largest: float, allowed: float) -> None:
        super().__init__(
            f"The range gate failed: a number in the backbone is {largest:g} on the validation split where {allowed:g} "
            "is allowed, and 16 bits end at 65,504; no bundle was written. Export without --fp16."
        )


class BatchesDisagree(GateError):
    """An image is answered differently in other company."""

    def __init__(self, variant: str, gate: str, difference: float, allowed: float) -> None:
        where = "in batches of other sizes" if gate == "batches" else "alone and inside a batch"
        super().__init__(
            f"The {gate} gate failed: {where} the {variant} variant answers the same image with probabilities that "
            f"differ by {difference:.2g} where {allowed:.2g} is allowed; no bundle was written. Report the run's "
            "backbone and library versions, or export without the variant."
        )


class InvalidModelName(UsageError):
    """The name cannot be that of a folder and of a model in a URL."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The name {name!r} cannot be that of a model: use up to 64 lower-case letters, digits, '.', '_' or '-', "
            "beginning with a letter or digit."
        )


class CannotRecover(LinnetError):
    """A bundle's graph does not tell all weights of its network."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"The bundle's weights cannot be recovered ({reason}): begin with the run it was exported from, or with "
            "the published weights."
        )


class AnotherRun(UsageError):
    """A bundle is to be held against a run that it does not come from."""

    def __init__(self, bundle: Path, run: Path) -> None:
        super().__init__(
            f"The bundle {bundle} does not come from {run}, whose classes or preprocessing are others: name the run "
            "that it was exported from."
        )


class WouldOverwrite(UsageError):
    """A file that is to be written is there already."""

    def __init__(self, file: Path) -> None:
        super().__init__(f"The file {file} exists already and is left as it is: name another with --out.")
