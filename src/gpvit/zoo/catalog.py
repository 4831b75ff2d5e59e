"""Every model by name, as data alone: its task and size, what weights are published, and how well they score."""

from dataclasses import dataclass, field
from typing import Any

from gpvit.errors import UserError, nearest

RELEASE = "https://github.com/ChenhongyiYang/GPViT/releases/download/v0.0.1"
"""Where the authors' weights are."""


@dataclass(frozen=True)
class Weights:
    """One published set of weights.

    Attributes:
        filename: The file's name in the authors' release.
        metrics: Published scores, in percent.
    """

    filename: str
    metrics: dict[str, float]


@dataclass(frozen=True)
class CatalogEntry:
    """What is known about a model besides its code.

    Attributes:
        task: What the model does: ``"classification"``, ``"segmentation"`` or ``"detection"``.
        origin: ``"paper"``, ``"ours"`` for sizes that are not the paper's, ``"timm"`` for a system on another backbone.
        weights: Published weights by tag; the first is the default.
        system: What stands on the backbone, a key of ``SYSTEMS``; empty for a classifier.
        backbone: Name of the backbone, as timm knows it.
        parameters: Number of parameters, as ``gpvit profile`` counts them (which takes seconds).
        macs: Multiply-accumulates of one image of `macs_size`, with attention's products, counted likewise.
        macs_size: Height and width of that image.
        published_params_m: The authors' figure for the parameters, in millions.
        published_gmacs: The paper's figure in billions of multiply-accumulates, for an image of `published_size`.
        published_size: What the figure is for.
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
    published_size: str = "224x224, without attention's products"

    @property
    def name(self) -> str:
        """The model's name."""
        return f"{self.system}_{self.backbone}" if self.system else self.backbone


@dataclass(frozen=True)
class _System:
    """What models of one kind have in common: their task, what their MACs are counted for, and the authors' files."""

    task: str
    macs_size: str
    files: dict[str, str]
    """How the names of the authors' files end, by tag."""
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
"""What stands before a backbone's name, and the task that it makes of it."""

# Parameters and multiply-accumulates as `gpvit profile` counts them; of the paper's models also its own count of
# parameters in millions, and for each tag the scores. Those of the classifiers are in the authors' README; of UPerNet
# and SegFormer in Table 5, single scale and whole image; of the detectors in Tables 3 and 4.
_ROWS: dict[str, tuple[Any, ...]] = {
    "gpvit_nano": (1_232_584, 860_414_016),
    "gpvit_tiny": (4_427_992, 2_853_886_080),
    "gpvit_l1": (9_589_848, 6_095_803_584, 9.3, (80.5, 95.4)),
    "gpvit_l2": (24_162_680, 15_650_141_664, 23.8, (83.4, 96.6)),
    "gpvit_l3": (36_654_056, 23_437_165_440, 36.2, (84.1, 96.9)),
    "gpvit_l4": (75_484_456, 48_149_471_616, 75.4, (84.3, 96.9)),
    "upernet_gpvit_nano": (3_151_460, 51_504_396_288),
    "upernet_gpvit_tiny": (8_758_988, 134_453_323_776),
    "upernet_gpvit_l1": (37_674_532, 588_300_684_288, 37, (49.1,)),
    "upernet_gpvit_l2": (53_426_784, 806_819_660_544, 53, (50.2,)),
    "upernet_gpvit_l3": (66_838_476, 983_752_470_528, 66, (51.7,)),
    "upernet_gpvit_l4": (107_493_260, 1_526_414_635_008, 107, (52.5,)),
    "segformer_gpvit_nano": (1_277_646, 5_295_419_392),
    "segformer_gpvit_tiny": (4_551_606, 16_569_716_736),
    "segformer_gpvit_l1": (9_851_278, 34_497_473_536, 9, (46.9,)),
    "segformer_gpvit_l2": (24_353_226, 84_785_632_000, 24, (49.2,)),
    "segformer_gpvit_l3": (36_969_270, 126_277_562_368, 36, (50.8,)),
    "segformer_gpvit_l4": (75_805_430, 255_740_293_120, 76, (51.3,)),
    "mask_rcnn_gpvit_nano": (3_911_404, 66_701_287_776),
    "mask_rcnn_gpvit_tiny": (11_652_552, 174_708_344_512),
    "mask_rcnn_gpvit_l1": (33_518_676, 472_854_675_744, 33, (48.1, 42.7), (50.2, 44.3)),
    "mask_rcnn_gpvit_l2": (50_308_778, 715_160_567_376, 50, (49.9, 43.9), (51.4, 45.1)),
    "mask_rcnn_gpvit_l3": (64_870_808, 915_361_045_056, 64, (50.4, 44.4), (51.6, 45.2)),
    "mask_rcnn_gpvit_l4": (109_585_720, 1_534_305_340_224, 109, (51.0, 45.0), (52.1, 45.7)),
    "retinanet_gpvit_nano": (3_388_304, 64_042_944_096),
    "retinanet_gpvit_tiny": (8_917_004, 147_260_068_032),
    "retinanet_gpvit_l1": (21_459_448, 333_228_758_304, 21, (45.8,), (48.1,)),
    "retinanet_gpvit_l2": (37_908_990, 568_066_617_936, 37, (48.0,), (49.0,)),
    "retinanet_gpvit_l3": (52_181_724, 762_353_495_616, 52, (48.3,), (49.4,)),
    "retinanet_gpvit_l4": (96_023_420, 1_364_389_502_784, 96, (48.7,), (49.8,)),
}
# The paper's text gives these alone; those of the classifiers stand in Table 2.
_PUBLISHED_GMACS: dict[str, dict[str, Any]] = {
    "gpvit_l1": {"published_gmacs": 5.8},
    "gpvit_l2": {"published_gmacs": 15.0},
    "segformer_gpvit_l1": {"published_gmacs": 34, "published_size": "512x512"},
}


def split_system(name: str) -> tuple[str, str]:
    """Divide the name of a model into system, empty for a backbone alone, and backbone.

    Example:
        >>> split_system("mask_rcnn_gpvit_l1"), split_system("gpvit_l1")
        (('mask_rcnn', 'gpvit_l1'), ('', 'gpvit_l1'))
    """
    system = next((system for system in SYSTEMS if name.startswith(f"{system}_")), "")
    return system, name.removeprefix(f"{system}_") if system else name


def _entry(name: str, parameters: int, macs: int, published: float | None = None, *scores: Any) -> CatalogEntry:
    title, backbone = split_system(name)
    system = _SYSTEMS[title]
    weights = {
        tag: Weights(f"{backbone}_{end}.pth", dict(zip(system.metrics, values, strict=True)))
        for (tag, end), values in zip(system.files.items(), scores, strict=False)
    }
    return CatalogEntry(
        task=system.task,
        origin="paper" if weights else "ours",
        weights=weights,
        system=title,
        backbone=backbone,
        parameters=parameters,
        macs=macs,
        macs_size=system.macs_size,
        published_params_m=published,
        **_PUBLISHED_GMACS.get(name, {}),
    )


MODELS: dict[str, CatalogEntry] = {name: _entry(name, *row) for name, row in _ROWS.items()}


def find(name: str) -> CatalogEntry:
    """Look a model up.

    Args:
        name: One of the catalog, or a system of it on any backbone that timm has, such as ``"upernet_resnet50"``.

    Raises:
        ValueError: If there is none of that name; the nearest names are proposed.
    """
    if name in MODELS:
        return MODELS[name]
    system, backbone = split_system(name)
    if system:
        import timm  # no other name needs it, and it takes seconds

        if timm.is_model(backbone):
            return CatalogEntry(SYSTEMS[system], "timm", system=system, backbone=backbone)
    raise UserError(f"unknown model {name!r}; {nearest(name, MODELS, most=3)}")


def find_weights(name: str, tag: str | None = None) -> tuple[str, Weights]:
    """Look the published weights of a model up by their tag, None for the first, and return both.

    Raises:
        ValueError: If the model has no weights of that tag; those that it has are listed.
    """
    weights = find(name).weights
    if not weights:
        raise UserError(f"no weights are published for {name}; give the path of a file, or train it")
    tag = tag or next(iter(weights))
    if tag not in weights:
        raise UserError(f"no weights {tag!r} and no such file; published for {name}: {', '.join(weights)}")
    return tag, weights[tag]
