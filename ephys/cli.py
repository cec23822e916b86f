"""The command line: a caption under the library. Everything heavy is imported inside a command."""

import sys
from pathlib import Path
from typing import Any

import click

REFUSALS = (ValueError, KeyError, OSError, FloatingPointError)
INTERRUPTED = 130


class Rig(click.Group):
    """A group whose commands answer what the library refuses with one line and status 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("\nInterrupted. Run the same command with --resume to go on.", err=True)
            sys.exit(INTERRUPTED)
        except REFUSALS as error:
            if ctx.params["debug"]:
                raise
            raise click.ClickException(_one_line(error)) from error


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error.args[0] if error.args else error)  # str(KeyError) would add quotes


@click.group(cls=Rig, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ephys")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """An electrophysiology rig for neural networks."""


device_option = click.option(
    "--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps."
)
quiet_option = click.option("-q", "--quiet", is_flag=True, help="No progress on stderr.")


@main.group()
def train() -> None:
    """Train a network to put on the rig."""


@train.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    envvar="EPHYS_BSDS500",
    required=True,
    help="BSDS500 folder, with train, val and test photographs.",
)
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="Checkpoint.")
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
    data: Path,
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
    from ephys.models.devices import choose_device
    from ephys.models.superres import SuperResolutionSettings
    from ephys.models.training import TrainingSettings, train_superres

    notes = train_superres(
        data,
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
