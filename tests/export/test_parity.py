"""The parity gate opens for the network that was exported, and holds for anything that differs from it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from export.errors import ParityFailed
from export.gates import LARGEST_DIFFERENCE, check_parity
from export.measure import run_in_batches
from export.tail import AS_TRAINED
from linnet.manifest import Calibration
from linnet.session import Network, Outputs
from trainer.data import Dataset
from trainer.evaluate import predict_logits
from trainer.images import decode
from trainer.network import Classifier
from trainer.recipe import Recipe


def answers_of(exported: Network, images: torch.Tensor) -> Outputs:
    return run_in_batches(exported, images, 5)


def test_the_gate_opens_for_the_same_network(
    exported: Network, trained: Classifier, images: torch.Tensor, calibration: Calibration
) -> None:
    parity = check_parity(trained, calibration, exported, images, answers_of(exported, images))
    assert (parity.n, parity.top1_agreement) == (len(images), 1.0)
    assert 0 < parity.max_probability_difference < LARGEST_DIFFERENCE / 4


@pytest.mark.parametrize(
    "layer", ["head.1.bias", "head.1.weight", "blocks.3.conv.0.0.weight", "blocks.18.1.running_var"]
)
def test_the_gate_holds_for_a_network_that_differs_a_little(
    exported: Network, trained: Classifier, images: torch.Tensor, calibration: Calibration, layer: str
) -> None:
    weights = trained.state_dict()[layer]
    torch.manual_seed(0)
    weights.mul_(1 + 0.05 * torch.randn_like(weights)).add_(1e-3 * torch.rand_like(weights))
    with pytest.raises(
        ParityFailed, match=r"parity gate failed: the largest difference of a probability is .* nothing was written"
    ):
        check_parity(trained, calibration, exported, images, answers_of(exported, images))


def test_the_gate_holds_for_another_temperature(
    exported: Network, trained: Classifier, images: torch.Tensor, calibration: Calibration
) -> None:
    blunter = calibration.model_copy(update={"temperature": calibration.temperature * 1.1})
    with pytest.raises(ParityFailed):
        check_parity(
            trained,
            blunter,
            exported,
            images,
            answers_of(exported, images),
        )


def test_the_gate_holds_for_preprocessing_that_differs(  # noqa: PLR0913
    *,
    exported: Network,
    trained: Classifier,
    images: torch.Tensor,
    calibration: Calibration,
    dataset: Dataset,
    recipe: Recipe,
) -> None:
    """Another resize moves every pixel a little; answers to those images are not answers to these."""
    other = decode(dataset.test, recipe.preprocess.model_copy(update={"resize": "stretch"}))
    with pytest.raises(ParityFailed):
        check_parity(trained, calibration, exported, images, answers_of(exported, other))


def test_the_gate_holds_for_answers_in_another_order(
    exported: Network, trained: Classifier, images: torch.Tensor, calibration: Calibration
) -> None:
    answers = answers_of(exported, images)
    swapped = Outputs(answers.probabilities[::-1], answers.logits[::-1], answers.embedding[::-1])
    with pytest.raises(ParityFailed):
        check_parity(trained, calibration, exported, images, swapped)


def test_the_gate_holds_for_a_tie_that_falls_the_other_way(trained: Classifier, images: torch.Tensor) -> None:
    """A difference far below the limit may still change the top class: that is not let through either."""
    with torch.no_grad():
        trained.head.state_dict()["1.weight"].zero_()
        trained.head.state_dict()["1.bias"].copy_(torch.tensor([1e-5, 0.0, 0.0]))
    expected = torch.softmax(predict_logits(trained, images), 1).numpy()
    tied = Outputs(expected[:, ::-1].copy(), expected, np.zeros((len(images), 1280), np.float32))

    class Tied(Network):
        """A network that answers so, whatever it is asked."""

        def __init__(self) -> None:
            """Need no session."""

        def __call__(self, images: npt.NDArray[np.uint8]) -> Outputs:
            parts = (tied.probabilities, tied.logits, tied.embedding)
            return Outputs(*(np.resize(part, (len(images), part.shape[1])) for part in parts))

    with pytest.raises(ParityFailed, match=r"the top-1 agreement is 0\.0000% where 100 % is required"):
        check_parity(trained, AS_TRAINED, Tied(), images, tied)


def test_the_gate_holds_for_answers_that_are_no_numbers(
    exported: Network, trained: Classifier, images: torch.Tensor, calibration: Calibration
) -> None:
    answers = answers_of(exported, images)
    broken = answers.probabilities.copy()
    broken[7, 1] = np.nan
    with pytest.raises(ParityFailed, match="is nan where at most"):
        check_parity(trained, calibration, exported, images, Outputs(broken, answers.logits, answers.embedding))
