"""The model card: what a model is for, how to use it, its licence, data and certified scores, as the hub shows it."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from huggingface_hub import EvalResult, ModelCardData
from torch import nn

from gpvit.errors import UserError
from gpvit.io import located, read_json
from gpvit.zoo.files import Checkpoint
from gpvit.zoo.huggingface import PLACEHOLDER

PICTURE, CERTIFICATE = "picture.png", "certificate.json"
_TASKS = {  # what models of a task do, and what the hub calls it
    "classification": ("it classifies images", "image-classification"),
    "segmentation": ("it labels each pixel of images", "image-segmentation"),
    "detection": ("it finds the objects in images", "object-detection"),
}
_OF_IMAGES = ("input_size", "mean", "std", "interpolation", "crop_pct", "max_size", "size_divisor")


@dataclass(frozen=True)
class Card:
    """What a model card says that the weights do not.

    Args:
        license: The weights' licence as the hub names it, such as ``"apache-2.0"`` or ``"cc-by-nc-4.0"``.
        dataset: What data the weights are trained on, best an id of the hub's, such as ``"ILSVRC/imagenet-1k"``.
        certificate: File of scores of these very weights, as ``gpvit evaluate --certificate`` writes it.
        picture: Image file that the card shows, such as one of ``gpvit predict --out``.
    """

    license: str | None = None
    dataset: str | None = None
    certificate: str | Path | None = None
    picture: str | Path | None = None

    def __post_init__(self) -> None:
        if self.license is not None and not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", self.license):
            raise UserError(f"license {self.license!r}: name it as the hub does, such as apache-2.0, mit or other")
        if self.dataset is not None and not (self.dataset.strip() and self.dataset.isprintable()):
            raise UserError(f"dataset {self.dataset!r}: give one line of text")

    def scores(self, digest: str) -> dict[str, Any]:
        """Read the certificate of weights of a SHA-256, empty without one; one of other weights is refused."""
        if self.certificate is None:
            return {}
        path = located(self.certificate)
        facts = read_json(path)
        if not _is_certificate(facts):
            raise UserError(f"{path} is no certificate; `gpvit evaluate MODEL --certificate FILE` writes one")
        if (measured := facts["weights"].get("sha256")) != digest:
            raise UserError(
                f"{path} is of other weights: their SHA-256 is {str(measured)[:12]}..., not {digest[:12]}...; evaluate "
                "the file of these"
            )
        if facts["verdict"] != "pass":
            raise UserError(f"{path} certifies no score: {facts.get('faults')}")
        return facts


def _is_certificate(facts: Any) -> bool:
    """Tell whether all that a card shows of a certificate is there, in one line each."""
    try:
        data, versions = facts["data"], facts["versions"]
        texts = [facts["verdict"], facts["weights"]["sha256"], facts["date"], data["path"]]
        texts += [versions["gpvit"], versions["torch"], *facts["scores"].keys()]
        return type(data["images"]) is int and all(isinstance(text, str) and text.isprintable() for text in texts)
    except (LookupError, TypeError, AttributeError):
        return False


def render_card(model: nn.Module, checkpoint: Checkpoint, card: Card, title: str, certificate: dict[str, Any]) -> str:
    """Write the card, in Markdown with what the hub reads before it; the model's id is left open."""
    purpose, hub_task = _TASKS[task := str(model.task)]
    scores = certificate.get("scores", {}).items()
    measured = {
        name: value for name, value in scores if isinstance(value, float) and 0 <= value <= 1 and name != "loss"
    }
    data = certificate.get("data", {}).get("path")
    results = [EvalResult(hub_task, str(data), str(data), name, value) for name, value in measured.items()]
    metadata = ModelCardData(
        license=card.license,
        library_name="timm" if task == "classification" else "gpvit",
        pipeline_tag=hub_task,
        tags=[hub_task, "gpvit", *(["timm", "transformers"] if task == "classification" else [])],
        datasets=[card.dataset] if card.dataset and re.fullmatch(r"[\w.-]+(/[\w.-]+)?", card.dataset) else None,
        model_name=title if results else None,
        eval_results=results or None,
    )
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gpvit.zoo", "."),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("model_card.md.j2").render(
        card_data=metadata.to_yaml().rstrip(),
        title=title,
        purpose=purpose,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        id=PLACEHOLDER,
        inputs={key: checkpoint.inputs[key] for key in _OF_IMAGES if checkpoint.inputs.get(key) is not None},
        model=model,
        checkpoint=checkpoint,
        card=card,
        certificate=certificate,
        scores=measured,
    )
