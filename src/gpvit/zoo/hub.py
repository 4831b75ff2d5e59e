"""The authors' released weights: fetched once, held to their digest, and kept as self-describing files.

Any number of processes may ask for the same weights at once: each works in a folder of its own, what is finished takes
its place in one step, and all of them make the same file.
"""

import http.client
import os
import re
import shutil
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gpvit.errors import UserError
from gpvit.io import cache_folder, located, sha256, write_text
from gpvit.models.backbone import STRIDE
from gpvit.models.variants import VARIANTS
from gpvit.zoo.build import build
from gpvit.zoo.catalog import RELEASE, find, find_weights
from gpvit.zoo.files import load_weights, read_checkpoint, write_checkpoint

ADDRESS_VARIABLE = "GPVIT_WEIGHTS_URL"
TIMEOUT_S = 30

_STEM = re.compile(r"(.*\.)?stem\.extra\.\d+\.conv\.weight")
_PARTS = {
    "upernet_": "decoder.bottleneck.conv.weight",
    "segformer_": "decoder.project.0.conv.weight",
    "mask_rcnn_": "roi_heads.box_predictor.cls_score.weight",
    "retinanet_": "head.regression_head.bbox_reg.weight",
}  # what no other system has


def published_weights(name: str, tag: str | None = None) -> Path:
    """Return the converted published weights of a model, None for the first tag, fetched if they are not in the cache.

    The official ``.pth`` may also be put into the cache folder by hand; then nothing is fetched. The address can be
    that of a mirror, ``$GPVIT_WEIGHTS_URL``. The digest of the first file is kept beside the weights, and another file
    of that name is refused from then on.
    """
    tag, weights = find_weights(name, tag)
    folder = cache_folder()
    converted = folder / f"{name}.{tag}.safetensors"
    if converted.is_file():
        return converted
    folder.mkdir(parents=True, exist_ok=True)
    by_hand, record = folder / weights.filename, folder / f"{weights.filename}.sha256"
    address = f"{os.environ.get(ADDRESS_VARIABLE, RELEASE).rstrip('/')}/{weights.filename}"
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetching-") as temporary:
        original = by_hand if by_hand.is_file() else _fetch(address, Path(temporary) / weights.filename, by_hand)
        line = f"{sha256(original)}  {weights.filename}\n"  # as sha256sum writes and checks it
        if record.is_file() and record.read_text(encoding="utf-8") != line:
            raise UserError(
                f"{by_hand if original == by_hand else address} is not the file that was used first: its SHA-256 is "
                f"{line[:12]}..., not that in {record}. Take it from elsewhere ({ADDRESS_VARIABLE}), or delete that "
                "record if the authors have replaced their file"
            )
        convert_file(original, converted, name)
        write_text(record, line)
    return converted


def _fetch(address: str, path: Path, by_hand: Path) -> Path:
    """Download to ``path`` with a progress bar; a transfer cut short is an error."""
    from rich.console import Console  # needed for a download alone
    from rich.progress import wrap_file

    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT_S) as response, path.open("wb") as file:
            expected = int(response.headers.get("Content-Length", 0))
            console = Console(stderr=True)
            with wrap_file(response, expected, description=path.name, console=console, transient=True) as reader:
                shutil.copyfileobj(reader, file)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        raise ConnectionError(
            f"could not fetch {address}: {error}. On a machine without network, put the file at {by_hand}, "
            f"or set {ADDRESS_VARIABLE} to a mirror"
        ) from error
    if expected and path.stat().st_size != expected:
        raise UserError(f"{address} broke off after {path.stat().st_size} of {expected} bytes; try again")
    return path


def convert_file(official: str | Path, out: str | Path, name: str | None = None) -> tuple[str, nn.Module]:
    """Convert a ``.pth`` of the authors' code and write it with all that is needed to use it; no weight is made up.

    It may be released or trained by anybody, for any classes, whose names and colours come along where it tells them,
    as does how images are normalised. Without a name the shapes of the weights tell the model. Its name and the model,
    in evaluation mode, are returned.
    """
    checkpoint = read_checkpoint(official)
    if checkpoint.name:
        raise UserError(f"{official} is no official file but one of ours already, of {checkpoint.name}")
    weights = checkpoint.state_dict
    if not any(each.endswith("pos_embed") for each in weights):
        raise UserError(f"{official} is no official GPViT checkpoint; a training run's weights are in best.safetensors")
    entry = find(name or identify(weights, source=str(official)))
    arguments = _arguments(weights, entry.task, source=str(official))
    stems = [tensor for each, tensor in weights.items() if each.endswith("stem.first.conv.weight") and tensor.ndim == 4]
    channels = (stems[0].shape[1] if stems else 0) or 3  # without a sound one, what is wrong is told below
    lengths = {"mean": channels, "std": channels}
    inputs = {k: v for k, v in checkpoint.inputs.items() if _fits(k, v, lengths.get(k, arguments["num_classes"]))}
    if entry.task == "detection":  # which normalises images itself
        arguments |= {f"image_{key}": inputs[key] for key in lengths if key in inputs}
    with torch.device("meta"):
        model = build(entry, in_chans=channels, **arguments)
    load_weights(model, weights, source=str(official))
    write_checkpoint(model, located(out), inputs=inputs, source=f"{Path(official).name} sha256:{sha256(official)}")
    return entry.name, model.eval()


def _fits(key: str, value: Any, length: int) -> bool:
    """Tell whether a list has an element for each class or channel; of one that is left out it says so."""
    if len(value) != length:
        print(f"left out: {key} of {len(value)} in the file's meta, for {length}", file=sys.stderr)
    return len(value) == length


def identify(state_dict: dict[str, torch.Tensor], source: str) -> str:
    """Find the model of the catalog that weights belong to: its backbone by width and stem, and what stands on it."""
    traits = (
        _find(state_dict, "pos_embed", source).shape[-1],
        sum(_STEM.fullmatch(name) is not None for name in state_dict),
    )
    known = {name: (variant["embed_dim"], variant.get("stem_convs", 0)) for name, variant in VARIANTS.items()}
    system = next((system for system, part in _PARTS.items() if part in state_dict), "")
    for name in known:
        if known[name] == traits:
            return system + name
    words = "{} channels and {} extra convolutions in the stem"
    table = "\n".join(f"  {name}: {words.format(*known[name])}" for name in known)
    raise UserError(f"{source} has {words.format(*traits)}, which no model of the catalog has:\n{table}")


def _arguments(weights: dict[str, torch.Tensor], task: str, source: str) -> dict[str, Any]:
    """Read off weights the arguments of their model: token grid, so that nothing is interpolated, and classes."""

    def rows(name: str) -> int:
        return len(_find(weights, name, source))

    grid = _find(weights, "pos_embed", source).shape[1:3]
    size = {"img_size": (grid[0] * STRIDE, grid[1] * STRIDE)}
    if task == "segmentation":
        return {"num_classes": rows("decoder.classifier.weight"), "backbone_kwargs": size}
    if (logits := "roi_heads.box_predictor.cls_score.bias") in weights:
        return {"num_classes": rows(logits) - 1, "backbone_kwargs": size}  # the first is the background
    if task == "detection":
        anchors = max(rows("head.regression_head.bbox_reg.bias") // 4, 1)
        classes = rows("head.classification_head.cls_logits.bias") // anchors
        return {"num_classes": classes, "backbone_kwargs": size}
    return {"num_classes": rows("head.weight") if "head.weight" in weights else 0, **size}


def _find(weights: dict[str, torch.Tensor], name: str, source: str) -> torch.Tensor:
    """Return an entry of the backbone, wherever the model holds it."""
    for n, tensor in weights.items():
        if (n == name or n.endswith(f".{name}")) and tensor.ndim:
            return tensor
    raise UserError(f"{source} holds no {name}; is it a checkpoint of another model?")
