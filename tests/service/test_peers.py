"""How long a change of the models may take, here and in the other workers."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import cast

import pytest

from service.catalogue import Catalogue
from service.errors import PeerFailed
from service.peers import Change, Peers, presence
from service.settings import Settings

TIMEOUT_MS = 300
LONG_S = 3 * TIMEOUT_MS / 1000
ELSEWHERE = 1  # process of another worker


class SlowCatalogue:
    """Loads for longer than a request may take."""

    has_begun = True
    loading = None

    def __init__(self) -> None:
        self.loaded: list[str] = []

    def start(self) -> None: ...

    async def load(self, name: str) -> None:
        await asyncio.sleep(LONG_S)
        self.loaded.append(name)


@pytest.fixture
def catalogue() -> SlowCatalogue:
    return SlowCatalogue()


@pytest.fixture
def peers(tmp_path: Path, catalogue: SlowCatalogue) -> Peers:
    return Peers(tmp_path, cast(Catalogue, catalogue), Settings(timeout_ms=TIMEOUT_MS))


def run(peers: Peers, work: Coroutine[None, None, None]) -> None:
    async def scenario() -> None:
        peers.start()
        try:
            await work
        finally:
            await peers.stop()

    asyncio.run(scenario())


def test_loading_here_takes_as_long_as_it_takes(peers: Peers, catalogue: SlowCatalogue) -> None:
    run(peers, peers.change(Change("load", "colours")))
    assert catalogue.loaded == ["colours"]


def test_another_worker_is_waited_for_beyond_that(peers: Peers, tmp_path: Path) -> None:
    presence(tmp_path, ELSEWHERE).touch()

    async def answer_later() -> None:
        while not (tmp_path / "change-1").exists():
            await asyncio.sleep(0.01)
        await asyncio.sleep(LONG_S + TIMEOUT_MS / 4 / 1000)
        (tmp_path / f"receipt-1-{ELSEWHERE}").write_text("done")

    async def both() -> None:
        await asyncio.gather(peers.change(Change("load", "colours")), answer_later())

    run(peers, both())


def test_a_worker_that_does_not_answer_is_said(peers: Peers, catalogue: SlowCatalogue, tmp_path: Path) -> None:
    presence(tmp_path, ELSEWHERE).touch()
    with pytest.raises(PeerFailed, match="took too long"):
        run(peers, peers.change(Change("load", "colours")))
    assert catalogue.loaded == ["colours"], "what is loaded here stays"
