"""Every model by name, as data alone: its task and size, what weights are published, and how well they score."""

import csv
import json
from dataclasses import dataclass, field
from pathlib import Path

from gpvit.errors import UserError, nearest

SHIPPED = Path(__file__).parents[1] / "weights"
"""Where the weights are that come with the package, MODEL.TAG.safetensors and, with what they score, MODEL.TAG.json."""

RELEASE = "https://github.com/ChenhongyiYang/GPViT/releases/download/v0.0.1"
"""Where the authors' weights are."""


@dataclass(frozen=True)
class Weights:
    """One set of weights: its file in the authors' release or, if it is `shipped`, here; and its scores in percent."""

    filename: str
    metrics: dict[str, float]
    shipped: bool = False


@dataclass(frozen=True)
class CatalogEntry:
    """What is known about a model besides its code.

    Attributes:
        task: What the model does: ``"classification"``, ``"segmentation"`` or ``"detection"``.
        origin: ``"paper"``, ``"ours"`` for sizes that are not the paper's, ``"timm"`` for a system on another backbone.
        weights: Published and shipped weights by tag; the first is the default.
        system: What stands on the backbone, a key of ``SYSTEMS``; empty for a classifier.
        macs: Multiply-accumulates of one image of `macs_size`, height and width, with attention's products.
        published_params_m: The authors' figure for the parameters, in millions.
        published_gmacs: The paper's figure in billions of multiply-accumulates, for an image of `published_size`.
    """

    task: str
    origin: str
    weights: dict[str, Weights] = field(default_factory=dict)
    system: str = ""
    backbone: str = ""
    parameters: int | None = None
    macs: int | None = None
    macs_size: str = "224x224"
    published_params_m: float | None = None
    published_gmacs: float | None = None
    published_size: str = ""

    @property
    def name(self) -> str:
        """The model's name."""
        return f"{self.system}_{self.backbone}" if self.system else self.backbone


@dataclass(frozen=True)
class _System:
    """What models of one kind have in common: what MACs are counted for, and how the authors' files of a tag end."""

    task: str
    macs_size: str
    files: dict[str, str]
    metrics: tuple[str, ...]


_SYSTEMS = {
    "": _System("classification", "224x224", {"in1k": "in1k_300e"}, ("top1", "top5")),
    "upernet": _System("segmentation", "512x2048", {"ade20k": "upernet"}, ("miou",)),
    "segformer": _System("segmentation", "512x512", {"ade20k": "segformer"}, ("miou",)),
    "mask_rcnn": _System(
        "detection", "800x1280", {"coco_1x": "maskrcnn_1x", "coco_3x": "maskrcnn_3x"}, ("box_ap", "mask_ap")
    ),
    "retinanet": _System("detection", "800x1280", {"coco_1x": "retinanet_1x", "coco_3x": "retinanet_3x"}, ("box_ap",)),
}

SYSTEMS = {name: system.task for name, system in _SYSTEMS.items() if name}
"""What stands before a backbone's name, and the task that it makes of it; registered decoders are added."""


def split_system(name: str) -> tuple[str, str]:
    """Divide the name of a model into system, empty for a backbone alone, and backbone."""
    system = max((system for system in SYSTEMS if name.startswith(f"{system}_")), key=len, default="")
    return system, name.removeprefix(f"{system}_") if system else name


def _entry(row: dict[str, str]) -> CatalogEntry:
    title, backbone = split_system(row["name"])
    system = _SYSTEMS[title]
    scores = [[float(score) for score in scores.split()] for scores in row["scores"].split("/") if scores]
    weights = {
        tag: Weights(f"{backbone}_{end}.pth", dict(zip(system.metrics, values, strict=True)))
        for (tag, end), values in zip(system.files.items(), scores, strict=False)
    }
    return CatalogEntry(
        task=system.task,
        origin="paper" if weights else "ours",
        weights={**weights, **_shipped(row["name"])},
        system=title,
        backbone=backbone,
        parameters=int(row["parameters"]),
        macs=int(row["macs"]),
        macs_size=system.macs_size,
        published_params_m=json.loads(row["published_params_m"] or "null"),
        published_gmacs=json.loads(row["published_gmacs"] or "null"),
        published_size=system.macs_size if title else "224x224, without attention's products",
    )


def _shipped(name: str) -> dict[str, Weights]:
    """Find the weights of a model that come with the package, and read what their certificates say."""
    found = {}
    for certificate in sorted(SHIPPED.glob(f"{name}.*.json")):
        rows = json.loads(certificate.read_text(encoding="utf-8"))["compared"]
        metrics = {row["score"]: round(100 * row["measured"], 1) for row in rows}
        found[certificate.name.split(".")[1]] = Weights(f"{certificate.stem}.safetensors", metrics, shipped=True)
    return found


_TABLE = Path(__file__).with_name("catalog.csv").read_text(encoding="utf-8")
MODELS: dict[str, CatalogEntry] = {row["name"]: _entry(row) for row in csv.DictReader(_TABLE.splitlines())}
"""Every model by name.

Parameters and multiply-accumulates are as `gpvit profile` counts them. Of the paper's own multiply-accumulates there
are those that its text gives; those of all classifiers stand in Table 2. Scores of the classifiers are in the authors'
README, of UPerNet and SegFormer in Table 5 (single scale, whole image), and of the detectors in Tables 3 and 4.
"""


def find(name: str) -> CatalogEntry:
    """Look up a model of the catalog, or a system of it on any backbone that timm has, as in ``"upernet_resnet50"``."""
    if name in MODELS:
        return MODELS[name]
    system, backbone = split_system(name)
    import timm  # no name of the catalog needs it, and it takes seconds

    if timm.is_model(backbone):
        if system:
            return CatalogEntry(SYSTEMS[system], "timm", system=system, backbone=backbone)
        raise UserError(f"classifiers are GPViTs; {name} of timm may be a segmenter's backbone, upernet_{name}")
    raise UserError(f"unknown model {name!r}; {nearest(name, MODELS, most=3)}")


def find_weights(name: str, tag: str | None = None) -> tuple[str, Weights]:
    """Look the weights of a model up by their tag, None for the first published one, and return both."""
    weights = find(name).weights
    tag = tag or next((tag for tag, each in weights.items() if not each.shipped), None)
    if tag not in weights:
        known = f"there are {', '.join(f'{name}.{each}' for each in weights)}" if weights else "train it"
        what = f"has no weights {tag!r} and no such file" if tag else "has no published weights"
        raise UserError(f"{name} {what}; {known}, or give the path of a file")
    return tag, weights[tag]
