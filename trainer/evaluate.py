"""Score a network on a decoded split."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain

import torch
from torch.nn import functional as F  # noqa: N812

from trainer.distributed import gathered, own_rows, process_count
from trainer.network import Classifier
from trainer.precision import without_tf32

EVALUATION_BATCH = 256  # of images of 129 px and less; of larger ones so many as have as many pixels
EVALUATION_PIXELS = EVALUATION_BATCH * 129**2


@dataclass(frozen=True)
class Score:
    """Accuracy and loss over a split of n images."""

    n: int
    correct: int
    loss: float  # mean cross-entropy, nats

    @property
    def accuracy(self) -> float:
        """Return correct / n."""
        return self.correct / self.n


def in_batches(images: torch.Tensor, size: int) -> Iterator[torch.Tensor]:
    """Cut images [N, ...] into batches of `size`, the last one smaller."""
    return (images[start : start + size] for start in range(0, len(images), size))


@torch.no_grad()
def predict_logits(network: Classifier, images: torch.Tensor) -> torch.Tensor:
    """Return logits float32 [N, K] on the CPU for images uint8 [N, H, W, 3], in evaluation mode."""
    return answer_all(network, network, images).cpu()


@torch.no_grad()
def predict_flip_averaged(network: Classifier, images: torch.Tensor) -> torch.Tensor:
    """Return log-probabilities float32 [N, K], averaged as probabilities over each image and its mirror image.

    Test-time augmentation as in Krizhevsky et al. 2012, section 4.1, with the flip alone. Twice the cost of
    `predict_logits`, and never what the service answers.
    """

    def answer(batch: torch.Tensor) -> torch.Tensor:
        averaged = (network(batch).float().softmax(1) + network(batch.flip(2)).float().softmax(1)) / 2
        smallest = torch.finfo(torch.float32).tiny
        return torch.log(averaged.clamp_min(smallest))

    return answer_all(network, answer, images).cpu()


@torch.no_grad()
@without_tf32()
def answer_all(
    network: Classifier,
    answer: Callable[[torch.Tensor], torch.Tensor],
    images: torch.Tensor,
    advance: Callable[[int], None] = lambda _: None,
) -> torch.Tensor:
    """Return the answers to images or features [N, ...], float32, in order, in evaluation mode.

    They lie on the network's device; processes that work together share the work. `advance` is told how many each
    batch of this process has brought.
    """
    network.eval()
    device = next(network.parameters()).device
    shared = len(images) >= process_count()
    own = images[own_rows(len(images))] if shared else images
    answers = (answer(batch.to(device)).float() for batch in in_batches(own, _batch_size(images)))
    first = next(answers)
    whole = first.new_empty((len(own), *first.shape[1:]))  # filled in place: a list and its whole are twice the memory
    done = 0
    for part in chain([first], answers):
        whole[done : done + len(part)] = part
        done += len(part)
        advance(len(part))
    return gathered(whole, len(images)) if shared else whole


def _batch_size(inputs: torch.Tensor) -> int:
    """Return how many images uint8 [N, H, W, 3], or features, are answered at once."""
    if inputs.dtype != torch.uint8:
        return EVALUATION_BATCH
    height, width = inputs.shape[1:3]
    return max(1, min(EVALUATION_BATCH, EVALUATION_PIXELS // (height * width)))


def score_logits(logits: torch.Tensor, labels: torch.Tensor) -> Score:
    """Score logits [N, K] against labels [N]."""
    correct = int((logits.argmax(1) == labels).sum())
    return Score(len(labels), correct, float(F.cross_entropy(logits.double(), labels)))


def evaluate(network: Classifier, images: torch.Tensor, labels: torch.Tensor) -> Score:
    """Score a network on images uint8 [N, H, W, 3] with labels int64 [N]."""
    return score_logits(predict_logits(network, images), labels)
