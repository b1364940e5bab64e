"""The final evaluation: the one time that the test split is looked at."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import torch
from torch.utils.flop_counter import FlopCounterMode

from trainer.evaluate import predict_flip_averaged, predict_logits
from trainer.evaluation import Cost, Evaluated, EvaluatedSplit, Evaluation, Predictions
from trainer.inputs import Split
from trainer.metrics import score_predictions
from trainer.network import Classifier


def evaluate_splits(
    network: Classifier, splits: Mapping[EvaluatedSplit, Split], classes: Sequence[str], *, flip: bool = False
) -> Evaluated:
    """Answer the validation and the test split and compute every metric.

    `flip` answers the test split a second time, averaged with its mirror images, and reports that apart.
    """
    scores, predictions = {}, {}
    for name, split in splits.items():
        predictions[name], seconds = _answer(predict_logits, network, split)
        scores[name] = score_predictions(predictions[name], classes, seconds)
    flipped = None
    if flip:
        averaged, seconds = _answer(predict_flip_averaged, network, splits["test"])
        flipped = score_predictions(averaged, classes, seconds)
    evaluation = Evaluation(
        val=scores["val"], test=scores["test"], test_flip=flipped, cost=cost_of(network, splits["val"].images[:1])
    )
    return Evaluated(evaluation, predictions)


def cost_of(network: Classifier, image: torch.Tensor) -> Cost:
    """Count the parameters, and the floating-point operations of one image uint8 [1, H, W, 3]."""
    network.eval()
    device = next(network.parameters()).device
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image.to(device))
    return Cost(
        parameters=sum(parameter.numel() for parameter in network.parameters()), flops=counter.get_total_flops()
    )


def _answer(
    predict: Callable[[Classifier, torch.Tensor], torch.Tensor], network: Classifier, split: Split
) -> tuple[Predictions, float]:
    """Return the predictions of a split and the seconds they took."""
    started = time.perf_counter()
    logits = predict(network, split.images)
    seconds = time.perf_counter() - started
    return Predictions(logits.numpy(), split.labels.numpy()), seconds
