"""The verb `gpvit hub`: `save` a model as a folder that the hubs know, and `push` it."""

from collections.abc import Callable
from pathlib import Path

from gpvit.cli import parse
from gpvit.errors import UserError, nearest


def hub(arguments: list[str]) -> None:
    """Run one of the two."""
    actions: dict[str, Callable[..., None]] = {"save": hub_save, "push": hub_push}
    action, *rest = arguments or ["--help"]
    if action in ("-h", "--help"):
        print(
            "usage: gpvit hub save MODEL FOLDER ...\n       gpvit hub push FOLDER USER/NAME ...   (--help for options)"
        )
    elif action not in actions:
        raise UserError(f"no action {action!r}; {nearest(action, actions)}")
    else:
        actions[action](**parse(actions[action], rest))


def hub_save(
    model: str,
    folder: str,
    license: str | None = None,
    dataset: str | None = None,
    certificate: str | None = None,
    picture: str | None = None,
) -> None:
    """Write a model as a folder that gpvit, timm and transformers read, with a model card.

    Args:
        model: A .safetensors file, the folder of a run, or published weights such as gpvit_l1.in1k.
        folder: Where to write; of what is there, only files of an earlier call, as they were, are written over.
        license: The weights' licence as the hub names it, such as apache-2.0 or cc-by-nc-4.0.
        dataset: What data the weights are trained on, best an id of the hub's, such as ILSVRC/imagenet-1k.
        certificate: Scores of these weights, as `gpvit evaluate MODEL --certificate FILE` writes them; weights that
            come with the package have one.
        picture: An image for the card, such as one that `gpvit predict --out` wrote.
    """
    from gpvit.io import located
    from gpvit.tasks.certificates import weights_file
    from gpvit.zoo.catalog import SHIPPED
    from gpvit.zoo.factory import is_untrained, open_model
    from gpvit.zoo.hub_folder import save_folder
    from gpvit.zoo.model_card import Card

    if is_untrained(model):
        raise UserError(f"{model!r} names no trained weights; give a .safetensors file, or a tag: gpvit_l1.in1k")
    weights = weights_file(model)
    if certificate is None and weights.parent == SHIPPED:
        certificate = str(weights.with_suffix(".json"))
    card = Card(license, dataset, certificate, picture)
    path = located(folder)
    save_folder(open_model(model), path, card, weights=weights)
    print(*(path / name for name in sorted(each.name for each in path.iterdir())), sep="\n")


def hub_push(folder: str, id: str, private: bool = False, revision: str | None = None) -> None:
    """Put such a folder on the Hugging Face hub, in one commit.

    The token is that of `hf auth login`, or HF_TOKEN; HF_ENDPOINT names another server.

    Args:
        folder: What `gpvit hub save` wrote; other files in it go along, hidden ones do not.
        id: USER/NAME, which is created where it is missing.
        private: Show a new model to nobody else.
        revision: Branch to commit to, created where it is missing (default main).
    """
    from gpvit.io import located
    from gpvit.zoo.factory import load
    from gpvit.zoo.huggingface import push_folder

    path = located(folder)
    if not (Path(path) / "config.json").is_file():
        raise UserError(f"{folder} has no config.json; `gpvit hub save MODEL FOLDER` writes what can be pushed")
    load(path)  # what cannot be loaded here is of no use there
    print(push_folder(path, id if revision is None else f"{id}@{revision}", private))
