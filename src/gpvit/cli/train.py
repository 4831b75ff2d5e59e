"""The verb `gpvit train`."""

from pathlib import Path

_SHOWN = ("epoch", "step", "val/top1", "val/miou", "val/box_ap", "val/mask_ap")


def train(arguments: list[str]) -> None:
    """Train from a recipe.

    Args:
        arguments: Recipes, then settings that override them; with `--help` or `--help-all`, settings are explained.
    """
    asks = {"-h", "--help", "--help-all"} & {*arguments}
    rest = [argument for argument in arguments if argument not in asks]
    if asks and not rest and "--help-all" not in asks:
        print(Path(__file__).with_suffix(".txt").read_text(encoding="utf-8"), end="")
        return
    from lightning.fabric.utilities import rank_zero_only

    from gpvit.train import recipes

    if asks:
        print(recipes.explain_all() if "--help-all" in asks else recipes.read_recipe(rest).help)
        return
    folder, summary = recipes.train_recipe(rest)
    best = "  ".join(f"{name} {summary['best'][name]:.4g}" for name in _SHOWN if name in summary["best"])
    rank_zero_only(print)(f"{summary['seconds']:.0f} s; best weights: {best}\n{folder}")
