"""Listening sockets: one for one process, or one per worker on the same port.

Must not import a web framework.
"""

from __future__ import annotations

import os
import resource
import socket

from service.start_errors import CannotListen

BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket of this process alone; raises `CannotListen`."""
    try:
        family, address = _address(host, port)
        return socket.create_server(address, family=family, backlog=BACKLOG)
    except OSError as error:
        raise CannotListen(host, port, _reason(error)) from error


def claim(host: str, port: int) -> socket.socket:
    """Return a socket that holds the port for workers to share, and takes no connection; raises `CannotListen`.

    Sharing a port would succeed beside a server that is already there, so the port must first be free altogether.
    """
    with listen(host, port) as alone:
        address = alone.getsockname()
    try:
        return _shared(host, address[1])
    except OSError as error:
        raise CannotListen(host, port, _reason(error)) from error


def listen_beside(host: str, port: int) -> socket.socket:
    """Return a listening socket that shares a claimed port with other workers; raises `CannotListen`."""
    try:
        listener = _shared(host, port)
        listener.listen(BACKLOG)
        return listener
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


def _shared(host: str, port: int) -> socket.socket:
    family, address = _address(host, port)
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        found.bind(address)
    except OSError:
        found.close()
        raise
    return found


def _address(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    return family, (str(address[0]), int(address[1]))


def _reason(error: OSError) -> str:
    return (os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror) or str(error)
