"""The verb `gpvit profile`."""

import json as json_format
from contextlib import nullcontext
from dataclasses import asdict

import torch
from rich.console import Console

from gpvit.devices import choose_device, describe_machine
from gpvit.errors import UserError
from gpvit.profile.cost import profile_model
from gpvit.profile.times import time_parts
from gpvit.profile.workload import create_for_size, parse_size
from gpvit.zoo.catalog import MODELS
from gpvit.zoo.factory import load
from gpvit.zoo.files import weights_file


def profile(
    model: str,
    size: str = "224x224",
    in_chans: int = 3,
    batch_size: int = 1,
    depth: int = 1,
    time: bool = False,
    rounds: int = 5,
    device: str | None = None,
    picture: str | None = None,
    json: bool = False,
) -> None:
    """Print the parameters and multiply-accumulates of a model, or the milliseconds that it takes, by part.

    Args:
        model: Name of the model, of this package or of timm, path of a checkpoint, or folder of a run.
        size: Image height x width in pixels.
        in_chans: Image channels.
        batch_size: Images in the batch.
        depth: Levels of submodules that are listed.
        time: Run the model, and print the time of each part in place of its cost.
        rounds: With --time: timed passes, of which medians are printed.
        device: With --time: `cpu` or `cuda`; by default a GPU if there is one.
        picture: With --time: file to draw the parts into, as .png, .svg or .pdf.
        json: Print JSON in place of a table.
    """
    if not time and (device is not None or picture is not None):
        raise UserError("leave out --device and --picture, or ask for the time of the parts: --time")
    height_width = parse_size(size)
    with nullcontext() if time else torch.device("meta"):
        network = _network(model, height_width, in_chans)
    title = f"{model}, batch {batch_size} of {in_chans}x{size}"
    if time:
        where = choose_device(device)
        images = torch.rand(batch_size, in_chans, *height_width, device=where)
        times = time_parts(network.eval().to(where), images, depth, rounds)
        if picture is not None:
            times.save(picture, f"{title}, {where}")
        if json:
            print(json_format.dumps({"model": model, "machine": asdict(describe_machine()), **asdict(times)}, indent=1))
        else:
            Console().print(times.table(f"{title}, {where}, medians of {rounds}"))
        return
    cost = profile_model(network, height_width, in_chans, batch_size, depth)
    entry = MODELS.get(model.partition(".")[0])
    params, macs = (entry.published_params_m, entry.published_gmacs) if entry else (None, None)
    if json:
        published = {"published_params_m": params, "published_gmacs": macs}
        print(json_format.dumps({"model": model, **asdict(cost), **published}, indent=1))
        return
    console = Console()
    console.print(cost.table(title))
    figures = [
        f"{params} M parameters" if params else "",
        f"{macs} G MACs at {entry.published_size}" if macs and entry else "",
    ]
    if any(figures):
        console.print("published:", "; ".join(filter(None, figures)))


def _network(model: str, size: tuple[int, int], in_chans: int) -> torch.nn.Module:
    """Open a checkpoint, or create what a name stands for."""
    if weights_file(model).is_file():
        with torch.device("cpu"):
            return load(model).to(torch.get_default_device())
    return create_for_size(model, size, in_chans=in_chans)
