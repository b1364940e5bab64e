"""The listening socket.

Must not import a web framework.
"""

from __future__ import annotations

import os
import resource
import socket

from service.start_errors import CannotListen

BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; raises `CannotListen`."""
    try:
        family, address = _address(host, port)
        return socket.create_server(address, family=family, backlog=BACKLOG)
    except OSError as error:
        raise CannotListen(host, port, _reason(error)) from error


def url_of(listener: socket.socket) -> str:
    """Return the address that clients use."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def allow_many_connections() -> None:
    """Raise this process's limit on open files to what it may have: one connection is one file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _address(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    return family, (str(address[0]), int(address[1]))


def _reason(error: OSError) -> str:
    return (os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror) or str(error)
