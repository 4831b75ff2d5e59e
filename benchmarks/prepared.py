"""GPViT beside what people run instead: `python -m benchmarks.prepared` prints a ratio a row.

All steps take turns in one process with all threads: a busy machine slows all alike, and the ratios hold. Memory is the
peak of a fresh process over the idle one.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any

import torch
from rich.console import Console
from torch import nn
from torchvision.models.detection import maskrcnn_resnet50_fpn
from torchvision.models.detection.roi_heads import RoIHeads

from gpvit.devices import describe_machine
from gpvit.models.prepared import optimize
from gpvit.profile.measure import Measurement, Step, measure
from gpvit.profile.workload import Case, create_for_size, format_size, forward_step
from studies.report import Column, ResultTable

COLUMNS = [
    *(Column("what", "what"), Column("size", "images"), Column("ours", "this"), Column("other", "divided by this")),
    *(Column("ms", "ms", 0), Column("other_ms", "ms of the other", 0), Column("ratio", "ratio", 2)),
]


@dataclass(frozen=True)
class Prepared(Case):
    """A case of any model, ours or timm's, prepared for inference; torchvision's Mask R-CNN runs as it is."""

    def build(self) -> Step:
        """Make the step; detectors keep their best 100 objects, however unlikely, as random weights find none."""
        if self.model == maskrcnn_resnet50_fpn.__name__:
            sides = {"min_size": min(self.size), "max_size": max(self.size)}
            network: nn.Module = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, **sides).eval()
        else:
            network = optimize(create_for_size(self.model, self.size, features=self.features).eval())
        images, heads = torch.rand(self.batch_size, 3, *self.size), getattr(network, "roi_heads", None)
        if not isinstance(heads, RoIHeads):
            return forward_step(network, images, self.dtype)
        heads.score_thresh = 0.0
        return forward_step(lambda batch: network(list(batch)), images, self.dtype)


Row = tuple[str, Case, Case]


def rows(
    model: str = "gpvit_l1", peer: str = "vit_small_patch16_224", cnn: str = "resnet50", scale: int = 1
) -> list[Row]:
    """Return what is divided by what; `scale` divides the sides of all images, to try the command."""
    small, wide, square = (tuple(side // scale for side in size) for size in ((224, 224), (800, 1280), (512, 512)))
    classify: Callable[..., Any] = partial(dict, size=small, batch_size=8)
    large: Callable[..., Any] = partial(dict, size=wide, batch_size=1)
    middle: Callable[..., Any] = partial(dict, size=square, batch_size=1)
    ours, features = Prepared(model, **classify()), Prepared(model, features=True, **large())
    training = Case(model, mode="train", **classify())
    return [
        ("forward", ours, Case(peer, **classify())),
        ("forward, both prepared", ours, Prepared(peer, **classify())),
        ("features", features, Case(cnn, features=True, **large())),
        ("training step", training, replace(training, model=peer)),
        ("training step", training, replace(training, model=cnn)),
        ("whole image", Prepared(f"segformer_{model}", **middle()), Prepared(model, features=True, **middle())),
        ("end to end", Prepared(f"mask_rcnn_{model}", **large()), Prepared("maskrcnn_resnet50_fpn", **large())),
        ("prepared / plain", features, Case(model, features=True, **large())),
    ]


def name_of(case: Case) -> str:
    """Return the model of a case, and whether it was prepared."""
    return case.model + " prepared" * (type(case) is Prepared and case.model != maskrcnn_resnet50_fpn.__name__)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", help="folder for the table")
    parser.add_argument("--quick", action="store_true", help="tiny models and images, to try the command itself")
    args = parser.parse_args(arguments)
    chosen = rows("gpvit_nano", "test_vit", "test_resnet", scale=7) if args.quick else rows()
    runs = {case: Measurement(case, warmup=2) for _, *pair in chosen for case in pair}
    measure(list(runs.values()), args.rounds, progress=True)
    found = []
    for what, *pair in chosen:
        ours, other = (1e3 * median(runs[case].seconds) for case in pair)
        names = dict(zip(("ours", "other"), map(name_of, pair), strict=True))
        size = f"{pair[0].batch_size}x{format_size(pair[0].size)}"
        found.append({"what": what, "size": size, **names, "ms": ours, "other_ms": other, "ratio": ours / other})
    mine, plain = (case.memory().added_mib for case in chosen[-1][1:])
    memory = {
        "what": "the same, peak memory in MiB",
        "ms": mine,
        "other_ms": plain,
        "ratio": mine / plain if mine and plain else None,
    }
    notes = [f"{describe_machine()}; float32, random weights; medians of {args.rounds} rounds in turns after 2 steps."]
    result = ResultTable(
        "ratios", "GPViT beside what people run instead", COLUMNS, [*found, {**found[-1], **memory}], notes
    )
    Console(width=140).print(result)
    if args.out:
        print(*replace(result, command="python -m benchmarks.prepared").write(args.out), sep="\n")


if __name__ == "__main__":
    main()
