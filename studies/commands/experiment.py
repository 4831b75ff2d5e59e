"""The verb `gpvit experiment`."""

from typing import Literal

from rich.console import Console

from studies.experiments import EXPERIMENTS


def experiment(
    name: Literal["exchange", "keys"],
    recipes: list[str],
    out: str = "results",
    seeds: int = 3,
    jobs: int = 1,
    quick: bool = False,
) -> None:
    """Train backbones that differ in how they exchange information, and set them side by side.

    `exchange`: all label the ink of digits on photographs, as the paper's Tables 7 and 9 do on ADE20K. `keys`: only
    digits that equal the one in a framed corner are to be labelled, which nobody can do who does not look there. These
    are 21 and 24 trainings of some 4 minutes on one core: with two cores and --jobs 2, about an hour each.

    Args:
        name: Which experiment.
        recipes: Laid over the experiment's own, as recipes/experiments/longer.yaml for a GPU.
        out: Folder for the table, the single runs, the chart, and the runs' folders; finished runs are not repeated.
        seeds: How many seeds each backbone is trained with.
        jobs: Trainings at a time; they share the cores.
        quick: Train two backbones hardly at all, to see what the results look like.
    """
    table, paths = EXPERIMENTS[name].run(out, seeds, jobs, recipes, quick)
    Console().print(table)
    for path in paths:
        print(path)
