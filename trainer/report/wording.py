"""How numbers are written on a page."""

from __future__ import annotations

from trainer.evaluation import SplitEvaluation


def percent(share: float) -> str:
    """Return a share as `90.88 %`."""
    return f"{100 * share:.2f} %"


def interval(split: SplitEvaluation) -> str:
    """Return the interval of the accuracy, in percent, as `90.30 to 91.43`."""
    return f"{100 * split.accuracy_low:.2f} to {100 * split.accuracy_high:.2f}"


def duration(seconds: float) -> str:
    """Return seconds as `47 s`, `12 min 5 s` or `1 h 31 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def amount(number: float) -> str:
    """Return a count with a unit prefix: `2.24 M`, `613 M`, `1.2 G`."""
    for size, prefix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:.3g}{prefix}"
    return f"{number:.0f}"
