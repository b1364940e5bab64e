"""A compiled network is the same network, and a machine that cannot compile says so."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.trainer.networks import quiet, tiny_network, tiny_phase, tiny_split
from trainer.errors import CannotCompile
from trainer.inputs import Surroundings
from trainer.learner import Learner
from trainer.network import Classifier, build_head
from trainer.recipe import Compute, Network


@pytest.fixture(autouse=True)
def no_kernels_from_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    torch.compiler.reset()


def network_with_a_hidden_layer() -> Classifier:
    network = tiny_network()
    network.head = build_head(Network(hidden=(8,), dropout=0.0), 8, 3)
    return network


def trained(compute: Compute) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Return the losses of two epochs and the weights they led to."""
    learner = Learner(
        network_with_a_hidden_layer(), tiny_phase("head"), tiny_split(24), tiny_split(6), Surroundings(compute)
    )
    losses = [learner.train_epoch(e, torch.Generator().manual_seed(e), quiet()).train_loss for e in (1, 2)]
    return losses, learner.network.state_dict()


@pytest.mark.e2e
def test_a_compiled_network_learns_what_it_would_have_learnt() -> None:
    losses, weights = trained(Compute())
    compiled_losses, compiled_weights = trained(Compute(compile=True))
    assert compiled_losses == pytest.approx(losses, abs=1e-5)
    assert compiled_weights.keys() == weights.keys(), "a run must not tell whether it was compiled"
    assert all(torch.allclose(tensor, weights[name], atol=1e-5) for name, tensor in compiled_weights.items())


def test_a_machine_without_a_compiler_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import config

    monkeypatch.setattr(config.cpp, "cxx", ("no-such-compiler",))
    with pytest.raises(CannotCompile, match=r"cannot be compiled here \(.*\): install a C\+\+ compiler or set compute"):
        trained(Compute(compile=True))
