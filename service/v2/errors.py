"""What can be wrong with a request of the Open Inference Protocol."""

from __future__ import annotations

from collections.abc import Sequence

from service.errors import RequestError


class InvalidTensor(RequestError):
    """The request's tensors are not what the model takes or what the protocol allows."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The inference request does not fit ({reason}): the model's metadata says what it takes.")


class UnknownOutput(RequestError):
    """An output was asked for that the model does not have."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(f"The model has no output {name[:64]!r}: choose from {', '.join(known)}.")


class TensorTextTooLarge(RequestError):
    """A tensor written out as JSON is longer than what is parsed."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(
            f"The JSON of the inference request has more than {limit_bytes:,} bytes: send the tensor by the binary "
            "data extension, or fewer images per request."
        )
