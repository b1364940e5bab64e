"""What can go wrong when the service is asked.

    ServiceError
    ├── InvalidAddress      the address is none
    ├── InvalidKey          the API key cannot be sent
    ├── UnusableProxy       the proxy of the environment cannot be used
    ├── Unreachable         nothing answers there
    ├── TimedOut            no answer in time
    ├── NotReadyInTime      `wait_until_ready` gave up
    ├── UnexpectedAnswer    what answers is no Linnet service
    └── Problem             the service says no; one class for each status below

`status_code` and `request_id` are None where no answer came; `code` is the stable name to decide on.
"""

from __future__ import annotations

from collections.abc import Sequence


class ServiceError(Exception):
    """Any failure of asking the service; `str(error)` is a sentence to show."""

    status_code: int | None = None
    code: str = "service_error"
    request_id: str | None = None


class InvalidAddress(ServiceError):
    """The address is not one of an HTTP service."""

    code = "invalid_address"

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{url!r} is not the address of a service ({reason}): give one like http://127.0.0.1:8000.")


class InvalidKey(ServiceError):
    """The API key has characters that no header carries; it is not quoted."""

    code = "invalid_key"

    def __init__(self) -> None:
        super().__init__("The API key cannot be sent (it is not all printable ASCII): look where it is read from.")


class UnusableProxy(ServiceError):
    """The environment names a proxy of a kind that does not work here; only its variables are quoted."""

    code = "unusable_proxy"

    def __init__(self, variables: Sequence[str], reason: str) -> None:
        super().__init__(
            f"The proxy that {', '.join(variables)} asks for cannot be used ({reason.rstrip('.')}): correct or "
            "unset the variable, or install what it needs."
        )


class Unreachable(ServiceError):
    """No connection, or one that broke before the answer was there."""

    code = "unreachable"

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"The service at {url} cannot be reached ({reason}): check the address, or start it.")


class TimedOut(ServiceError):
    """The connection stands but the answer did not come in time."""

    code = "timed_out"

    def __init__(self, url: str, timeout_s: float) -> None:
        super().__init__(
            f"The service at {url} did not answer within {timeout_s:g} s: try again later, or give it a longer timeout."
        )


class NotReadyInTime(ServiceError):
    """The service did not become ready while it was waited for."""

    code = "not_ready_in_time"

    def __init__(self, url: str, timeout_s: float, reason: str | None) -> None:
        super().__init__(
            f"The service at {url} was not ready within {timeout_s:g} s ({reason or 'no reason given'}): "
            "see its log, or wait longer."
        )


class UnexpectedAnswer(ServiceError):
    """Something answers that does not speak as a Linnet service does."""

    code = "unexpected_answer"

    def __init__(self, url: str, status_code: int, reason: str, request_id: str | None = None) -> None:
        self.status_code = status_code
        self.request_id = request_id
        super().__init__(
            f"What answers at {url} is no Linnet service that this client understands (status {status_code}, "
            f"{reason}): check the address and the versions."
        )


class Problem(ServiceError):
    """The service answered with a problem (RFC 9457); `detail` says what happened and what to do."""

    status_code: int

    def __init__(
        self,
        status_code: int,
        code: str,
        detail: str,
        request_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        self.status_code = status_code
        self.code = code
        self.detail = detail
        self.request_id = request_id
        self.retry_after_s = retry_after_s
        super().__init__(detail)


class MalformedRequest(Problem):
    """400: the request does not follow the protocol."""


class Unauthorized(Problem):
    """401: an API key is missing or unknown; give it as `api_key=` or in LINNET_API_KEY."""


class Forbidden(Problem):
    """403: the API key does not allow this."""


class NotFound(Problem):
    """404: no such model or version."""


class MethodNotAllowed(Problem):
    """405: the path does not answer this method."""


class BodyTooSlow(Problem):
    """408: the image did not arrive in time."""


class TooLarge(Problem):
    """413: too many bytes or pixels."""


class UnsupportedImage(Problem):
    """415: not an image of an accepted format."""


class UnreadableImage(Problem):
    """422: the image is damaged."""


class TooManyRequests(Problem):
    """429: this client asks too much; `retry_after_s` says when to come back."""


class ServiceFailed(Problem):
    """500: a failure of the service; its operator finds the reason by `request_id`."""


class Unavailable(Problem):
    """502: what stands before the service has none to ask."""


class Overloaded(Problem):
    """503: overloaded, not ready, or the model is not loaded; `code` says which."""


class DeadlineExceeded(Problem):
    """504: the answer was not there in time."""


PROBLEM_CLASSES: dict[int, type[Problem]] = {
    400: MalformedRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    405: MethodNotAllowed,
    408: BodyTooSlow,
    413: TooLarge,
    415: UnsupportedImage,
    422: UnreadableImage,
    429: TooManyRequests,
    500: ServiceFailed,
    502: Unavailable,
    503: Overloaded,
    504: DeadlineExceeded,
}


def problem(
    status_code: int, code: str, detail: str, request_id: str | None = None, retry_after_s: float | None = None
) -> Problem:
    """Return the problem of the class that stands for its status."""
    return PROBLEM_CLASSES.get(status_code, Problem)(status_code, code, detail, request_id, retry_after_s)
