"""The verb `gpvit sanity`."""

from gpvit.cli import CommandError
from gpvit.train.sanity import try_recipe


def sanity(arguments: list[str]) -> None:
    """Try a recipe out before it runs for long.

    Args:
        arguments: A recipe's path, then settings that override it, as `gpvit train` takes them, and `--steps`.
    """
    report = try_recipe(arguments)
    width = max(len(name) for name, _ in report.facts)
    for name, text in report.facts:
        print(f"{name:<{width}}  {text}")
    if report.suspicions:
        raise CommandError("\n".join(["suspicious:", *(f"  {doubt}" for doubt in report.suspicions)]))
    print("nothing suspicious")
