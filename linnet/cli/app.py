"""The verbs and their options."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from linnet import __version__
from linnet.cli.cache import Cache, cache_folder
from linnet.cli.missing import explain
from linnet.cli.predict import predict
from linnet.errors import GateError, LinnetError, PathNotFound, Stopped, UsageError

EXIT_FAILURE, EXIT_USAGE, EXIT_GATE, EXIT_STOPPED = 1, 2, 3, 130


class FileUnusable(LinnetError):
    """The operating system refuses a file or folder that the user named."""

    def __init__(self, path: str | None, reason: str) -> None:
        super().__init__(
            f"{path or 'A file'} cannot be used ({reason}): check the path, its permissions and the space on the disk."
        )


app = typer.Typer(
    name="linnet",
    help="From a folder of labelled images to a production REST classifier.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line; a user's mistake is one sentence on stderr and an exit code, never a traceback."""
    command = next((argument for argument in sys.argv[1:] if not argument.startswith("-")), "")
    try:
        app()
    except LinnetError as error:
        _leave(str(error), _exit_code(error))
    except OSError as error:
        _leave(str(FileUnusable(error.filename, error.strerror or type(error).__name__)), EXIT_FAILURE)
    except ModuleNotFoundError as error:
        missing = explain(command, error)
        if missing is None:
            raise
        _leave(str(missing), EXIT_FAILURE)


def _leave(sentence: str, code: int) -> None:
    print(f"linnet: {sentence}", file=sys.stderr)  # noqa: T201
    sys.exit(code)


def _exit_code(error: LinnetError) -> int:
    if isinstance(error, GateError):
        return EXIT_GATE
    if isinstance(error, Stopped):
        return EXIT_STOPPED
    return EXIT_USAGE if isinstance(error, UsageError) else EXIT_FAILURE


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"linnet {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Say it.")] = False,
) -> None:
    """From a folder of labelled images to a production REST classifier."""


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="TOML recipe.", show_default=False)],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key, as in optim.lr=3e-4.")
    ] = None,
    run: Annotated[Path | None, typer.Option(help="Where the run goes; runs/<recipe's name> unless told.")] = None,
    resume: Annotated[bool, typer.Option(help="Continue an interrupted run after its last whole epoch.")] = False,
    cache: Cache = None,
) -> None:
    """Train a recipe; prints the run's folder. Under torchrun, several processes train it together."""
    from trainer.distributed import leads
    from trainer.errors import Interrupted
    from trainer.recipe_file import load_recipe
    from trainer.report.report import write_report
    from trainer.train import is_resumable
    from trainer.train import train as carry_out

    resolved = load_recipe(recipe, overrides or [])
    directory = run or Path("runs") / resolved.name
    try:
        carry_out(resolved, directory, resume=resume, cache=cache_folder(cache))
    except KeyboardInterrupt:
        raise Interrupted(directory, is_resumable(directory)) from None
    if leads():
        write_report(directory)
        typer.echo(directory)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Folder that `linnet train` wrote.", show_default=False)],
    layer: Annotated[str | None, typer.Option(help="Whose feature maps to show, as in blocks.3.")] = None,
) -> None:
    """Write a run's report as report.html and report.md; prints the HTML file. `linnet train` does it at its end."""
    from trainer.report.report import write_report

    typer.echo(write_report(run, layer=layer))


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Folders that `linnet train` wrote.", show_default=False)],
    output: Annotated[Path | None, typer.Option(help="Write a page with plots to this HTML file.")] = None,
) -> None:
    """Hold runs against each other; prints a Markdown table, the most accurate run first."""
    from trainer.report.comparison import comparison_table, gather_contenders, reservations, write_comparison
    from trainer.report.render import markdown_table

    contenders = gather_contenders(runs)
    if output is not None:
        write_comparison(contenders, output)
    for sentence in reservations(contenders):
        typer.echo(sentence, err=True)
    typer.echo(markdown_table(comparison_table(contenders)))


@app.command()
def lr_find(
    recipe: Annotated[Path, typer.Argument(help="TOML recipe.", show_default=False)],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key, as in optim.lr=3e-4.")
    ] = None,
    phase: Annotated[str | None, typer.Option(help="Phase to sweep; the first unless told.")] = None,
    output: Annotated[Path, typer.Option(help="Where the plot goes.")] = Path("lr-find.png"),
) -> None:
    """Sweep the learning rate of a recipe's phase; prints the rate at which the loss falls fastest."""
    from trainer.disk import replace_file
    from trainer.progress import Reporter
    from trainer.rate_finder import find_rate
    from trainer.recipe_file import load_recipe
    from trainer.report.charts import draw_sweep, to_png

    if not output.parent.is_dir():
        raise PathNotFound(output.parent, "folder for the plot")
    with Reporter() as reporter:
        sweep = find_rate(load_recipe(recipe, overrides or []), phase, reporter=reporter)
        replace_file(output, to_png(draw_sweep(sweep)), "free some, or name another --output")
        reporter.say(
            f"phase {sweep.phase}: the loss falls fastest at {sweep.steepest:.2g} and is lowest at "
            f"{sweep.at_minimum:.2g} (a tenth of that is {sweep.at_minimum / 10:.2g}); plot in {output}"
        )
    typer.echo(f"{sweep.steepest:.2g}")


def _list_variants_and_gates(wanted: bool) -> None:
    if wanted:
        from export.listing import listing

        typer.echo(listing())
        raise typer.Exit


@app.command()
def export(  # noqa: PLR0913, PLR0917
    run: Annotated[Path, typer.Argument(help="Folder that `linnet train` wrote.", show_default=False)],
    int8: Annotated[bool, typer.Option("--int8", help="Add an int8 variant, for CPUs.")] = False,
    fp16: Annotated[bool, typer.Option("--fp16", help="Add an fp16 variant, for CUDA.")] = False,
    max_loss: Annotated[
        float,
        typer.Option(min=0, max=100, metavar="POINTS", help="Percentage points of top-1 that a variant may lose."),
    ] = 0.5,
    models_dir: Annotated[Path, typer.Option(help="Where bundles go.")] = Path("models"),
    name: Annotated[str | None, typer.Option(help="Name of the model; the run's unless told.")] = None,
    version: Annotated[int | None, typer.Option(min=1, help="Version; the next free one unless told.")] = None,
    cache: Cache = None,
    _list: Annotated[
        bool,
        typer.Option("--list", callback=_list_variants_and_gates, is_eager=True, help="List variants and gates."),
    ] = False,
) -> None:
    """Export a run to ONNX, prove and measure it; prints the bundle's folder. Exits with 3 when a gate fails."""
    from export.export import Plan, export_run

    plan = Plan(int8=int8, fp16=fp16, max_loss_points=max_loss)
    typer.echo(export_run(run, models_dir, name=name, version=version, plan=plan, cache=cache_folder(cache)))


@app.command()
def recover(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle.", show_default=False)],
    out: Annotated[Path, typer.Option(help="File for the weights; must not exist.")] = Path("recovered.safetensors"),
    data: Annotated[
        Path | None, typer.Option(help="Images it was trained on; those of its recipe unless told.")
    ] = None,
) -> None:
    """Read the weights of a bundle back, for a recipe to begin with (network.weights); prints their file."""
    from export.recover import recover_weights

    recover_weights(bundle, out, data)
    typer.echo(out)


@app.command()
def serve(
    models_dir: Annotated[Path | None, typer.Option(help="Folder of bundles.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Port to listen on.")] = None,
    model: Annotated[str | None, typer.Option(help="Model that answers requests which name none.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that serve the port.")] = None,
) -> None:
    """Serve every bundle of a folder over HTTP; options win over LINNET_* variables."""
    from service.server import serve as listen
    from service.settings import read_settings

    told: dict[str, Any] = {
        "models_dir": models_dir, "host": host, "port": port, "model": model, "workers": workers,
    }  # fmt: skip
    listen(read_settings(**{key: value for key, value in told.items() if value is not None}))


@app.command()
def bench(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle.", show_default=False)],
    threads: Annotated[list[int] | None, typer.Option(min=1, help="Threads inside one run; 1 unless told.")] = None,
    batch: Annotated[list[int] | None, typer.Option(min=1, help="Images per run; 1 and 16 unless told.")] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="Time for each line of the table.")] = 3.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line instead of a table.")] = False,
) -> None:
    """Time every variant of a bundle on this machine's CPU, side by side, beside bare ONNX Runtime."""
    from linnet.cli.bench import bench_bundle, processor, table

    timings = bench_bundle(bundle, threads or [1], batch or [1, 16], seconds, partial(typer.echo, err=True))
    if as_json:
        for timing in timings:
            typer.echo(timing.model_dump_json())
    else:
        typer.echo(f"{processor()}\n{table(timings)}")


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle.", show_default=False)],
    run: Annotated[Path | None, typer.Option(help="Hold it against the network of this run, too.")] = None,
) -> None:
    """Check a bundle: schema, hashes, shapes, self-test; with --run the parity gate again. Exits with 1 or 3."""
    from linnet.cli.verify import verify_bundle

    for line in verify_bundle(bundle, run):
        typer.echo(line)


app.command()(predict)


@app.command()
def score(  # noqa: PLR0913
    images: Annotated[str, typer.Argument(help="Folder, zip or address (s3://…) of images.", show_default=False)],
    *,
    out: Annotated[str, typer.Option(help="Folder or address for the scores; continued where it is one.")],
    bundle: Annotated[Path | None, typer.Option(help="Use this bundle.", show_default=False)] = None,
    models_dir: Annotated[Path, typer.Option(help="Without --bundle: use its default.")] = Path("models"),
    ray: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Score on this Ray cluster; 'local' starts one here.")
    ] = None,
    shard_images: Annotated[int, typer.Option(min=1, help="Images per Parquet file.")] = 1000,
    top_k: Annotated[int, typer.Option(min=1, help="Classes per image.")] = 5,
) -> None:
    """Classify image sets of any size into Parquet files, on all cores or on a Ray cluster; prints a summary."""
    from linnet.cli.classify import default_bundle
    from linnet.cli.scoring.score import score as carry_out
    from linnet.cli.scoring.scorer import Errand

    errand = Errand(bundle or default_bundle(models_dir), images, out, top_k)
    typer.echo(carry_out(errand, shard_images=shard_images, ray=ray).model_dump_json())
