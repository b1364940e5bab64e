"""API keys: who may ask, and who may change what is served.

Keys are compared in constant time against every known one, so that the time of a refusal tells nothing. Must not import
a web framework.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

from service.errors import AdminKeyNeeded, KeyRefused, ManagementOff
from service.settings import Settings
from service.start_errors import InvalidSetting, UnreadableKeys


class KeyList:
    """Keys of one kind, held as digests, and where they come from: a setting, a file, or both."""

    def __init__(self, variable: str, listed: SecretStr | None, path: Path | None) -> None:
        """Read the keys; `variable` names the file's setting. Raises `UnreadableKeys` or `InvalidSetting`."""
        self._variable = variable
        self._listed = listed
        self.path = path
        self.digests = self.read()

    def read(self) -> list[bytes]:
        """Return the digests of the keys as they are now; raises what the constructor raises."""
        return [_digest(key) for key in _read(self._listed, self.path, self._variable)]


class Keys:
    """The keys of one service."""

    def __init__(self, settings: Settings) -> None:
        """Read the keys that the settings name; raises `UnreadableKeys` or `InvalidSetting`."""
        self.ordinary = KeyList("LINNET_API_KEYS_FILE", settings.api_keys, settings.api_keys_file)
        self.admin = KeyList("LINNET_ADMIN_KEYS_FILE", settings.admin_keys, settings.admin_keys_file)

    @property
    def are_needed(self) -> bool:
        """Tell whether ordinary requests need a key."""
        return bool(self.ordinary.digests)

    @property
    def _all(self) -> list[bytes]:
        return self.ordinary.digests + self.admin.digests

    def check(self, headers: Mapping[str, str]) -> None:
        """Let an ordinary request in, or raise `KeyRefused`; an admin key is good as well."""
        if self.are_needed and not _all_known(_sent_keys(headers), self._all):
            raise KeyRefused

    def check_admin(self, headers: Mapping[str, str]) -> None:
        """Let a request in that changes what is served; raises `ManagementOff`, `AdminKeyNeeded` or `KeyRefused`."""
        if not self.admin.digests:
            raise ManagementOff
        keys = _sent_keys(headers)
        if not _all_known(keys, self.admin.digests):
            raise AdminKeyNeeded if _all_known(keys, self._all) else KeyRefused


def _sent_keys(headers: Mapping[str, str]) -> list[str]:
    """Return what each header that is there presents; a scheme other than Bearer presents no key."""
    sent = []
    if "authorization" in headers:
        scheme, _, key = headers["authorization"].partition(" ")
        sent.append(key.strip() if scheme.lower() == "bearer" else "")
    if "x-api-key" in headers:
        sent.append(headers["x-api-key"])
    return sent


def _all_known(keys: list[str], digests: list[bytes]) -> bool:
    """Tell whether there is a key and none is unknown: a wrong one is refused beside a right one, too."""
    return bool(keys) and sum(_is_known(key, digests) for key in keys) == len(keys)


def _is_known(key: str, digests: list[bytes]) -> bool:
    sent = _digest(key)
    return sum([hmac.compare_digest(sent, digest) for digest in digests]) > 0  # a list: every one is compared


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _read(listed: SecretStr | None, path: Path | None, variable: str) -> list[str]:
    keys = listed.get_secret_value().split(",") if listed else []
    if listed is not None and not any(key.strip() for key in keys):
        raise InvalidSetting(variable.removesuffix("_FILE"), "it holds no key")
    if path is not None:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UnreadableKeys(variable, path, str(error)) from error
        found = [line.partition("#")[0].strip() for line in lines]
        if not any(found):
            raise UnreadableKeys(variable, path, "it holds no key")
        keys += found
    keys = [key.strip() for key in keys if key.strip()]
    if not all(key.isascii() and key.isprintable() for key in keys):
        raise InvalidSetting(variable if path else variable.removesuffix("_FILE"), "headers carry ASCII keys alone")
    return keys
