"""The door to all models: created by name, with weights of a tag or a file, or rebuilt from a file alone."""

import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from gpvit.errors import UserError
from gpvit.io import located, read_json
from gpvit.models.backbone import backbone_of
from gpvit.runtime.facts import PREPROCESSING_KEYS, check_facts
from gpvit.zoo.build import build, check_stored_arguments
from gpvit.zoo.catalog import MODELS, CatalogEntry, find
from gpvit.zoo.exported import open_exported
from gpvit.zoo.files import EXPORTED, Checkpoint, load_weights, read_checkpoint, weights_file
from gpvit.zoo.hub import published_weights
from gpvit.zoo.huggingface import CONFIG, WEIGHTS

_OPTIONAL = ("feature_norms.", "norm.")  # what only some uses of a backbone have
_CLASSIFIER = ("head.", "pool.")
_OF_CLASSES = ("label_names", "label_colors", "category_ids")


def create_model(
    name: str,
    weights: str | Path | None = None,
    *,
    backbone_weights: str | Path | None = None,
    new_head: bool = False,
    **kwargs: Any,
) -> nn.Module:
    """Create a model, with weights if any are named.

    Args:
        name: A name of the catalog, such as ``"gpvit_l1"`` or, with a tag, ``"gpvit_l1.in1k"``; or a system on any timm
            backbone, such as ``"upernet_resnet50"``.
        weights: Tag of published weights, a name with its tag, or the path of an official ``.pth``, of a file that
            :func:`gpvit.save` wrote, of a run folder, or of one of timm's (``save_for_hf``, its training's). None
            starts from random values.
        backbone_weights: For a model on a backbone: tag or path of weights of the backbone alone, such as ``"in1k"``,
            or of any model on it, such as ``"segformer_gpvit_nano.digit_scenes"``. What was loaded and what was not is
            printed.
        new_head: Keep the model's own new classifier where the file's does not fit. What is left out is printed.
        **kwargs: Arguments of the model, such as ``num_classes`` or ``in_chans``; of a classifier also ``img_size`` and
            timm's ``features_only`` and ``out_indices``. Weights are converted to the channels and the image size.

    Raises:
        ValueError: If a name, tag or argument is unknown, or the weights do not fit.
        FileNotFoundError: If a path leads nowhere.

    Example:
        >>> create_model("gpvit_nano", num_classes=10, in_chans=1).num_classes
        10
    """
    name, dot, tag = name.partition(".")
    if dot and not tag:
        raise UserError(f"{name}. ends with a dot: name a tag of published weights after it, or leave it out")
    if tag and weights is not None:
        raise UserError(f"both {name}.{tag} and weights={str(weights)!r} name weights; choose one")
    weights = tag or weights
    entry = find(name)
    if backbone_weights is not None:
        if weights is not None:
            raise UserError(f"weights={str(weights)!r} hold a backbone already; leave out one of the two")
        return _with_backbone_weights(entry, str(backbone_weights), kwargs)
    if weights is None:
        return build(entry, **kwargs)
    path = published_weights(name, tag) if tag else _weights_file(name, weights)
    checkpoint = _check_config(path, read_checkpoint(path))
    if checkpoint.name and checkpoint.name != name:
        raise UserError(f"{path} holds weights of {checkpoint.name}, not of {name}")
    if entry.task == "detection" and not checkpoint.name:  # of mmdet: here the network itself normalises images
        kwargs = {
            f"image_{key}": checkpoint.inputs[key] for key in ("mean", "std") if key in checkpoint.inputs
        } | kwargs
    return _from_checkpoint(entry, checkpoint, path, kwargs, new_head)


def load(path: str | Path) -> nn.Module:
    """Rebuild a model from a file that :func:`gpvit.save` wrote; nothing else is needed.

    The model comes in evaluation mode, and its ``pretrained_cfg`` tells how images are prepared. What the file says is
    data: it chooses among the arguments of the model's own class, and names nothing that is fetched, opened or run.

    Args:
        path: The file; the folder of a run, whose best weights are taken; a hub's folder; or the id of a model of the
            Hugging Face hub, ``"hf-hub:USER/NAME"`` or ``"hf-hub:USER/NAME@REVISION"``, which is fetched.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file does not say what model it holds, is not as it should be, or does not fit it.
    """
    path = weights_file(path)
    checkpoint = _check_config(path, read_checkpoint(path))
    if not checkpoint.name:
        raise UserError(
            f"{path} does not say which model it holds; use gpvit.create_model(NAME, weights={str(path)!r}), "
            "or `gpvit convert` for an official file"
        )
    try:
        entry = find(checkpoint.name)
    except UserError as error:
        raise UserError(
            f"{path} is of an {error}; where its decoder is your own, first import the module that registers it "
            "(gpvit.register_decoder)"
        ) from error
    return _from_checkpoint(entry, checkpoint, path, {}, new_head=False).eval()


def open_model(source: str | Path, weights: str | Path | None = None) -> nn.Module:
    """Create or load a model by whatever names it, in evaluation mode.

    That is a name of the catalog, with a tag of published weights (``"gpvit_l1.in1k"``) or without, and then maybe with
    `weights` as :func:`gpvit.create_model` takes them; the path of an exported file (see
    :class:`gpvit.zoo.exported.ExportedModel`); or what :func:`gpvit.load` takes.
    """
    path = _file_of(source)
    if path is None:
        return create_model(str(source), weights).eval()
    if weights is not None:
        raise UserError(f"{source} brings its own weights; leave out {str(weights)!r}, or name a model of the catalog")
    return open_exported(path) if path.suffix in EXPORTED else load(path)


def is_untrained(source: str | Path, weights: str | Path | None = None) -> bool:
    """Tell whether :func:`open_model` would start this model from random values."""
    return weights is None and "." not in str(source) and _file_of(source) is None


def untrained_remark(name: str | Path) -> str:
    """Say what comes of a model that starts from random values, and which weights there are for it."""
    weights = [f"{name}.{tag}" for tag in MODELS[str(name)].weights] if str(name) in MODELS else []
    there = f"; there is {', '.join(weights)}" if weights else ""
    return f"{name} has no weights, so its predictions are arbitrary{there}"


def _check_config(path: Path, checkpoint: Checkpoint) -> Checkpoint:
    """Hold weights in a hub's folder against its configuration, which describes those that timm or others wrote.

    Raises:
        ValueError: If the configuration is of another model, or none that says what model it is of.
    """
    file = path.with_name(CONFIG)
    if path.name != WEIGHTS or not file.is_file():
        return checkpoint
    config = read_json(file)
    if not isinstance(config, dict) or not isinstance(config.get("architecture"), str):
        raise UserError(f"{file} names no architecture, as `gpvit hub save` and timm do")
    name, classes = config["architecture"].partition(".")[0], config.get("num_classes")
    if checkpoint.name:
        own = checkpoint.kwargs.get("num_classes", classes)
        if (name, classes) != (checkpoint.name, own):
            raise UserError(
                f"{file} is of {name} with {classes} classes, and {WEIGHTS} of {checkpoint.name} with {own}; take both "
                "from one folder"
            )
        return checkpoint
    arguments, cfg = config.get("model_args") or {}, config.get("pretrained_cfg") or {}
    if not isinstance(arguments, dict) or not isinstance(cfg, dict):
        raise UserError(f"{file} is not as timm writes it: model_args and pretrained_cfg must be mappings")
    if cfg.get("crop_mode") not in (None, "center"):
        raise UserError(f"{file} crops images by {cfg['crop_mode']!r}; gpvit knows center alone, so use timm itself")
    inputs = {key: value for key, value in {**config, **cfg}.items() if key in PREPROCESSING_KEYS}
    try:
        check_facts("inputs", inputs, PREPROCESSING_KEYS)
    except UserError as error:
        raise UserError(f"{file} {error}") from error
    return replace(checkpoint, name=name, kwargs={**arguments, "num_classes": classes}, inputs=inputs)


def _file_of(source: str | Path) -> Path | None:
    """Return the file that a source stands for, or None if it is a name of the catalog."""
    path = located(source)
    is_path = (
        isinstance(source, Path) or path.suffix in (".safetensors", ".pth", ".ckpt", *EXPORTED) or len(path.parts) > 1
    )
    is_run = path.is_dir() and str(source).partition(".")[0] not in MODELS
    return weights_file(path) if is_path or is_run or path.is_file() else None


def _weights_file(name: str, weights: str | Path) -> Path:
    """Return a file of weights: the path itself, or what a tag of the model, or a name with its tag, stands for."""
    path = weights_file(weights)
    if path.is_file():  # a folder may have the name of a tag
        return path
    named, _, tag = str(weights).partition(".")
    if named in MODELS and tag in MODELS[named].weights:
        return published_weights(named, tag)
    return published_weights(name, str(weights)) if str(weights).isidentifier() else path


def _from_checkpoint(
    entry: CatalogEntry, checkpoint: Checkpoint, path: Path, kwargs: dict[str, Any], new_head: bool
) -> nn.Module:
    """Build the model that a file describes, but for what the caller asks otherwise, and load the file's weights.

    One of our own models is first built without values: what does not fit is refused before memory is taken, and no
    random values are drawn to be overwritten.
    """
    try:
        check_stored_arguments(entry, checkpoint.kwargs)
    except UserError as error:
        raise UserError(f"{path} {error}") from error
    stored = checkpoint.kwargs.get("num_classes")
    for key in _OF_CLASSES:
        if stored and len(given := checkpoint.inputs.get(key) or range(stored)) != stored:
            raise UserError(f"{path} sets {key} in its inputs for {len(given)} classes; it has {stored}")
    arguments = {**checkpoint.kwargs, **kwargs}
    features_only = bool(arguments.get("features_only"))
    model = _build(entry, arguments, path, on_meta=entry.name in MODELS and not features_only and not new_head)
    if features_only:
        _load_backbone(model, checkpoint.state_dict, str(path), left_out=("blocks.",))
        return _described(model, checkpoint)
    load_weights(model, checkpoint.state_dict, source=str(path), new_head=new_head)
    if any(buffer.is_meta for buffer in model.buffers()):  # some hold constants, which no file does
        model = _build(entry, arguments, path, on_meta=False)
        load_weights(model, checkpoint.state_dict, source=str(path))
    return _described(model, checkpoint)


def _described(model: nn.Module, checkpoint: Checkpoint) -> nn.Module:
    """Tell a model what its file says of images and, where it has as many, of classes."""
    known = [key for key, value in checkpoint.inputs.items() if key not in _OF_CLASSES or _counts(model, value)]
    own: dict[str, Any] = model.pretrained_cfg  # type: ignore[assignment]
    model.pretrained_cfg = {**own, **{key: checkpoint.inputs[key] for key in known}}  # type: ignore[assignment]
    return model


def _counts(model: Any, value: Any) -> bool:
    return value is not None and len(value) == getattr(model, "num_classes", None)


def _build(entry: CatalogEntry, arguments: dict[str, Any], path: Path, on_meta: bool) -> nn.Module:
    try:
        with torch.device("meta") if on_meta else nullcontext():
            return build(entry, **arguments)
    except Exception as error:  # whatever values that do not go together lead to
        raise UserError(f"no {entry.name} of {path} can be built with {arguments!r:.200}: {error}") from error


def _with_backbone_weights(entry: CatalogEntry, weights: str, kwargs: dict[str, Any]) -> nn.Module:
    if not entry.system:
        raise UserError(f"{entry.name} is a backbone itself: give its weights as weights={weights!r}")
    if entry.backbone in MODELS:
        path = _weights_file(entry.backbone, weights)
        model = build(entry, **kwargs)
        print(_load_backbone(model, read_checkpoint(path).state_dict, str(path)), file=sys.stderr)
        return model
    if not timm.is_model_pretrained(f"{entry.backbone}.{weights}"):
        tags = ", ".join(each.partition(".")[2] for each in timm.list_pretrained(f"{entry.backbone}.*")) or "none"
        raise UserError(
            f"backbone_weights={weights!r} is no tag of timm's weights of {entry.backbone}, which are {tags}"
        )
    own = {"pretrained": True, "pretrained_cfg": weights}  # timm fetches and fits them
    return build(entry, **{**kwargs, "backbone_kwargs": {**(kwargs.get("backbone_kwargs") or {}), **own}})


def _load_backbone(
    model: nn.Module, state_dict: dict[str, torch.Tensor], source: str, left_out: tuple[str, ...] = ()
) -> str:
    """Load the GPViT inside a model from a model like it, and report what was loaded, stays new and was left out.

    Only norms of features may be missing; only they, the classifier and what is named may be left out.
    """
    backbone = backbone_of(model)
    assert backbone is not None
    embedding = next((n for n in state_dict if n.endswith("pos_embed")), "pos_embed")
    prefix = embedding.removesuffix("pos_embed")
    given = {n.removeprefix(prefix): t for n, t in state_dict.items() if n.startswith(prefix)}
    own = backbone.state_dict()
    new = {n: t for n, t in own.items() if n not in given and n.startswith(_OPTIONAL)}
    unused = [n for n in given if n not in own and n.startswith((*_OPTIONAL, *_CLASSIFIER, *left_out))]
    loaded = {n: t for n, t in given.items() if n not in unused}
    load_weights(backbone, {**loaded, **new}, source=source)
    report = f"{source}: {len(loaded)} tensors loaded into the backbone"
    for what, names in (("new", new), ("left out", unused)):
        if names:
            report += f"; {what}: {', '.join(sorted({n.rpartition('.')[0] for n in names}))}"
    return report
