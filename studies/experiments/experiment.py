"""An experiment: backbones that are trained alike and scored alike, and the table and the pictures that come of it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from gpvit.data.segmentation.scenes import SceneData
from gpvit.devices import describe_machine
from gpvit.inference.figures import save_figure
from gpvit.profile.cost import profile_model
from gpvit.train.composition import compose, find_recipe, merge
from gpvit.zoo.factory import load
from studies.ablations import ablations
from studies.charts import chart, save_chart
from studies.experiments.examples import draw_examples, scenes_of
from studies.experiments.training import Judge, Outcome, Trial, run_trials
from studies.tables.table import Column, ResultTable

BACKBONE = "gpvit_nano"

Scores = dict[str, np.ndarray]
"""By the label of a row, the scores of its runs, `(runs, scores)`, shares of 1; NaN is a score that there is not."""


@dataclass(frozen=True)
class Experiment:
    """What is compared, and how.

    Args:
        name: Of the verb's argument and of the files.
        title: What it compares.
        table: Of the ablations whose rows are the backbones.
        recipe: What every backbone is trained by.
        data: Class of the scenes that the recipe names.
        judge: Scores a finished run: the name of each score and its value, a share of 1.
        headers: The scores' headings in the table, in percent; the first score is the one that counts.
        paint: Draws the scores into an empty figure.
        explain: Says what the task is and how the scores are to be read, of such scenes.
        quick: Settings that train hardly at all.
    """

    name: str
    title: str
    table: str
    recipe: str
    data: type[SceneData]
    judge: Judge
    headers: Mapping[str, str]
    paint: Callable[[Figure, Scores], None]
    explain: Callable[[Any], str]
    quick: Mapping[str, Any]

    def run(
        self,
        out: str | Path,
        seeds: int = 3,
        jobs: int = 1,
        recipes: Sequence[str] = (),
        quick: bool = False,
        tell: Callable[[str], None] = print,
    ) -> tuple[ResultTable, list[Path]]:
        """Train every backbone with every seed; write the table, the single runs, the chart and examples.

        Args:
            out: Folder to write into. Each run has a folder in it; what is finished there is not trained again.
            seeds: How many seeds, from 0.
            jobs: Trainings at a time; they share the cores.
            recipes: Laid over the experiment's own, as for a longer training.
            quick: Train two of the backbones with one seed, hardly at all, to see what the results look like.
            tell: Takes a line for each training.

        Returns:
            The table, and the files written.

        Raises:
            ValueError: If there are no seeds or jobs, a training fails, or the folder holds runs with other settings.
            FileNotFoundError: If a recipe is missing.
        """
        if min(seeds, jobs) < 1:
            raise ValueError(f"seeds is {seeds} and jobs {jobs}; give 1 or more of each")
        common = compose([find_recipe(recipe) for recipe in (self.recipe, *recipes)]).settings
        rows = ablations(self.table, BACKBONE)
        if quick:
            common, rows, seeds = merge(common, self.quick), (rows[0], rows[-1]), 1
        todo = [Trial(row, seed, common) for seed in range(seeds) for row in rows]
        folder = Path(out) / f"{self.name}_runs"
        outcomes = run_trials(todo, folder, self.judge, jobs, tell)
        words = ["gpvit experiment", self.name, *recipes, f"--seeds {seeds}", f"--jobs {jobs}", *["--quick"] * quick]
        first = {trial.row.label: folder / trial.name for trial in todo[: len(rows)]}
        notes = self._notes(common, next(iter(first.values())), seeds, jobs)
        table = ResultTable(self.name, self.title, *self._table(first, outcomes), notes, " ".join(words))
        runs = ResultTable(f"{self.name}_runs", f"{self.title}: every run", *self._runs(outcomes), notes)
        paths = [*table.write(out), *runs.write(out)]
        with chart(7.5, 4.2) as figure:
            self.paint(figure, self._scores(outcomes))
            paths += save_chart(figure, out, self.name)
        examples = Path(out) / f"{self.name}_examples.png"
        save_figure(draw_examples(first, self.data), examples)
        return table, [*paths, examples]

    def _scores(self, outcomes: Iterable[Outcome]) -> Scores:
        scores: dict[str, list[list[float]]] = {}
        for outcome in outcomes:
            values = [outcome.result[name] for name in self.headers]
            scores.setdefault(outcome.trial.row.label, []).append(values)
        return {label: np.array(values, dtype=float) for label, values in scores.items()}  # None turns into NaN

    def _table(
        self, runs: Mapping[str, Path], outcomes: Sequence[Outcome]
    ) -> tuple[list[Column], list[dict[str, Any]]]:
        """Summarise the scores of each backbone, beside what its network costs; `runs` has a folder for each."""
        size = scenes_of(next(iter(runs.values())), self.data).preprocessing.input_size
        rows = []
        for label, scores in self._scores(outcomes).items():
            cost = profile_model(load(runs[label] / "last.safetensors"), size[1:])
            means = dict(zip(self.headers, map(_mean_and_spread, scores.T), strict=True))
            rows.append({"exchange": label, "parameters": cost.parameters, "gmacs": cost.macs / 1e9, **means})
        columns = [
            Column("exchange", "in the place of group propagation"),
            Column("parameters", "parameters", 0),
            Column("gmacs", "GMACs of a scene", 3),
            *(Column(name, header) for name, header in self.headers.items()),
        ]
        return columns, rows

    def _runs(self, outcomes: Sequence[Outcome]) -> tuple[list[Column], list[dict[str, Any]]]:
        rows: list[dict[str, Any]] = [
            {"exchange": o.trial.row.label, "seed": o.trial.seed, "seconds": o.seconds, **o.result} for o in outcomes
        ]
        columns = [Column("exchange", "exchange"), Column("seed", "seed"), Column("seconds", "training (s)", 0)]
        columns += [Column(name, header.removesuffix(" (%)"), 4) for name, header in self.headers.items()]
        return columns, rows

    def _notes(self, settings: Mapping[str, Any], run: Path, seeds: int, jobs: int) -> list[str]:
        scenes = scenes_of(run, self.data)
        epochs = settings["trainer"]["max_epochs"]
        steps = epochs * (scenes.num_scenes["train"] // scenes.batch_size)
        return [
            self.explain(scenes),
            f"Everyone trains {steps} steps on {scenes.batch_size} scenes each, the same ones in the same order, and "
            f"is scored on the same {scenes.num_scenes['val']} scenes of other digits and photographs.",
            f"Seeds 0 to {seeds - 1}: mean and standard deviation. Trainings at a time: {jobs}. Precision "
            f"{settings['trainer'].get('precision') or '32-true'}; {describe_machine()}.",
        ]


def _mean_and_spread(values: np.ndarray) -> str | None:
    """Write scores, shares of 1, as their mean and standard deviation in percent."""
    if np.isnan(values).any():
        return None
    spread = f" ± {100 * values.std(ddof=1):.1f}" if len(values) > 1 else ""
    return f"{100 * values.mean():.1f}{spread}"
