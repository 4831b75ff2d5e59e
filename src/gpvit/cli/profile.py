"""The verb `gpvit profile`."""

import json as json_format
from dataclasses import asdict

import torch
from rich.console import Console

from gpvit.profile.cost import profile_model
from gpvit.profile.workload import create_for_size, parse_size
from gpvit.zoo.catalog import MODELS
from gpvit.zoo.factory import load
from gpvit.zoo.files import weights_file


def profile(
    model: str, size: str = "224x224", in_chans: int = 3, batch_size: int = 1, depth: int = 1, json: bool = False
) -> None:
    """Print the parameters and multiply-accumulates of a model, by part.

    Args:
        model: Name of the model, of this package or of timm, path of a checkpoint, or folder of a run.
        size: Image height x width in pixels.
        in_chans: Image channels.
        batch_size: Images in the batch.
        depth: Levels of submodules that are listed.
        json: Print JSON in place of a table.
    """
    height_width = parse_size(size)
    if weights_file(model).is_file():
        network = load(model).to("meta")
    else:
        with torch.device("meta"):
            network = create_for_size(model, height_width, in_chans=in_chans)
    cost = profile_model(network, height_width, in_chans, batch_size, depth)
    entry = MODELS.get(model.partition(".")[0])
    params, macs = (entry.published_params_m, entry.published_gmacs) if entry else (None, None)
    if json:
        published = {"published_params_m": params, "published_gmacs": macs}
        print(json_format.dumps({"model": model, **asdict(cost), **published}, indent=1))
        return
    console = Console()
    console.print(cost.table(f"{model}, batch {batch_size} of {in_chans}x{size}"))
    figures = [
        f"{params} M parameters" if params else "",
        f"{macs} G MACs at {entry.published_size}" if macs and entry else "",
    ]
    if any(figures):
        console.print("published:", "; ".join(filter(None, figures)))
