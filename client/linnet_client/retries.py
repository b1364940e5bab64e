"""Which failures are tried again, and after how long."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from linnet_client.errors import Problem, ServiceError, Unreachable

# Refusals, and failures of what stands before the service. A time-out is none of them: the time is used up.
RETRIED_STATUSES = frozenset({429, 502, 503, 504})

FIRST_WAIT_S = 0.25
LONGEST_WAIT_S = 8.0
# A service that asks for more patience than this is not waited for: its answer is raised at once.
LONGEST_RETRY_AFTER_S = 30.0


@dataclass(frozen=True)
class Retries:
    """At most `limit` further tries; waits double, each shortened by chance so that clients do not come back as one."""

    limit: int

    def wait_s(self, failures: int, error: ServiceError) -> float | None:
        """Return the seconds to wait after the `failures`-th failure in a row, or None where it is to be raised."""
        if failures > self.limit or not _can_pass(error):
            return None
        wait_s = min(FIRST_WAIT_S * 2 ** (failures - 1), LONGEST_WAIT_S) * random.uniform(0.5, 1)
        asked_s = (error.retry_after_s if isinstance(error, Problem) else None) or 0.0
        return None if asked_s > LONGEST_RETRY_AFTER_S else asked_s + wait_s


def _can_pass(error: ServiceError) -> bool:
    return isinstance(error, Unreachable) or (isinstance(error, Problem) and error.status_code in RETRIED_STATUSES)


def retry_after_s(header: str | None) -> float | None:
    """Return the seconds that a Retry-After header asks for, given as a number or as a date; None without one."""
    if header is None:
        return None
    if header.strip().isdecimal():
        return float(header)
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None
