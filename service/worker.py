"""One of several processes that serve the same port, started as `python -m service.worker PID CHANNEL`.

PID is that of `service.supervisor`, CHANNEL the descriptor of the socket over which it deals connections.

Must not import torch, trainer or export.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys

from linnet.errors import LinnetError
from service.handover import Seat
from service.server import serve_on
from service.settings import read_settings

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Serve until SIGTERM; writes what is served to stdout in one line when it is loaded."""
    _end_with(supervisor_pid=int(sys.argv[1]))
    try:
        settings = read_settings()
        with socket.socket(fileno=int(sys.argv[2])) as channel:
            serve_on(Seat(channel), settings, _announce)
    except LinnetError as error:
        sys.exit(f"linnet: {error}")


def _end_with(supervisor_pid: int) -> None:
    """Ask the kernel for SIGTERM where the supervisor dies, so that no worker holds the port without one."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != supervisor_pid:  # it died before the kernel was asked
        sys.exit(0)


def _announce(models: str) -> None:
    sys.stdout.write(f"{models}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
