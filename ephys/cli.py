"""The command line: a caption under the library. Everything heavy is imported inside a command."""

import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ephys.visual_field import VisualField

REFUSALS = (
    *(ValueError, KeyError, OSError, FloatingPointError, RuntimeError, MemoryError, ImportError),
)
INTERRUPTED = 130
READOUTS = ("center", "mean", "max", "map")


class Rig(click.Group):
    """A group whose commands answer what the library refuses with one line and status 1."""

    def invoke(self, ctx: click.Context) -> Any:
        warnings.showwarning = _warn
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # zarr's writes, given up
            resumable = ctx.invoked_subcommand in ("probe", "train")
            way_on = " Run the same command with --resume to go on." if resumable else ""
            click.echo(f"\nInterrupted.{way_on}", err=True)
            sys.exit(INTERRUPTED)
        except REFUSALS as error:
            own = isinstance(
                error, click.exceptions.Exit | BrokenPipeError
            )  # click knows what to do
            if ctx.params["debug"] or own:
                raise
            raise click.ClickException(_one_line(error)) from error


def _warn(message: Warning | str, *where: Any, **more: Any) -> None:
    click.echo(f"Warning: {message}", err=True)


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    text = str(error.args[0] if error.args else error)  # str(KeyError) would add quotes
    return text.splitlines()[0] if text else type(error).__name__


@click.group(cls=Rig, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ephys")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """An electrophysiology rig for neural networks."""


folder = click.Path(path_type=Path)
device_option = click.option(
    "--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps."
)
quiet_option = click.option("-q", "--quiet", is_flag=True, help="No progress on stderr.")
MODEL_OPTIONS = (
    click.argument("model", default="superres-divnormei"),
    click.option("--weights", type=folder, help="State_dict to fill the network MODEL with."),
    click.option("--arch", help="Network that MODEL, a file with a state_dict, is for."),
    click.option(
        "--input-format",
        help="What the model takes, if it is not known: torchvision, caffe, caffenet or unit.",
    ),
    click.option(
        "--trust-pickle",
        is_flag=True,
        help="Open files that can run code (a module saved whole, a .pt2 program); do so only for "
        "files whose maker you trust.",
    ),
)


def model_options(command: Callable[..., None]) -> Callable[..., None]:
    """The argument MODEL and the options that say how to load it."""
    for option in reversed(MODEL_OPTIONS):
        command = option(command)
    return command


class Positions(click.ParamType):
    """A named readout, or positions such as 3,4 or 3,4;5,6."""

    name = "readout"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if not isinstance(value, str) or value in READOUTS:
            return value
        try:
            pairs = [tuple(int(number) for number in pair.split(",")) for pair in value.split(";")]
        except ValueError:
            pairs = []
        if not pairs or any(len(pair) != 2 for pair in pairs):
            known = ", ".join(READOUTS)
            self.fail(f"{value!r} is none of {known}, nor ROW,COLUMN[;ROW,COLUMN...]", param, ctx)
        return pairs


class BatchSize(click.ParamType):
    """A number, or auto."""

    name = "auto|N"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if value in (None, "auto"):
            return None
        return click.INT.convert(value, param, ctx)


@main.command()
@model_options
@click.option(
    "--protocol",
    "protocols",
    multiple=True,
    help="Name (see: ephys protocols) or .yaml or .toml file; repeatable; default: "
    "contrast_invariance, with gratings and with patches.",
)
@click.option(
    "--layers",
    multiple=True,
    help="Name, glob, re:EXPRESSION, type:CLASS or all; repeatable; default: the model's own.",
)
@click.option(
    "--readout",
    type=Positions(),
    help="Of each channel the central unit, the mean or max over positions, the whole map, or the "
    "units at ROW,COLUMN[;ROW,COLUMN...]; default: center, or all that look near the stimuli where "
    "these stay on a screen of their own.",
)
@click.option(
    "--centered/--uncentered",
    default=True,
    show_default=True,
    help="Stimuli at the centre of each receptive field, or of the image.",
)
@click.option(
    "--crop/--no-crop", default=True, show_default=True, help="Run only the pixels that are seen."
)
@click.option("-o", "--out", type=folder, help="Folder of the run; default: runs/MODEL.")
@click.option("--size", "size_px", type=int, help="Side of the image in pixels; default: model's.")
@click.option("--degrees", type=float, help="Width of the image in degrees; default: model's.")
@device_option
@click.option(
    "--batch-size", type=BatchSize(), default="auto", show_default=True, help="Stimuli at a time."
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16", "float16"]),
    default="float32",
    show_default=True,
    help="The lower ones are faster on some machines; their error is said.",
)
@click.option("--channels-last", is_flag=True, help="Memory format, faster on some machines.")
@click.option("--compile", "compiled", is_flag=True, help="Through torch.compile.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the bootstrap."
)
@click.option("--resume", is_flag=True, help="Go on with a run that was stopped.")
@click.option("--overwrite", is_flag=True, help="Replace the run in OUT.")
@click.option("--json", "as_json", is_flag=True, help="Print the population's table as JSON.")
@click.option("--dry-run", is_flag=True, help="Say what would be recorded, and stop.")
@quiet_option
def probe(
    model: str,
    weights: Path | None,
    arch: str | None,
    input_format: str | None,
    trust_pickle: bool,
    protocols: tuple[str, ...],
    layers: tuple[str, ...],
    out: Path | None,
    size_px: int | None,
    degrees: float | None,
    device: str,
    seed: int,
    resume: bool,
    overwrite: bool,
    as_json: bool,
    dry_run: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Record MODEL's units while it sees gratings, and report on their tuning.

    MODEL is a shipped network, a file, or the name of a network (see: ephys models). Under torchrun
    its processes share the recording out.

    \b
    Example: ephys probe
             ephys probe my.safetensors -o runs/mine
             ephys probe vgg16 --weights vgg16.pth --input-format torchvision
             ephys probe torchvision:resnet50 --layers 'layer?.*' --dtype bfloat16
             torchrun --nproc-per-node 4 -m ephys probe -o runs/mine
    """
    from ephys import experiment, models
    from ephys.analysis import read_about, read_responses
    from ephys.models.devices import choose_device
    from ephys.models.input_format import own_format
    from ephys.ranks import ranks
    from ephys.stimuli.protocols import DEFAULT

    module = models.load(
        model,
        weights=weights,
        arch=arch,
        input_format=input_format,
        trust_pickle=trust_pickle,
        device=choose_device(device),
    )
    protocols = protocols or DEFAULT
    how: Any = {
        **options,
        "layers": layers,
        "input_format": own_format(module).resized(size_px, degrees),
    }
    if dry_run:
        table = experiment.estimate(module, protocols, **how).round(1)
        click.echo(table.rename(columns={"seconds": "seconds to record"}).to_string(index=False))
        return
    network = f"{model} as {arch}" if arch else model
    run = experiment.probe(
        module,
        protocols,
        out=out or Path("runs") / Path(model.replace(":", "-")).stem,
        **how,
        source=network if weights is None else f"{network} with weights {weights}",
        seed=seed,
        resume=resume,
        overwrite=overwrite,
        quiet=quiet,
        command=" ".join(["ephys", *sys.argv[1:]]),
    )
    if ranks().rank > 0:
        return
    for protocol in read_about(run)["protocols"]:
        error = read_responses(run, protocol).attrs.get("error")
        if error is not None:
            text = (
                f"{protocol}: answers differ from plain float32 by up to {error:.1g} of the largest"
            )
            click.echo(text, err=True)
    _print_run(run, as_json)


@main.command()
@click.argument("run", type=folder)
def analyze(run: Path) -> None:
    """Make the tables, figures and report of RUN anew from its responses.

    Example: ephys analyze runs/superres-divnormei
    """
    from ephys.analysis import analyze

    if sys.stderr.isatty():
        click.echo("tables and figures ...", err=True)
    analyze(run)
    _print_run(run, as_json=False)


@main.command()
@click.argument("run", type=folder)
@click.argument("elsewhere", type=folder, required=False)
@click.option("--protocol", help="Default: the run's only one, else contrast_invariance.")
@click.option("--layer", help="Of ELSEWHERE; default: its last.")
@click.option("--name", help="Title of panel B; default: the model and the layer.")
@click.option("-o", "--out", type=folder, required=True, help="Picture: .png, .svg or .pdf.")
def plot(
    run: Path,
    elsewhere: Path | None,
    protocol: str | None,
    layer: str | None,
    name: str | None,
    out: Path,
) -> None:
    """Draw the figure of RUN, with another network's run ELSEWHERE as panel B.

    Example: ephys plot runs/superres-divnormei runs/vgg16 -o figure2.png
    """
    from ephys.analysis import plot

    plot(run, out, elsewhere=elsewhere, protocol=protocol, layer=layer, name=name)
    click.echo(out)


@main.command()
@click.argument("runs", metavar="RUN...", type=folder, nargs=-1, required=True)
@click.option(
    "--protocol", "protocols", multiple=True, help="Name; repeatable; default: all they share."
)
@click.option(
    "--layers", multiple=True, help="Name, glob or re:EXPRESSION; repeatable; default: all."
)
@click.option(
    "--measure",
    "measures",
    multiple=True,
    help="Column of units.csv, as for --layers; repeatable; default: all but angles.",
)
@click.option(
    "--correction",
    type=click.Choice(["holm", "fdr_bh", "bonferroni"]),
    default="holm",
    show_default=True,
    help="Of p for the number of tests; fdr_bh bounds the share of false ones among those found.",
)
@click.option(
    "--permutations",
    type=click.IntRange(min=1),
    help="Default: 40 for each test, but 10,000 at least and 100,000 at most.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Of permutations and bootstrap.",
)
@click.option("-o", "--out", type=folder, help="Write the table as a file, .csv.")
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
def compare(
    runs: tuple[Path, ...], correction: Any, out: Path | None, as_json: bool, **options: Any
) -> None:
    """Test in what the layers of RUN differ, or the RUNs from each other.

    Of one RUN each layer is compared with every one before it. Of several, layers of the same name
    are; where there are none, every layer of a RUN with every one of the RUNs before it.

    \b
    Example: ephys compare runs/superres-divnormei
             ephys compare runs/untrained runs/trained --layers features.3 -o differences.csv
             ephys compare runs/vgg16 --protocol orientation --measure gosi --measure von_mises_*
    """
    from ephys.comparison import compare_runs
    from ephys.report import NUMBERS, difference_summary

    found, angles = compare_runs(runs, correction=correction, **options)
    if out is not None:
        found.to_csv(out, index=False, float_format=NUMBERS)
    if as_json:
        click.echo(found.to_json(orient="records"))
        return
    click.echo(difference_summary(found, correction, everything=bool(options["measures"])))
    if angles and not options["measures"]:
        click.echo(f"Angles have no median, and are left out: {', '.join(angles)}.")
    if out is not None:
        click.echo(out)


@main.command()
@click.argument("run", type=folder)
@click.option("--protocol", help="Default: the run's only one.")
@click.option("-o", "--out", type=folder, required=True, help="File: .nc, .csv or .parquet.")
def export(run: Path, protocol: str | None, out: Path) -> None:
    """Write the responses of RUN as netCDF, CSV or parquet.

    Example: ephys export runs/vgg16 --protocol contrast_invariance -o vgg16.nc
    """
    from ephys.analysis import responses_folder
    from ephys.export import export

    click.echo(export(responses_folder(run, protocol), out))


@main.command()
@model_options
@click.option("--layers", "patterns", multiple=True, help="As for ephys probe; default: all.")
@click.option("--size", "size_px", type=int, help="Side of the image in pixels; default: model's.")
def layers(patterns: tuple[str, ...], size_px: int | None, **source: Any) -> None:
    """List MODEL's layers: name, type, output, receptive field.

    Those with a star are recorded by default. A receptive field is exact, or the whole input, or
    unknown where an operation on the way has no rule.

    Example: ephys layers superres-divnormei
    """
    from ephys.experiment import layer_table
    from ephys.models.input_format import own_format
    from ephys.models.sources import BUILT_IN, load

    if source["model"] in BUILT_IN and source["weights"] is None:
        source["model"] += "@none"  # layers need no download
    module = load(source.pop("model"), **source)
    table = layer_table(module, own_format(module).resized(size_px), patterns)
    widths = [max(map(len, [name, *table[name]])) for name in table.columns]
    for row in ([*table.columns], *table.to_numpy().tolist()):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())
    if "*" in table[""].values:
        click.echo("* recorded by default")


@main.command()
def models() -> None:
    """List the models that can be named.

    Example: ephys models
    """
    from ephys.models.sources import BUILT_IN, PATTERNS, SHIPPED

    names = {**SHIPPED, **BUILT_IN, **PATTERNS}
    width = max(map(len, names)) + 2
    for name, what in names.items():
        click.echo(f"{name:{width}}{what}")


FIELD_OPTIONS = (
    click.option("--model", help="For the images that MODEL takes."),
    click.option(
        "--size", "size_px", type=int, help="Side of the image in pixels; default: 224, or MODEL's."
    ),
    click.option(
        "--degrees", type=float, help="Width of the image in degrees; default: 8, or MODEL's."
    ),
)


def field_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say for which display stimuli are; those of ``probe`` mean the same."""
    for option in reversed(FIELD_OPTIONS):
        command = option(command)
    return command


@main.command()
@click.argument("name", required=False)
@field_options
@click.option("-o", "--out", type=folder, help="Write NAME down as a file: .yaml or .toml.")
@click.option("--overwrite", is_flag=True, help="Replace the file OUT.")
def protocols(name: str | None, out: Path | None, overwrite: bool, **display: Any) -> None:
    """List the protocols: name, number of stimuli, what each is for, and whose experiment it was.

    With NAME, of a protocol, of a battery or of a .yaml or .toml file, say what it goes through. A
    protocol that is written down is shown again with: ephys probe --protocol FILE.

    \b
    Example: ephys protocols
             ephys protocols size
             ephys protocols size --degrees 4 -o my_size.yaml
    """
    from ephys.catalog import describe_protocol, find_protocol, list_protocols

    if out is None:
        field = _field(**display)
        click.echo(list_protocols(field) if name is None else describe_protocol(name, field))
        return
    if name is None:
        raise click.UsageError("which protocol is to be written down? Name it.")
    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} exists; pass --overwrite, or another -o")
    from ephys.stimuli.protocol_files import write_protocol

    protocol = find_protocol(name, _field(**display))
    click.echo(write_protocol(protocol, out, overwrite=overwrite))
    click.echo(f"sha256 {protocol.stimuli.sha256}")


@main.command()
@click.argument("protocol")
@field_options
@click.option(
    "-o",
    "--out",
    type=folder,
    required=True,
    help="Picture: .png, .svg or .pdf, or .gif of what moves.",
)
def stimuli(protocol: str, out: Path, **display: Any) -> None:
    """Draw a few stimuli along every axis of PROTOCOL, a name or a .yaml or .toml file.

    \b
    Example: ephys stimuli size -o size.png
             ephys stimuli hue --model vgg16 -o hue.svg
             ephys stimuli direction --size 48 --degrees 3.2 -o direction.gif
    """
    from ephys.catalog import find_protocol
    from ephys.contact_sheet import write_contact_sheet

    field = _field(**display)
    click.echo(write_contact_sheet(find_protocol(protocol, field), field, out))


def _field(
    model: str | None = None, size_px: int | None = None, degrees: float | None = None
) -> "VisualField":
    """The display for which stimuli are."""
    if model is None:
        from ephys.visual_field import VisualField

        size_px, degrees = 224 if size_px is None else size_px, 8 if degrees is None else degrees
        if not degrees > 0:
            raise ValueError(f"degrees={degrees}; an image covers a visual angle above 0")
        return VisualField(size_px, size_px, size_px / degrees)
    from ephys.models.input_format import own_format
    from ephys.models.sources import BUILT_IN, load

    module = load(f"{model}@none" if model in BUILT_IN else model)  # needs no download
    return own_format(module).resized(size_px, degrees).field


def _print_run(run: Path, as_json: bool) -> None:
    from ephys.report import read_population, read_scores, summary

    population = read_population(run)
    if as_json:
        click.echo(population.to_json(orient="records"))
        return
    click.echo(summary(population, read_scores(run)))
    click.echo(f"{run / 'report.html'}")


@main.group()
def train() -> None:
    """Train a network to put on the rig."""


@train.command()
@click.option(
    "--data",
    type=folder,
    help="BSDS500 folder, with train, val and test photographs; default: $EPHYS_DATA/bsds500.",
)
@click.option("-o", "--out", type=folder, required=True, help="Checkpoint.")
@click.option(
    "--normalization",
    type=click.Choice(["divnormei", "divnorm", "none"]),
    default="divnormei",
    show_default=True,
    help="Between the Gabor bank and the decoder; divnorm has no lateral connections.",
)
@click.option(
    "--excitation-from",
    type=click.Choice(["normalized", "drive"]),
    default="normalized",
    show_default=True,
    help="normalized as the authors' code, drive as their Eq. 3.",
)
@click.option(
    "--projected",
    type=click.Choice(["all", "lateral", "divisive", "none"]),
    default="all",
    show_default=True,
    help="Parameters kept non-negative.",
)
@click.option("--steps", default=2000, show_default=True)
@click.option("--batch-size", default=32, show_default=True)
@click.option("--learning-rate", default=1e-3, show_default=True)
@click.option("--seed", default=0, show_default=True)
@device_option
@click.option("--resume", is_flag=True, help="Go on with a training that was stopped.")
@click.option("--overwrite", is_flag=True, help="Replace OUT, and any training left there.")
@quiet_option
def superres(
    data: Path | None,
    out: Path,
    normalization: Any,
    excitation_from: Any,
    projected: Any,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    device: str,
    resume: bool,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Train super-resolution on photographs, and test it on others.

    Example: ephys train superres --data BSDS500 -o my.safetensors
    """
    from ephys.data_folders import data_folder
    from ephys.models.devices import choose_device
    from ephys.models.superres import SuperResolutionSettings
    from ephys.models.training import TrainingSettings, train_superres

    notes = train_superres(
        data or data_folder("bsds500"),
        out,
        network=SuperResolutionSettings(
            normalization=normalization, excitation_from=excitation_from, projected=projected
        ),
        training=TrainingSettings(
            steps=steps, batch_size=batch_size, learning_rate=learning_rate, seed=seed
        ),
        device=choose_device(device),
        resume=resume,
        overwrite=overwrite,
        quiet=quiet,
    )
    score = notes["evaluation"]
    click.echo(
        f"{out}: PSNR {score['psnr_network']:.2f} dB (bicubic {score['psnr_bicubic']:.2f}), "
        f"SSIM {score['ssim_network']:.3f} (bicubic {score['ssim_bicubic']:.3f}) "
        f"on {score['photographs']} test photographs"
    )


@train.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="CIFAR-10 or -100 as published, a folder of class folders, or the JPEG copy of CIFAR-10; "
    "default: $EPHYS_DATA/cifar10_jpeg.",
)
@click.option("-o", "--out", type=folder, required=True, help="Checkpoint.")
@click.option(
    "--normalization",
    type=click.Choice(["competition", "group", "layer", "local_response", "batch", "none"]),
    default="competition",
    show_default=True,
    help="After each convolution; all but none have batch norm after them.",
)
@click.option(
    "--relu/--no-relu",
    "rectified",
    default=None,
    help="Between convolution and normalization; default: for all but competition.",
)
@click.option(
    "--initialization",
    type=click.Choice(["kaiming", "kaiming_gaussian", "multivariate_gaussian"]),
    default="kaiming",
    show_default=True,
    help="kaiming_gaussian: filters alike within a group. multivariate_gaussian: as the authors.",
)
@click.option("--groups-of", type=int, help="Channels in a group; default: 8 of 64 or 128.")
@click.option(
    "--phi",
    type=click.Choice(["square", "relu", "softplus", "abs", "exp"]),
    default="square",
    show_default=True,
    help="What competes, of each response.",
)
@click.option("--stride", default=2, show_default=True, help="Of the first convolution, pixels.")
@click.option("--epochs", default=6, show_default=True, help="Times through the images.")
@click.option("--batch-size", default=128, show_default=True, help="Images in a step.")
@click.option("--learning-rate", default=0.1, show_default=True, help="The highest of a cycle.")
@click.option("--weight-decay", default=5e-4, show_default=True, help="Of all but biases.")
@click.option("--seed", default=0, show_default=True, help="Of filters and of order.")
@click.option("--mixed-precision", is_flag=True, help="bfloat16 where it is safe; CUDA only.")
@click.option("--size-px", type=int, help="Cut and resize images to this; default: as they are.")
@click.option("--keep-epochs", is_flag=True, help="Keep every epoch's network, in OUT.epochs/.")
@device_option
@click.option("--resume", is_flag=True, help="Go on with a training that was stopped.")
@click.option("--overwrite", is_flag=True, help="Replace OUT, and any training left there.")
@quiet_option
def classify(
    data: Path | None,
    out: Path,
    normalization: Any,
    rectified: bool | None,
    initialization: Any,
    groups_of: int | None,
    phi: str,
    stride: int,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
    seed: int,
    mixed_precision: bool,
    size_px: int | None,
    keep_epochs: bool,
    device: str,
    resume: bool,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Train a two-layer CNN to classify small images.

    Writes the checkpoint, and its learning curves beside it as .csv and .png. Under torchrun the
    processes share each batch out.

    Example: ephys train classify --data CIFAR10 -o my.safetensors
    """
    from ephys.data_folders import data_folder
    from ephys.figures import learning_curves
    from ephys.models.classification import PICTURE, ClassifierTraining, train_classifier
    from ephys.models.devices import choose_device
    from ephys.models.twolayer import TwoLayerSettings
    from ephys.ranks import ranks

    notes = train_classifier(
        data or data_folder("cifar10_jpeg"),
        out,
        network=TwoLayerSettings(
            normalization=normalization,
            rectified=normalization != "competition" if rectified is None else rectified,
            initialization=initialization,
            groups_of=groups_of,
            phi=phi,
            stride=stride,
        ),
        training=ClassifierTraining(
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            seed=seed,
            mixed_precision=mixed_precision,
        ),
        device=choose_device(device),
        size_px=size_px,
        keep_epochs=keep_epochs,
        resume=resume,
        overwrite=overwrite,
        quiet=quiet,
    )
    if ranks().rank > 0:
        return
    learning_curves(notes["history"]).savefig(out.with_suffix(PICTURE), dpi=150)
    score = notes["evaluation"]
    click.echo(
        f"{out}: {score['test_accuracy']:.1%} of {score['images']} test images correct, after "
        f"{epochs} epochs of {notes['training']['images']} images"
    )
    click.echo(f"  {notes['training']['source']}")
