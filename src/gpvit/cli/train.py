"""The verb `gpvit train`."""

from lightning.pytorch.utilities import rank_zero_only

from gpvit.train.recipes import train_recipe


def train(arguments: list[str]) -> None:
    """Train from a recipe.

    Args:
        arguments: A recipe's path, then settings that override it.
    """
    folder, summary = train_recipe(arguments)
    best = "  ".join(
        f"{name} {value if isinstance(value, int) else f'{value:.4g}'}" for name, value in summary["best"].items()
    )
    rank_zero_only(print)(f"{summary['seconds']:.0f} s; best weights: {best}\n{folder}")
