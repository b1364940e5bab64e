"""The recipe: everything that decides a run, as frozen models that reject unknown keys.

The resolved recipe, with nothing left implicit, is written into the run and can be fed back. Must not import torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, StrictInt, field_validator, model_validator

from linnet.preprocess import PreprocessSpec


class Table(BaseModel):
    """A table of the recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Data(Table):
    """Which images, and how they are split."""

    source: Literal["folder", "cifar10"] = Field(
        default="folder", description="'folder': one folder per class; 'cifar10': torchvision downloads it into `path`"
    )
    path: Path = Field(description="folder of the images, relative to the working directory")
    validation_fraction: float = Field(default=0.1, gt=0.0, lt=0.9, description="share of train that selection uses")
    test_fraction: float = Field(default=0.2, gt=0.0, lt=0.9, description="share of all, where there is no test folder")
    fraction: float = Field(default=1.0, gt=0.0, le=1.0, description="share of each class that training may see")
    description: str = Field(default="", description="how reports name the data")
    licence: str = Field(default="", description="licence of the data, copied into the bundle")


class Network(Table):
    """The backbone, what it starts from, and the head on top."""

    backbone: str = Field(default="mobilenet_v2", description="a name of trainer/architectures.py, or timm/NAME")
    weights: str = Field(
        default="imagenet",
        description="'imagenet', 'none', or a safetensors file: of the published network, a run, or `linnet recover`",
    )
    weights_licence: str = Field(default="", description="licence of the weights, copied into the bundle")
    hidden: tuple[PositiveInt, ...] = Field(
        default=(), description="widths of dense layers with ReLU before the last; none replaces the last layer alone"
    )
    dropout: float = Field(default=0.2, ge=0.0, lt=1.0, description="share of the last layer's inputs that is dropped")


class Optim(Table):
    """Optimizer and schedule of a phase."""

    name: Literal["adamw", "adam", "sgd"] = Field(
        default="adamw", description="AdamW decays weights apart from the gradient, Adam and SGD through it"
    )
    lr: float = Field(default=1e-3, gt=0.0, description="peak learning rate")
    backbone_lr_scale: float = Field(
        default=1.0, gt=0.0, description="learning rate of the backbone over that of the head"
    )
    layer_decay: float = Field(
        default=1.0, gt=0.0, le=1.0, description="factor of the learning rate from each block to the one before it"
    )
    weight_decay: float = Field(default=0.01, ge=0.0, description="not applied to norms and biases")
    momentum: float = Field(default=0.9, ge=0.0, lt=1.0, description="SGD only, Nesterov")
    schedule: Literal["cosine", "one-cycle", "constant"] = Field(
        default="cosine", description="of the learning rate after the warm-up; 'one-cycle' falls in a straight line"
    )
    schedule_epochs: int = Field(
        default=0, ge=0, description="length of the schedule in epochs, where it is not that of the phase; 0 is that"
    )
    warmup: float = Field(default=0.1, ge=0.0, lt=1.0, description="share of the schedule with a linearly rising rate")
    label_smoothing: float = Field(
        default=0.0, ge=0.0, lt=1.0, description="share of the target that is spread over all classes"
    )
    ema_decay: float = Field(
        default=0.0, ge=0.0, lt=1.0, description="moving average of the weights per step; 0 is off"
    )
    clip_norm: float = Field(default=0.0, ge=0.0, description="largest gradient norm; 0 is off")
    balance: Literal["none", "loss", "sampling"] = Field(
        default="none",
        description="of classes of unequal size: 'loss' weighs images inversely to their class's share, 'sampling' "
        "draws every class equally often",
    )


class Augment(Table):
    """Random changes of the training images, drawn for each image anew."""

    flip: bool = Field(default=False, description="mirror half of the images")
    shift: float = Field(default=0.0, ge=0.0, le=0.5, description="largest shift over the side, by whole pixels")
    zoom: float = Field(default=1.0, gt=0.0, le=1.0, description="smallest share of the area that a random crop keeps")
    scale: float = Field(default=0.0, ge=0.0, le=0.5, description="0.2 magnifies by 0.8 to 1.2")
    rotate: float = Field(default=0.0, ge=0.0, le=180.0, description="largest rotation either way, degrees")
    edges: Literal["mirror", "black"] = Field(
        default="mirror", description="what lies beyond the edges; 'black' with shift is a padded random crop"
    )
    brightness: float = Field(default=0.0, ge=0.0, le=1.0, description="0.2 multiplies by 0.8 to 1.2")
    contrast: float = Field(default=0.0, ge=0.0, le=1.0, description="the same for the distance from the mean grey")
    saturation: float = Field(
        default=0.0, ge=0.0, le=1.0, description="the same for the distance from the pixel's grey"
    )
    hue: float = Field(default=0.0, ge=0.0, le=0.5, description="largest turn of the colour circle either way")
    trivial_augment: bool = Field(
        default=False, description="one of fourteen changes at random strength (Müller & Hutter 2021)"
    )
    erase: float = Field(
        default=0.0, ge=0.0, lt=1.0, description="side of a blanked square over the image's side; 0 is off"
    )
    mixup: float = Field(default=0.0, ge=0.0, description="alpha of mixup; 0 is off")
    cutmix: float = Field(default=0.0, ge=0.0, description="alpha of cutmix; 0 is off; with mixup each image draws one")
    mix_share: float = Field(default=1.0, ge=0.0, le=1.0, description="share of the images that are mixed at all")


class Phase(Table):
    """One stretch of training: what may move, for how long, and how."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="how the history and `--set` name the phase")
    unfreeze: str | StrictInt = Field(
        description="'head', 'all', the last N layers as an integer, or the last N blocks as 'N blocks'"
    )
    epochs: int = Field(ge=1, description="passes over the training images")
    batch_size: int = Field(default=64, ge=2, description="images that one step of the optimizer learns from")
    accumulate: int = Field(
        default=1, ge=1, description="parts that a batch is computed in, one after another, to save memory"
    )
    size_px: int | None = Field(default=None, ge=8, le=2048, description="another input size for this phase alone")
    patience: int = Field(
        default=0, ge=0, description="epochs without a better validation accuracy before stopping; 0 is off"
    )
    keep: Literal["best", "last"] = Field(
        default="best",
        description="the weights that the phase leaves: of its best epoch by validation (0 is what it began with), or "
        "of its last, for a schedule that the next phase carries on",
    )
    cache_features: bool = Field(
        default=True,
        description="what is frozen computes its features once where nothing augments them, always for validation, if "
        "they fit 4 GiB, and half of what a GPU has free; false lets a head phase augment",
    )
    optim: Optim = Optim()
    augment: Augment = Augment()

    @field_validator("unfreeze")
    @classmethod
    def _names_a_part(cls, value: str | int) -> str | int:
        if isinstance(value, int):
            if value < 1:
                raise ValueError("must be at least 1 layer, or 'head'")
            return value
        words = value.split()
        blocks = len(words) == 2 and words[0].isdecimal() and words[1] == "blocks" and int(words[0]) >= 1
        if value not in ("head", "all") and not blocks:
            raise ValueError("must be 'head', 'all', a number of layers, or a string like '15 blocks'")
        return value

    @model_validator(mode="after")
    def _ends_within_its_schedule(self) -> Phase:
        if 0 < self.optim.schedule_epochs < self.epochs:
            raise ValueError(f"optim.schedule_epochs must be 0 or at least the phase's {self.epochs} epochs")
        if self.optim.schedule_epochs * self.optim.warmup >= self.epochs:
            raise ValueError(
                f"optim.warmup {self.optim.warmup:g} of optim.schedule_epochs {self.optim.schedule_epochs} is the "
                f"phase's {self.epochs} epochs or more, and optim.lr would not be reached: lower optim.warmup"
            )
        return self

    @model_validator(mode="after")
    def _augments_only_images(self) -> Phase:
        if self.unfreeze == "head" and self.cache_features and self.augment != Augment():
            raise ValueError(
                "a head phase trains on features computed once, so it cannot augment images; "
                "set cache_features = false to let it"
            )
        return self

    @model_validator(mode="after")
    def _has_parts_of_two_images(self) -> Phase:
        if self.accumulate > 1 and self.batch_size < 2 * self.accumulate:
            raise ValueError(f"a batch of {self.batch_size} cannot be cut into {self.accumulate} parts of two images")
        return self


class Compute(Table):
    """How it is computed; changes no more than the last bits, or speed alone."""

    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="of the training; 'auto' is bfloat16 on CUDA devices that have it"
    )
    compile: bool = Field(default=False, description="torch.compile what trains; needs a C++ compiler")


class Evaluate(Table):
    """What the final evaluation does besides the headline numbers."""

    flip: bool = Field(default=False, description="answer the test split averaged with its mirror images too, apart")


class Tracking(Table):
    """Who is told of the run besides TensorBoard."""

    mlflow: str = Field(default="", description="tracking URI of MLflow; MLFLOW_TRACKING_URI where it is empty")


class Recipe(Table):
    """A whole recipe."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$", description="of the run, and of the model made from it")
    seed: int = Field(default=0, ge=0, description="decides splits, first weights and all that is drawn")
    data: Data
    preprocess: PreprocessSpec
    network: Network = Network()
    compute: Compute = Compute()
    phase: tuple[Phase, ...] = Field(min_length=1)
    evaluate: Evaluate = Evaluate()
    tracking: Tracking = Tracking()

    @model_validator(mode="after")
    def _names_its_phases_apart(self) -> Recipe:
        names = [phase.name for phase in self.phase]
        if len(set(names)) != len(names):
            raise ValueError("two phases have the same name")
        return self
