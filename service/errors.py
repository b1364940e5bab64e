"""What can go wrong with a request, each with the sentence its client reads.

What an error means to HTTP (status, code) is decided in `service.problems` alone. Must not import a web framework.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from linnet.errors import ImageError, LinnetError

E = TypeVar("E", bound=Exception)


def detached(error: E) -> E:
    """Return the error without the frames it went through, which would hold what they know until it is collected."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


class RequestError(LinnetError):
    """A request that is answered with a problem instead of predictions."""


class MalformedRequest(RequestError):
    """The request does not follow the protocol."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The request cannot be understood: {reason}.")


class InvalidHttp(RequestError):
    """What came over the connection is not a request of HTTP/1.1."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"This is not an HTTP request that can be read ({reason.rstrip('.')}): check the client.")


class UnknownPath(RequestError):
    """There is nothing at this path."""

    def __init__(self, path: str) -> None:
        super().__init__(f"There is nothing at {path[:200]}: see /docs for what there is.")


class MethodNotAllowed(RequestError):
    """The path exists but not for this method."""

    def __init__(self, method: str, path: str) -> None:
        super().__init__(f"{path[:200]} does not answer {method[:20]}: see /docs for the method.")


class UnknownModel(RequestError):
    """No bundle of that name is in the model repository."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(f"There is no model {name[:64]!r}: choose one of {', '.join(known) or '(none is loaded)'}.")


class UnknownClass(RequestError):
    """The model has no class of that name."""

    def __init__(self, label: str, known: Sequence[str]) -> None:
        some = ", ".join(known[:10]) + (", …" if len(known) > 10 else "")
        super().__init__(f"The model has no class {label[:64]!r}: choose one of {some}.")


class UnknownVersion(RequestError):
    """The model is there, but not in that version."""

    def __init__(self, name: str, version: str, known: Sequence[str]) -> None:
        super().__init__(f"The model {name!r} has no version {version[:20]!r}: choose one of {', '.join(known)}.")


class ModelUnloaded(RequestError):
    """An operator unloaded the model."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The model {name!r} was unloaded by its operator: choose another, or ask for it to be loaded."
        )


class ModelUnavailable(RequestError):
    """The bundle is there but was refused when it was loaded."""

    def __init__(self, name: str) -> None:
        super().__init__(f"The model {name!r} is not loaded: its operator finds the reason in the service's log.")


class LoadFailed(RequestError):
    """A bundle was refused when an operator asked to load it."""

    def __init__(self, name: str, reason: str, *, still_serving: bool) -> None:
        state = "what served before goes on serving" if still_serving else "this version is not served"
        super().__init__(f"The model {name!r} was not loaded, and {state}: {reason}")


class PeerFailed(RequestError):
    """A change of the models was carried out here, but not in another worker."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(
            f"The model {name!r} was changed in this worker but not in another ({reason}): ask again, or start anew."
        )


class KeyRefused(RequestError):
    """The request names no API key, or one that is none."""

    def __init__(self) -> None:
        super().__init__("This needs an API key that the service knows: send it as a bearer token or in X-API-Key.")


class AdminKeyNeeded(RequestError):
    """The API key is good, but not for this."""

    def __init__(self) -> None:
        super().__init__("This changes what is served, which an ordinary API key may not: send an admin key.")


class ManagementOff(RequestError):
    """Models cannot be loaded or unloaded over HTTP because nobody could be let in."""

    def __init__(self) -> None:
        super().__init__(
            "Loading and unloading over HTTP is off: the operator turns it on with LINNET_ADMIN_KEYS or "
            "LINNET_ADMIN_KEYS_FILE."
        )


class SlowBody(RequestError):
    """The body did not arrive in time."""

    def __init__(self, limit_ms: int) -> None:
        super().__init__(f"The body did not arrive within {limit_ms:,} ms: send fewer or smaller images per request.")


class BodyTooLarge(RequestError):
    """The body has more bytes than are read of any request."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"The body has more than {limit_bytes:,} bytes: send fewer or smaller images per request.")


class TooManyImages(RequestError):
    """The request holds more images than are taken at once."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"The request has more than {limit} images: send them in several requests.")


class UrlsOff(RequestError):
    """The request names an image by URL, and this service fetches none."""

    def __init__(self) -> None:
        super().__init__("Images by URL are off: send the image itself, or ask the operator for LINNET_FETCH_URLS.")


class UrlRefused(ImageError):
    """A URL that the service may not ask."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The image's URL is refused ({reason}): name a public http or https address.")


class UrlFailed(ImageError):
    """There is no image to be had at the URL."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The image could not be fetched ({reason}): check the URL, or send the image itself.")


class UnsupportedMediaType(RequestError):
    """The body is of a type that the endpoint does not read."""

    def __init__(self, content_type: str) -> None:
        hint = (
            "curl's --data-binary names this type unless you add -H 'Content-Type: application/octet-stream'; or use "
            "-F file=@image.jpg"
            if content_type == "application/x-www-form-urlencoded"
            else "send multipart/form-data with parts named 'file', an image/* body, or application/json"
        )
        super().__init__(f"A body of type {content_type[:80]!r} is not accepted: {hint}.")


class UnsupportedEncoding(RequestError):
    """The body is compressed."""

    def __init__(self, encoding: str) -> None:
        super().__init__(f"A body with Content-Encoding {encoding[:40]!r} is not accepted: send it uncompressed.")


class RetryLater(RequestError):
    """The same request can succeed after `retry_after_s` seconds."""

    def __init__(self, reason: str, retry_after_s: int) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(f"{reason}: try again in {retry_after_s} s.")


class Overloaded(RetryLater):
    """More is pending than the service takes on."""

    def __init__(self, retry_after_s: int = 1) -> None:
        super().__init__("The service has as many images pending as it takes on", retry_after_s)


class NotReady(RetryLater):
    """The service does not take requests yet, or no longer."""

    def __init__(self, reason: str, retry_after_s: int = 1) -> None:
        super().__init__(f"The service is not ready ({reason})", retry_after_s)


class DeadlineExceeded(RequestError):
    """The answer was not there in time."""

    def __init__(self, limit_ms: int) -> None:
        super().__init__(
            f"There was no answer within {limit_ms:,} ms: send fewer images per request or try again later."
        )


class EngineFailed(RequestError):
    """The network could not be run on the batch; the cause is in the log only."""

    def __init__(self) -> None:
        super().__init__(
            "The network failed on this batch: try again, and tell the operator the request id if it stays."
        )


class InternalError(RequestError):
    """A defect of the service; the cause is in the log only."""

    def __init__(self) -> None:
        super().__init__("The service failed: tell its operator the request id.")
