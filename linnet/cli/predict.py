"""`linnet predict`: from images to rows, wherever the network runs."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from linnet.errors import PathNotFound, UsageError

if TYPE_CHECKING:
    from linnet.cli.classify import Row
    from linnet.cli.tally import Tally

EXIT_FAILURE = 1


class TwoModels(UsageError):
    """A bundle is named, and something else that is to answer as well."""

    def __init__(self, option: str) -> None:
        super().__init__(f"The options --bundle and {option} each say what is to answer: give one of them.")


def predict(  # noqa: PLR0913
    images: Annotated[
        list[Path],
        typer.Argument(help="Images, folders, globs, zips, or - for standard input.", show_default=False),
    ],
    *,
    url: Annotated[str | None, typer.Option(help="Ask the service at this address.", show_default=False)] = None,
    bundle: Annotated[Path | None, typer.Option(help="Use this bundle in process.", show_default=False)] = None,
    models_dir: Annotated[Path, typer.Option(help="Without --url and --bundle: use a bundle of it.")] = Path("models"),
    model: Annotated[str | None, typer.Option(help="Name of the model; the default unless told.")] = None,
    top_k: Annotated[int, typer.Option(min=1, help="Classes per image.")] = 5,
    table: Annotated[bool, typer.Option("--table", help="Write columns for people instead of JSON lines.")] = False,
    output: Annotated[Path | None, typer.Option(help="Write the rows into this file.", show_default=False)] = None,
    skip_done: Annotated[bool, typer.Option("--skip-done", help="Continue --output after what it holds.")] = False,
    truth: Annotated[bool, typer.Option("--truth", help="Folders are labels: print accuracy and confusions.")] = False,
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="With --url: requests under way at once.")] = 8,
) -> None:
    """Classify images; prints one JSON object per image, in order. Exits with 1 where an image failed.

    The key of a service that needs one is read from LINNET_API_KEY.
    """
    from linnet.cli.classify import classify_here, classify_there, default_bundle
    from linnet.cli.origin import OriginNote
    from linnet.cli.rows import answered_names
    from linnet.cli.sources import Sources
    from linnet.cli.tally import Tally

    if bundle and (url or model):
        raise TwoModels("--url" if url else "--model")
    _check_output(output, as_table=table, skip_done=skip_done)
    sources, tally = Sources(images), Tally()
    done = answered_names(output) if output and output.exists() else set()
    claim = OriginNote(output, is_answered=bool(done)).claim if output and not table else None
    waiting = (source for source in sources if source.name not in done)
    rows = (
        classify_there(waiting, url, top_k, model, concurrency, claim)
        if url
        else classify_here(waiting, bundle or default_bundle(models_dir, model), top_k, claim)
    )
    with closing(rows):  # stopped by Ctrl-C, it begins no request more
        failures = _write(rows, output, tally, as_table=table, total=sources.count, done=len(done))
    if truth:
        typer.echo("\n".join(tally.lines()), err=True)
    raise typer.Exit(EXIT_FAILURE if failures else 0)


def _check_output(output: Path | None, *, as_table: bool, skip_done: bool) -> None:
    from linnet.cli.rows import NothingToContinue, OutputExists, TableNotContinued

    if skip_done and as_table:
        raise TableNotContinued
    if skip_done and output is None:
        raise NothingToContinue
    if output and not output.parent.is_dir():
        raise PathNotFound(output.parent, "folder for the output")
    if output and output.exists() and not skip_done:
        raise OutputExists(output, as_table=as_table)


def _write(  # noqa: PLR0913
    rows: Generator[Row, None, None], output: Path | None, tally: Tally, *, as_table: bool, total: int, done: int
) -> int:
    """Write every row and count it; return how many images failed."""
    from linnet.cli.progress import progress_of_images
    from linnet.cli.rows import as_json, as_text, keep_predictions, open_output
    from service.schemas import FailedPrediction

    failures = 0
    first = list(islice(rows, 1))  # where not even one image is answered no file is made, or touched
    if output and output.exists():
        keep_predictions(output, tally.add)
    with open_output(output) as file, progress_of_images(total, done, is_off=file.isatty()) as advance:
        for row in chain(first, rows):
            file.write((as_text(row) if as_table else as_json(row)) + "\n")
            tally.add(row)
            failures += isinstance(row, FailedPrediction)
            advance(1)
    return failures
