"""Draw many small images as one: a grid with a word for each row, each column, or each cell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from trainer.report.charts import WIDTH, chart_text

Pixels = npt.NDArray[np.uint8]

WHITE = 255
LINE_INCHES = 0.17  # of a caption, font size 8
CHARACTER_INCHES = 0.077


def draw_rows(rows: Sequence[Sequence[Pixels]], names: Sequence[str], columns: Sequence[str] = ()) -> Figure:
    """Draw rows of images uint8 [h, w, 3] of one size, a name to the left of each row, and words above the columns."""
    longest = max(len(row) for row in rows)
    side, gap = rows[0][0].shape[0], max(1, rows[0][0].shape[0] // 24)
    canvas = np.full((len(rows) * (side + gap), longest * (side + gap), 3), WHITE, dtype=np.uint8)
    for r, row in enumerate(rows):
        for c, image in enumerate(row):
            canvas[r * (side + gap) : r * (side + gap) + side, c * (side + gap) : c * (side + gap) + side] = image
    names = [chart_text(name) for name in names]
    name_inches = 0.3 + 0.085 * max(len(name) for name in names)
    cell_inches = min(1.3, (WIDTH - name_inches) / longest)
    header_inches = 0.2 + LINE_INCHES * max((column.count("\n") + 1 for column in columns), default=0)
    figure = Figure(
        figsize=(name_inches + cell_inches * longest, cell_inches * len(rows) + header_inches), layout="constrained"
    )
    axes = figure.subplots()
    axes.imshow(canvas)
    axes.set_frame_on(False)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    centre = (side - 1) / 2
    axes.set_yticks([r * (side + gap) + centre for r in range(len(rows))], names, fontsize=9)
    words = [_fitted(column, cell_inches) for column in columns]
    axes.set_xticks([c * (side + gap) + centre for c in range(len(columns))], words, fontsize=8)
    return figure


def _fitted(words: str, inches: float) -> str:
    """Cut each line to what a column holds, and let no dollar begin a formula."""
    most = max(4, int(inches / CHARACTER_INCHES))
    lines = (line if len(line) <= most else f"{line[: most - 1]}…" for line in words.split("\n"))
    return "\n".join(lines).replace("$", r"\$")


def draw_captioned(images: Sequence[Pixels], captions: Sequence[str], columns: int = 6) -> Figure:
    """Draw images uint8 [h, w, 3] of one size, each above a caption of up to three short lines."""
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    lines = max(caption.count("\n") + 1 for caption in captions)
    cell = WIDTH / 6
    figure = Figure(
        figsize=(cell * columns, (cell + lines * LINE_INCHES) * rows + 0.1),
        layout=ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03),
    )
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, image, caption in zip(grid.flat, images, captions, strict=False):
        axes.imshow(image)
        axes.text(0.5, -0.03, _fitted(caption, cell), transform=axes.transAxes, ha="center", va="top", fontsize=8)
    return figure
