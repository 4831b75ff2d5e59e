"""What an exported file says of its model: one schema in every format, checked whenever it is written or read."""

import json
import string
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from types import MappingProxyType
from typing import Any

from gpvit.errors import UserError
from gpvit.runtime.facts import PREPROCESSING_KEYS, Fact, check_facts

SCHEMA = 1
"""Of the files that this version writes; it reads this one and earlier ones."""

PREPROCESSING: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "classification": ("input_size", "mean", "std", "interpolation", "crop_pct"),
        "segmentation": ("input_size", "mean", "std", "max_size", "size_divisor"),
        "detection": ("input_size", "mean", "std", "max_size", "size_divisor"),
    }
)
"""The keys of ``preprocessing`` that each task needs, beside ``antialias``; a segmenter's ``max_size`` may be None."""

_LONGEST = 4096  # side of a fixed size, and candidates of a detector


def _one_of(*choices: str) -> Fact:
    return Fact(choices[0], f"one of {', '.join(choices)}", choices.__contains__)


_FACTS: dict[str, Fact] = {
    "schema": Fact(SCHEMA, f"1 to {SCHEMA}", lambda value: 1 <= value <= SCHEMA),
    "name": Fact("gpvit_l1", "a name", bool),
    "task": _one_of(*PREPROCESSING),
    "num_classes": Fact(1000, "1 or more", lambda value: value >= 1),
    "in_chans": Fact(3, "1 to 1024", lambda value: 1 <= value <= 1024),
    "stride": Fact(8, "1 to 1024", lambda value: 1 <= value <= 1024),
    "min_side": Fact(32, f"1 to {_LONGEST}", lambda value: 1 <= value <= _LONGEST),
    "input": _one_of("float", "uint8"),
    "fixed_size": Fact(
        (224, 224),
        f"a height and a width of at most {_LONGEST}",
        lambda value: len(value) == 2 and min(value) >= 1 and max(value) <= _LONGEST,
    ),
    "outputs": Fact(("logits",), "names, each once", lambda value: value and len({*value}) == len(value)),
    "preprocessing": Fact({}),
    "label_names": PREPROCESSING_KEYS["label_names"],
    "label_colors": PREPROCESSING_KEYS["label_colors"],
    "category_ids": PREPROCESSING_KEYS["category_ids"],
    "thresholds": Fact({}),
    "precision": _one_of("fp32", "fp16", "bf16", "int8"),
    "opset": Fact(20, "1 or more", lambda value: value >= 1),
    "versions": Fact({}, "texts", lambda value: all(isinstance(each, str) for each in value.values())),
    "weights_sha256": Fact(
        "0" * 64, "64 hexadecimal digits", lambda value: len(value) == 64 and set(value) <= set(string.hexdigits)
    ),
    "parity": Fact(({},)),
}
_OPTIONAL = ("stride", "fixed_size", "label_colors", "category_ids", "opset")

_PREPROCESSING = {key: PREPROCESSING_KEYS[key] for keys in PREPROCESSING.values() for key in keys}
_PREPROCESSING["interpolation"] = _one_of("bicubic", "nearest", "bilinear", "lanczos")
_PREPROCESSING["antialias"] = Fact(True)

_THRESHOLDS: dict[str, Fact] = {
    "score": Fact(0.05, "0 to 1", lambda value: 0 <= value <= 1),
    "nms": Fact(0.5, "0 to 1", lambda value: 0 <= value <= 1),
    "detections": Fact(100, f"1 to {_LONGEST}", lambda value: 1 <= value <= _LONGEST),
}


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """All that an exported file says of its model; checked when it is made, a UserError refusing what cannot be.

    Args:
        name: The model's name in the catalog or in timm, such as ``"upernet_gpvit_l1"``.
        task: ``"classification"``, ``"segmentation"`` or ``"detection"``.
        num_classes: Number of classes, a detector's without background.
        in_chans: Channels of the images.
        stride: Pixels of the image per cell of a segmenter's logits; None of others.
        min_side: Least height and width, in pixels, that the graph takes.
        input: ``"float"``, normalised images of the network's size ``(B, C, H, W)``, or ``"uint8"``, bytes
            ``(B, H, W, C)``.
        fixed_size: Height and width, in pixels, where the graph takes one size alone.
        outputs: Names of the graph's outputs, in their order.
        preprocessing: How an image becomes the network's input: what ``PREPROCESSING`` names for the task, and whether
            images are resized with ``antialias``: a classifier's are.
        label_names: Names of the classes, in the order of their indices.
        label_colors: Red, green and blue of each class, 0 to 255; None where the file's reader may choose.
        category_ids: Ids of a detector's classes in annotation files; None of other models.
        thresholds: Of a detector ``score``, ``nms`` and ``detections``, the number of boxes; else empty.
        precision: What the graph computes in: ``"fp32"``, ``"fp16"``, ``"bf16"`` or ``"int8"``.
        opset: Version of the ONNX operators; None in other formats.
        versions: Versions of the libraries that wrote the file, by name.
        weights_sha256: Digest of the exported weights.
        parity: Rows of the table that compares the graph with its model.
        schema: Version of these fields.
    """

    name: str
    task: str
    num_classes: int
    in_chans: int
    stride: int | None
    min_side: int
    input: str
    fixed_size: list[int] | None
    outputs: list[str]
    preprocessing: dict[str, Any]
    label_names: list[str]
    label_colors: list[list[int]] | None
    category_ids: list[int] | None
    thresholds: dict[str, float]
    precision: str
    opset: int | None
    versions: dict[str, str]
    weights_sha256: str
    parity: list[dict[str, Any]]
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        _check("metadata", {field.name: getattr(self, field.name) for field in fields(self)}, _FACTS, _OPTIONAL)
        keys = (*PREPROCESSING[self.task], "antialias")
        optional = ("max_size",) if self.task == "segmentation" else ()
        _check("preprocessing", self.preprocessing, {key: _PREPROCESSING[key] for key in keys}, optional)
        _check("thresholds", self.thresholds, _THRESHOLDS if self.task == "detection" else {})
        self._check_agreement()

    def _check_agreement(self) -> None:
        """Refuse facts that do not go together."""
        for key in ("label_names", "label_colors", "category_ids"):
            if len(given := getattr(self, key) or range(self.num_classes)) != self.num_classes:
                raise UserError(f"sets {key} in its metadata for {len(given)} classes; it has {self.num_classes}")
        how, channels = self.preprocessing, self.in_chans
        if channels in (1, 3) and not len(how["mean"]) == len(how["std"]) == how["input_size"][0] == channels:
            raise UserError(f"sets input_size, mean and std in its preprocessing for other than {channels} channels")
        if how["antialias"] != (self.task == "classification"):
            raise UserError(f"sets antialias to {how['antialias']}; images of {self.task} are never resized so")
        needed = needed_outputs(self.task, self.input)
        if missing := [name for name in needed if name not in self.outputs]:
            raise UserError(f"lacks {', '.join(missing)} in its outputs, which a graph for {self.task} has")
        if self.task == "segmentation" and self.stride is None:
            raise UserError("lacks the stride of its logits in its metadata")
        if self.fixed_size is not None and min(self.fixed_size) < self.min_side:
            raise UserError(f"sets fixed_size to {self.fixed_size}, below its min_side of {self.min_side}")

    def to_json(self) -> str:
        """Write the fields as JSON in ASCII."""
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes, source: str) -> "Metadata":
        """Read what :meth:`to_json` wrote.

        Args:
            text: The JSON.
            source: What messages call the file.

        Raises:
            UserError: A newer gpvit wrote the file, or a key is missing, unknown, or has a value that is not accepted.
        """
        try:
            given = json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{source} is damaged: its metadata are no JSON ({error})") from None
        try:
            schema = given.get("schema") if isinstance(given, dict) else None
            if type(schema) is int and schema > SCHEMA:
                raise UserError(
                    f"has metadata of schema {schema}, and this gpvit reads up to {SCHEMA}; "
                    "upgrade gpvit, or export the model with this version"
                )
            _check("metadata", given, _FACTS, _OPTIONAL)
            return cls(**given)
        except UserError as error:
            raise UserError(f"{source} {error}") from None


def needed_outputs(task: str, input_kind: str) -> tuple[str, ...]:
    """Name the outputs that a graph of a task, for floats or uint8, always has."""
    if task == "detection":
        return ("boxes", "labels", "scores")
    if input_kind == "float":
        return ("logits",)
    return ("probabilities",) if task == "classification" else ("labels",)


def _check(where: str, given: Any, facts: Mapping[str, Fact], optional: tuple[str, ...] = ()) -> None:
    """Refuse what is no mapping of just these facts, of which only the optional ones may be None."""
    check_facts(where, given, facts)
    if missing := [key for key in facts if key not in given]:
        raise UserError(f"lacks {', '.join(missing)} in its {where}; export the model again")
    if empty := [key for key, value in given.items() if value is None and key not in optional]:
        raise UserError(f"sets {', '.join(empty)} in its {where} to null, where a value is needed")


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is no number")
