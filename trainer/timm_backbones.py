"""Backbones of the timm library, named `timm/NAME`; an optional extra."""

from __future__ import annotations

from typing import Any

from torch import nn

from trainer.architectures import TIMM_PREFIX, Architecture
from trainer.backbones import Backbone, Parts
from trainer.errors import TimmMissing, UnknownBackbone


def timm_backbone(name: str) -> Backbone:
    """Return the backbone `timm/NAME`: one block, whose output timm itself pools into the embedding.

    Raises `TimmMissing` or `UnknownBackbone`.
    """
    timm = _timm()
    model_name = _known(timm, name)
    published = timm.get_pretrained_cfg(model_name).has_weights
    return Backbone(
        build=lambda: timm.create_model(model_name, pretrained=False),
        take_apart=_take_apart,
        imagenet=(lambda: timm.create_model(model_name, pretrained=True)) if published else None,
    )


def timm_architecture(name: str) -> Architecture:
    """Return the input that the published weights of `timm/NAME` were made for; raises as `timm_backbone` does."""
    timm = _timm()
    config = timm.get_pretrained_cfg(_known(timm, name))
    return Architecture(size_px=config.input_size[-1], mean=tuple(config.mean), std=tuple(config.std))


def _take_apart(model: Any) -> Parts:
    model.reset_classifier(0)
    return Parts([model], nn.Identity(), model.head_hidden_size)


def _timm() -> Any:
    try:
        import timm
    except ModuleNotFoundError as error:
        raise TimmMissing from error
    return timm


def _known(timm: Any, name: str) -> str:
    model_name = name.removeprefix(TIMM_PREFIX)
    if not timm.is_model(model_name):
        raise UnknownBackbone(name, [f"{TIMM_PREFIX}{known}" for known in timm.list_models()])
    try:
        config = timm.get_pretrained_cfg(model_name)
    except RuntimeError as error:  # the architecture is there, and not the weights that follow its dot
        architecture = model_name.partition(".")[0]
        published = timm.list_pretrained(f"{architecture}.*") or [architecture]
        raise UnknownBackbone(name, [f"{TIMM_PREFIX}{known}" for known in published]) from error
    if config is None:  # an old name, which timm keeps for another
        raise UnknownBackbone(name, [f"{TIMM_PREFIX}{known}" for known in timm.list_models()])
    return model_name
