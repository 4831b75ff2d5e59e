"""The verb `gpvit sanity`."""

from gpvit.cli import CommandError

HELP = """usage: gpvit sanity RECIPE [RECIPE ...] [--steps N] [--out FOLDER] [--KEY VALUE ...]

Tries a recipe out in minutes, before it runs for days: checks shapes and labels, overfits one batch, estimates time and
memory, and writes the sheet data.png into the run folder. The exit code is 1 if something should be looked at first.

  --steps N      steps within which one batch must be overfitted (default 200)

Everything else is as gpvit train takes it: gpvit train --help."""


def sanity(arguments: list[str]) -> None:
    """Check a recipe's shapes and labels, overfit one batch, estimate time and memory.

    Args:
        arguments: A recipe's path, then settings that override it, as `gpvit train` takes them, and `--steps`.
    """
    if {"-h", "--help"} & {*arguments}:
        print(HELP)
        return
    from gpvit.train.sanity import try_recipe

    report = try_recipe(arguments)
    width = max(len(name) for name, _ in report.facts)
    for name, text in report.facts:
        print(f"{name:<{width}}  {text}")
    if report.problems:
        raise CommandError("\n".join(["look at this before you train:", *(f"  {each}" for each in report.problems)]))
    print("no problem found")
