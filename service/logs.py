"""What the service writes to stderr: messages, and one line per request, as text or as JSON; never a byte of an image.

Lines of requests are written together, off the path of the requests. Must not import a web framework.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from typing import Any, Literal

import orjson

from service.exchange import Exchange

LogFormat = Literal["console", "json"]
FLUSH_S = 0.2
_OWN_KEYS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}


class ConsoleFormatter(logging.Formatter):
    """A line of text, with the time that the lines of requests have."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802
        """Return the time in UTC."""
        return _timestamp(record.created)


class JsonFormatter(logging.Formatter):
    """One JSON object per message; what `extra` names stands beside the message."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without its end."""
        line: dict[str, Any] = {
            "time": _timestamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {key: value for key, value in vars(record).items() if key not in _OWN_KEYS}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


def log_config(log_format: LogFormat, level: str) -> dict[str, Any]:
    """Return the configuration for `logging.config.dictConfig`."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "console": {"()": ConsoleFormatter, "fmt": "%(asctime)s %(levelname)s %(name)s: %(message)s"},
            "json": {"()": JsonFormatter},
        },
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "formatter": log_format, "stream": "ext://sys.stderr"}
        },
        "root": {"handlers": ["stderr"], "level": "WARNING"},  # what the libraries have to say, asyncio among them
        "loggers": {
            "service": {"handlers": ["stderr"], "level": level.upper(), "propagate": False},
            "uvicorn": {"handlers": ["stderr"], "level": "ERROR", "propagate": False},
            # Says of every damaged body what its client is told anyway.
            "python_multipart": {"level": "ERROR"},
        },
    }


class AccessLog:
    """One line per request, gathered and written at once every 0.2 s and at the end."""

    def __init__(self, log_format: LogFormat) -> None:
        self._line = _json_line if log_format == "json" else _console_line
        self._waiting: list[tuple[float, float, Exchange]] = []
        self._flushing: asyncio.TimerHandle | None = None

    def add(self, exchange: Exchange) -> None:
        """Take on the line of one request that has ended."""
        self._waiting.append((time.time(), exchange.elapsed_ms(), exchange))
        if self._flushing is None:
            self._flushing = asyncio.get_running_loop().call_later(FLUSH_S, self.flush)

    def flush(self) -> None:
        """Write what is waiting."""
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        lines, self._waiting = self._waiting, []
        if lines:
            sys.stderr.write("".join(self._line(*line) for line in lines))
            sys.stderr.flush()


def _json_line(at_s: float, took_ms: float, exchange: Exchange) -> str:
    line = {
        "time": _timestamp(at_s),
        "level": "info",
        "logger": "service.access",
        "message": "request",
        "request_id": exchange.request_id,
        "method": exchange.method,
        "path": exchange.path[:200],
        "status": exchange.status,
        "code": exchange.code,
        "took_ms": round(took_ms, 3),
        "body_bytes": exchange.body_bytes,
    }
    if exchange.model is not None:
        line |= {"model": exchange.model, "version": exchange.version, "images": exchange.images}
    line |= {f"{stage}_ms": round(ms, 3) for stage, ms in exchange.timing_ms.items()}
    return orjson.dumps(line).decode() + "\n"


def _console_line(at_s: float, took_ms: float, exchange: Exchange) -> str:
    path = exchange.path[:200].encode("unicode_escape").decode()  # a line break in a path must not forge a line
    model = f" {exchange.model}/{exchange.version} images={exchange.images}" if exchange.model else ""
    return (
        f"{_timestamp(at_s)} {exchange.method} {path} {exchange.status} {exchange.code}{model} "
        f"{exchange.body_bytes} B {took_ms:.1f} ms {exchange.request_id}\n"
    )


def _timestamp(at_s: float) -> str:
    """Return the time in UTC, ISO 8601 with milliseconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at_s)) + f".{int(at_s % 1 * 1000):03d}Z"
