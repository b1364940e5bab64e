"""The option of the commands that decode splits of a run: where decoded images are kept.

Must not import torch: the trainer is imported when the folder is asked for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Cache = Annotated[
    str | None,
    typer.Option(metavar="DIR", help="Keeps decoded images; the user's cache folder unless told; 'none' keeps none."),
]


def cache_folder(told: str | None) -> Path | None:
    """Return the folder that the option means; None where nothing is to be kept."""
    from trainer.image_cache import default_cache

    if told is None:
        return default_cache()
    return None if told == "none" else Path(told)
