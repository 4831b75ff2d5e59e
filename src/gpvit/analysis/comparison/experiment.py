"""An experiment: backbones that are trained alike and scored alike, and the table and the chart that come of it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from gpvit.analysis.ablations import Ablation, ablations
from gpvit.analysis.charts import chart, save_chart
from gpvit.analysis.comparison.examples import draw_examples
from gpvit.analysis.comparison.training import Judge, Outcome, Trial, run_trials
from gpvit.analysis.cost import Cost, profile_model
from gpvit.analysis.machine import describe_machine
from gpvit.analysis.tables.table import Column, ResultTable
from gpvit.data.segmentation.scenes import SceneData
from gpvit.inference.figures import save_figure
from gpvit.models.catalog import create_model
from gpvit.tasks.composition import compose, find_recipe

BACKBONE = "gpvit_nano"

Scores = dict[str, np.ndarray]
"""By the label of a row, the scores of its runs, `(runs, scores)`, shares of 1."""


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
        notes: How the scores are to be read.
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
    notes: Sequence[str]
    quick: Sequence[str]

    def run(
        self,
        out: str | Path,
        seeds: int = 3,
        jobs: int = 1,
        settings: Sequence[str] = (),
        quick: bool = False,
        tell: Callable[[str], None] = print,
    ) -> tuple[ResultTable, list[Path]]:
        """Train every backbone with every seed; write the table, the single runs, the chart and examples.

        Args:
            out: Folder to write into. Each run has a folder in it; what is finished there is not trained again.
            seeds: How many seeds, from 0.
            jobs: Trainings at a time; they share the cores.
            settings: Recipes laid over the experiment's own, as for a longer training.
            quick: Train two of the backbones with one seed, hardly at all, to see what the results look like.
            tell: Takes a line for each training.

        Returns:
            The table, and the files written.

        Raises:
            ValueError: If there are no seeds or jobs, or the folder holds runs with other settings.
            FileNotFoundError: If a recipe is missing.
        """
        if min(seeds, jobs) < 1:
            raise ValueError(f"seeds is {seeds} and jobs {jobs}; give 1 or more of each")
        rows = ablations(self.table, BACKBONE)
        rows, seeds = ((rows[0], rows[-1]), 1) if quick else (rows, seeds)
        recipes, overrides = (self.recipe, *settings), tuple(self.quick) if quick else ()
        todo = [Trial(row, seed, recipes, overrides) for seed in range(seeds) for row in rows]
        folder = Path(out) / f"{self.name}_runs"
        outcomes = run_trials(todo, folder, self.judge, jobs, tell)
        words = ["gpvit experiment", self.name, *settings, f"--seeds {seeds}", *(["--quick"] if quick else [])]
        table = self._table(rows, outcomes, " ".join(words))
        with chart(7.5, 4.2) as figure:
            self.paint(figure, self._scores(outcomes))
            drawn = save_chart(figure, out, self.name)
        examples = Path(out) / f"{self.name}_examples.png"
        save_figure(
            draw_examples({trial.row.label: folder / trial.name for trial in todo[: len(rows)]}, self.data), examples
        )
        return table, [*table.write(out), *self._runs(outcomes).write(out), *drawn, examples]

    def _scores(self, outcomes: Iterable[Outcome]) -> Scores:
        scores: dict[str, list[list[float]]] = {}
        for outcome in outcomes:
            values = [outcome.result[name] for name in self.headers]
            scores.setdefault(outcome.trial.row.label, []).append(values)
        return {label: np.array(values) for label, values in scores.items()}

    def _table(self, rows: Sequence[Ablation], outcomes: Sequence[Outcome], command: str) -> ResultTable:
        scores = self._scores(outcomes)
        size, costs = self._costs(rows)
        cells = [
            {
                "exchange": row.label,
                "parameters": costs[row.label].parameters,
                "gmacs": costs[row.label].macs / 1e9,
                **dict(zip(self.headers, map(_mean_and_spread, scores[row.label].T), strict=True)),
            }
            for row in rows
        ]
        runs = len(outcomes) // len(rows)
        measured = f"Mean and standard deviation of {runs} seeds; float32, {describe_machine()}."
        columns = [
            Column("exchange", "in the place of group propagation"),
            Column("parameters", "parameters"),
            Column("gmacs", f"GMACs at {size}x{size}", 3),
            *(Column(name, header) for name, header in self.headers.items()),
        ]
        return ResultTable(self.name, self.title, columns, cells, [*self.notes, measured], command)

    def _runs(self, outcomes: Sequence[Outcome]) -> ResultTable:
        """List every single run."""
        rows: list[dict[str, Any]] = [
            {"exchange": o.trial.row.label, "seed": o.trial.seed, "seconds": o.seconds, **o.result} for o in outcomes
        ]
        columns = [Column("exchange", "exchange"), Column("seed", "seed"), Column("seconds", "training (s)", 0)]
        columns += [Column(name, header.removesuffix(" (%)"), 4) for name, header in self.headers.items()]
        return ResultTable(f"{self.name}_runs", f"{self.title}: every run", columns, rows)

    def _costs(self, rows: Sequence[Ablation]) -> tuple[int, dict[str, Cost]]:
        """Count what each network costs at the size of its images."""
        settings = compose([find_recipe(self.recipe)]).settings
        model, size = settings["model"]["init_args"], settings["data"]["init_args"]["image_size"]
        costs = {}
        for row in rows:
            backbone = {**model["model_kwargs"]["backbone_kwargs"], **row.arguments}
            with torch.device("meta"):
                network = create_model(model["name"], backbone_kwargs=backbone)
            costs[row.label] = profile_model(network, (size, size))
        return size, costs


def _mean_and_spread(values: np.ndarray) -> str:
    """Write scores, shares of 1, as their mean and standard deviation in percent."""
    spread = f" ± {100 * values.std(ddof=1):.1f}" if len(values) > 1 else ""
    return f"{100 * values.mean():.1f}{spread}"
