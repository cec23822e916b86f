"""The command line: a caption under the library. Everything heavy is imported inside a command."""

import logging
import sys
from pathlib import Path
from typing import Any

import click

REFUSALS = (ValueError, KeyError, OSError, FloatingPointError, RuntimeError)
INTERRUPTED = 130


class Rig(click.Group):
    """A group whose commands answer what the library refuses with one line and status 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # zarr's writes, given up
            resumable = ctx.invoked_subcommand in ("probe", "train")
            way_on = " Run the same command with --resume to go on." if resumable else ""
            click.echo(f"\nInterrupted.{way_on}", err=True)
            sys.exit(INTERRUPTED)
        except REFUSALS as error:
            if ctx.params["debug"] or isinstance(error, click.exceptions.Exit):  # a RuntimeError
                raise
            raise click.ClickException(_one_line(error)) from error


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
model_argument = click.argument("model", default="superres-divnormei")
weights_option = click.option(
    "--weights", type=folder, help="State_dict (.safetensors, .pth) of a model such as vgg16."
)
input_format_option = click.option(
    "--input-format", help="What those weights take: torchvision, caffe or unit."
)


@main.command()
@model_argument
@weights_option
@input_format_option
@click.option("--protocol", "protocols", multiple=True, help="Repeatable; default: all.")
@click.option("--layers", multiple=True, help="Name or glob, repeatable; default: the model's own.")
@click.option(
    "--readout",
    type=click.Choice(["center", "mean", "max"]),
    default="center",
    show_default=True,
    help="The central unit of each channel, or a pool over all positions.",
)
@click.option("-o", "--out", type=folder, help="Folder of the run; default: runs/MODEL.")
@click.option("--size", "size_px", type=int, help="Side of the image in pixels; default: model's.")
@click.option("--degrees", type=float, help="Width of the image in degrees; default: model's.")
@device_option
@click.option("--batch-size", default=64, show_default=True)
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
    input_format: str | None,
    protocols: tuple[str, ...],
    layers: tuple[str, ...],
    readout: Any,
    out: Path | None,
    size_px: int | None,
    degrees: float | None,
    device: str,
    batch_size: int,
    seed: int,
    resume: bool,
    overwrite: bool,
    as_json: bool,
    dry_run: bool,
    quiet: bool,
) -> None:
    """Record MODEL's units while it sees gratings, and report on their tuning.

    MODEL is a shipped network, a checkpoint file or vgg16 (see: ephys models).

    \b
    Example: ephys probe
             ephys probe my.safetensors -o runs/mine
             ephys probe vgg16 --weights vgg16.pth --input-format torchvision
    """
    from ephys import experiment, models
    from ephys.models.devices import choose_device
    from ephys.models.input_format import own_format
    from ephys.stimuli.protocols import PROTOCOLS

    module = models.load(
        model, weights=weights, input_format=input_format, device=choose_device(device)
    )
    protocols = protocols or tuple(PROTOCOLS)
    how: Any = {
        "layers": layers,
        "readout": readout,
        "input_format": own_format(module).resized(size_px, degrees),
        "batch_size": batch_size,
    }
    if dry_run:
        click.echo(experiment.estimate(module, protocols, **how).round(1).to_string(index=False))
        return
    run = experiment.probe(
        module,
        protocols,
        out=out or Path("runs") / Path(model).stem,
        **how,
        source=model if weights is None else f"{model} with weights {weights}",
        seed=seed,
        resume=resume,
        overwrite=overwrite,
        quiet=quiet,
        command=" ".join(["ephys", *sys.argv[1:]]),
    )
    _print_run(run, as_json)


@main.command()
@click.argument("run", type=folder)
def analyze(run: Path) -> None:
    """Make the tables, figures and report of RUN anew from its responses.

    Example: ephys analyze runs/superres-divnormei
    """
    from ephys.analysis import analyze

    analyze(run)
    _print_run(run, as_json=False)


@main.command()
@click.argument("run", type=folder)
@click.argument("elsewhere", type=folder, required=False)
@click.option("--protocol", default="contrast_invariance", show_default=True)
@click.option("--layer", help="Of ELSEWHERE; default: its last.")
@click.option("--name", help="Title of panel B; default: the model and the layer.")
@click.option("-o", "--out", type=folder, required=True, help="Picture: .png, .svg or .pdf.")
def plot(
    run: Path,
    elsewhere: Path | None,
    protocol: str,
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
@model_argument
@weights_option
@input_format_option
def layers(model: str, weights: Path | None, input_format: str | None) -> None:
    """List the layers of MODEL by name and type; those with a star are recorded by default.

    Example: ephys layers superres-divnormei
    """
    from ephys.models.sources import load, unloaded

    by_name = model == "vgg16" and weights is None  # names need no download
    module = unloaded() if by_name else load(model, weights=weights, input_format=input_format)
    default = getattr(module, "default_layers", ())
    for name, layer in module.named_modules():
        if name:
            click.echo(f"{'*' if name in default else ' '} {name:40}{type(layer).__name__}")


@main.command()
def models() -> None:
    """List the models that can be named.

    Example: ephys models
    """
    from ephys.models.sources import BUILT_IN, SHIPPED

    for name, what in {**SHIPPED, **BUILT_IN}.items():
        click.echo(f"{name:24}{what}")
    click.echo(f"{'FILE.safetensors':24}a checkpoint of ephys train")


@main.command()
def protocols() -> None:
    """List the protocols: name, number of stimuli, and what each is for.

    Example: ephys protocols
    """
    from ephys.stimuli.protocols import PROTOCOLS

    for name, protocol in PROTOCOLS.items():
        purpose = (protocol.__doc__ or "").splitlines()[0]
        click.echo(f"{name:30}{len(protocol()):6}  {purpose}")


def _print_run(run: Path, as_json: bool) -> None:
    from ephys.report import read_population, summary

    population = read_population(run)
    if as_json:
        click.echo(population.to_json(orient="records"))
        return
    click.echo(summary(population))
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
    from ephys.models.datasets import data_folder
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
