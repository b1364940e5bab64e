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
from collections.abc import Callable

from linnet.errors import LinnetError
from service.handover import Seat
from service.server import serve_on
from service.settings import read_settings

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Serve until SIGTERM; writes what is served to stdout in one line when it is loaded."""
    _end_with(supervisor_pid=int(sys.argv[1]))
    announce = own_stdout()
    try:
        settings = read_settings()
        with socket.socket(fileno=int(sys.argv[2])) as channel:
            serve_on(Seat(channel), settings, announce)
    except LinnetError as error:
        sys.exit(f"linnet: {error}")


def _end_with(supervisor_pid: int) -> None:
    """Ask the kernel for SIGTERM where the supervisor dies, so that no worker holds the port without one."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != supervisor_pid:  # it died before the kernel was asked
        sys.exit(0)


def own_stdout() -> Callable[[str], None]:
    """Return what writes a line to stdout; all else that is written there goes to stderr from now on.

    ONNX Runtime prints to stdout where a provider fails, which the supervisor would take for what is served.
    """
    stdout = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def announce(models: str) -> None:
        stdout.write(f"{models}\n")
        stdout.flush()

    return announce


if __name__ == "__main__":
    main()
