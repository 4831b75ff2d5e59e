"""The verb `gpvit evaluate`."""

import json as json_format
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from gpvit.inference.model import preprocessing_of
from gpvit.models.opening import is_untrained, open_model
from gpvit.tasks.evaluation import evaluate_classifier, open_data


def evaluate(
    checkpoint: str,
    data: str = "digits",
    batch_size: int = 64,
    num_workers: int = 4,
    device: str | None = None,
    json: str | None = None,
) -> None:
    """Score a checkpoint on a data set, its images prepared as the checkpoint says.

    Args:
        checkpoint: A .safetensors file of a run, or published weights as `gpvit_l1.in1k`.
        data: `digits`, a folder with val/CLASS/ images, or a folder of WebDataset shards.
        batch_size: Images that are computed at once.
        num_workers: Processes that load images.
        device: `cpu` or `cuda`; by default a GPU if there is one.
        json: File to write the scores to; `-` prints them in place of the table.
    """
    model = open_model(checkpoint)
    if is_untrained(checkpoint):
        raise ValueError(f"{checkpoint!r} names no trained weights; give a .safetensors file, or a tag: gpvit_l1.in1k")
    images = open_data(data, preprocessing_of(model), batch_size, num_workers)
    scores = evaluate_classifier(model, images, device, progress=sys.stderr.isatty())
    report = json_format.dumps({"checkpoint": checkpoint, "data": data, **scores}, indent=1)
    if json == "-":
        print(report)
        return
    table = Table("score", "value")
    for name, value in scores.items():
        table.add_row(name, f"{value:.4g}" if name in ("loss", "images") else f"{value:.2%}")
    Console().print(f"{checkpoint} on {data}", table, sep="\n", soft_wrap=True)
    if json is not None:
        Path(json).write_text(report + "\n", encoding="utf-8")
