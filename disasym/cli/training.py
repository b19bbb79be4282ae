"""The options that `disasym train` and `disasym reproduce` share: the network, its schedule, the machine."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from disasym.cli.sizes import size

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)

network_options = (
    click.option(
        "--preset", default="paper", show_default=True, help="paper (1024×512), small (256×128) or lite (256×128)."
    ),
    click.option("--encoder", help="resnet18 or efficientnet-lite0.  [default: the preset's]"),
    click.option(
        "--size", callback=size, metavar="HxW", help="Pixels of a view, multiples of 32.  [default: the preset's]"
    ),
    click.option("--upsampling", help="nearest or bilinear, between AsyD's stages.  [default: the preset's, nearest]"),
    click.option("--x-ab", help="sigmoid: x_ab = σ(g); masked: x_ab = x·σ(g).  [default: the preset's, sigmoid]"),
    click.option(
        "--init",
        type=FILE,
        help="ImageNet weights of the encoder as .safetensors: keys of torchvision's resnet18 (for the preset paper at"
        " any size), or of efficientnet-lite-pytorch. docs/train.md says how to get one.",
    ),
)
schedule_options = (
    click.option(
        "--freeze",
        default="none",
        show_default=True,
        help="none, shallow (the encoder up to stride 16), encoder or asyc: what keeps the weights it begins with.",
    ),
    click.option("--epochs", type=int, default=20, show_default=True),
    click.option("--batch", type=int, default=8, show_default=True, help="Pairs in a step."),
    click.option("--lr", type=float, default=1e-4, show_default=True, help="Learning rate."),
    click.option("--lr-step", type=int, default=10, show_default=True, help="Epochs until the rate falls to a tenth."),
    click.option(
        "--asyd-lr-factor",
        type=float,
        default=1.0,
        show_default=True,
        help="AsyD learns this many times faster than AsyC.",
    ),
    click.option(
        "--head-lr-factor",
        type=float,
        default=1.0,
        show_default=True,
        help="The classifiers of the preset lite learn this many times faster than the rest of AsyC.",
    ),
    click.option(
        "--patience", type=int, default=0, help="Stop after so many epochs without a better AUC.  [default: never]"
    ),
    click.option("--no-synthesis", is_flag=True, help="Train without synthetic tumours; needs no bank."),
    click.option("--seed", type=int, default=0, show_default=True),
)
machine_options = (
    click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N."),
    click.option("--precision", default="fp32", show_default=True, help="fp32, or bf16 and fp16 for mixed precision."),
    click.option("--workers", type=int, default=0, show_default=True, help="Processes that load data."),
    click.option("--cache", type=FOLDER, help="Folder for preprocessed pairs.  [default: in OUT]"),
)


def training_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """All of them, in this order in the help."""
    for option in reversed((*network_options, *schedule_options, *machine_options)):
        command = option(command)
    return command
