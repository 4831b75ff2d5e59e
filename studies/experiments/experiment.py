"""An experiment: backbones that are trained alike and scored alike, and the tables and charts that come of it."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from matplotlib.figure import Figure
from PIL import Image

import gpvit
from gpvit.data.segmentation.scenes import SceneData
from gpvit.data.visualise import overlay_labels
from gpvit.devices import describe_machine
from gpvit.errors import UserError
from gpvit.inference.results.segmentation import SegmentationResult
from gpvit.profile.cost import profile_model
from gpvit.train.composition import compose, find_recipe, merge
from studies.ablations import ablations
from studies.experiments.training import Outcome, Score, Trial, run_trials
from studies.report import Column, ResultTable, chart, save_chart

BACKBONE = "gpvit_nano"
_EXAMPLES = 4

Scores = dict[str, np.ndarray]
"""By the label of a row, the scores of its runs, `(runs, scores)`, shares of 1; NaN is a score that there is not."""


@dataclass(frozen=True)
class Experiment:
    """What is compared, and how.

    Args:
        name: Of the command's argument, of the files, of the ablations whose rows are the backbones and of the recipe.
        title: What it compares.
        data: Class of the scenes that the recipe names.
        score: Scores a finished run: the name of each score and its value, a share of 1.
        headers: The scores' headings in the table, in percent; the first score is the one that counts.
        draw: Draws the scores into an empty figure.
        explain: Says what the task is and how the scores are to be read, of such scenes.
        quick: Settings that train hardly at all.
    """

    name: str
    title: str
    data: type[SceneData]
    score: Score
    headers: Mapping[str, str]
    draw: Callable[[Figure, Scores], None]
    explain: Callable[[Any], str]
    quick: Mapping[str, Any]

    def run(
        self,
        out: str | Path,
        seeds: int = 3,
        jobs: int = 1,
        recipes: Sequence[str] = (),
        quick: bool = False,
        command: str = "",
        log: Callable[[str], None] = print,
    ) -> tuple[ResultTable, list[Path]]:
        """Train every backbone with every seed; write the table, the single runs, the chart and examples.

        Args:
            out: Folder to write into. Each run has a folder in it; what is finished there is not trained again.
            seeds: How many seeds, from 0.
            jobs: Trainings at a time; they share the cores.
            recipes: Laid over the experiment's own, as for a longer training.
            quick: Train two of the backbones with one seed, hardly at all, to see what the results look like.
            command: What makes the tables again.
            log: Takes a line for each training.

        Returns:
            The table, and the files written.

        Raises:
            ValueError: If there are no seeds or jobs, a training fails, or the folder holds runs with other settings.
            FileNotFoundError: If a recipe is missing.
        """
        if min(seeds, jobs) < 1:
            raise UserError(f"seeds is {seeds} and jobs {jobs}; give 1 or more of each")
        files = [find_recipe(recipe) for recipe in (f"experiments/{self.name}.yaml", *recipes)]
        common, rows = compose(files).settings, ablations(self.name, BACKBONE)
        if quick:
            common, rows, seeds = merge(common, self.quick), (rows[0], rows[-1]), 1
        todo = [Trial(row, seed, common) for seed in range(seeds) for row in rows]
        folder = Path(out) / f"{self.name}_runs"
        outcomes = run_trials(todo, folder, self.score, jobs, log)
        first = {trial.row.label: folder / trial.name for trial in todo[: len(rows)]}
        scores = {
            label: np.array(
                [[o.scores[key] for key in self.headers] for o in outcomes if o.trial.row.label == label], float
            )
            for label in first
        }
        scenes = scenes_of(next(iter(first.values())), self.data)
        notes = self._notes(scenes, common["train"], seeds, jobs)
        table = ResultTable(self.name, self.title, *self._table(first, scores, scenes), notes, command)
        runs = ResultTable(f"{self.name}_runs", f"{self.title}: every run", *self._runs(outcomes), notes)
        paths = [*table.write(out), *runs.write(out)]
        with chart(7.5, 4.2) as figure:
            self.draw(figure, scores)
            paths += save_chart(figure, out, self.name)
        return table, [*paths, *save_chart(draw_examples(first, scenes), out, f"{self.name}_examples", ["png"])]

    def _table(
        self, runs: Mapping[str, Path], scores: Scores, scenes: SceneData
    ) -> tuple[list[Column], list[dict[str, Any]]]:
        """Summarise the scores of each backbone, beside what its network costs; `runs` has a folder for each."""
        rows = []
        for label, values in scores.items():
            cost = profile_model(gpvit.load(runs[label] / "last.safetensors"), scenes.preprocessing.input_size[1:])
            means = dict(zip(self.headers, map(mean_and_spread, values.T), strict=True))
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
            {"exchange": o.trial.row.label, "seed": o.trial.seed, "seconds": o.seconds, **o.scores} for o in outcomes
        ]
        columns = [Column("exchange", "exchange"), Column("seed", "seed"), Column("seconds", "training (s)", 0)]
        columns += [Column(name, header.removesuffix(" (%)"), 4) for name, header in self.headers.items()]
        return columns, rows

    def _notes(self, scenes: SceneData, settings: Mapping[str, Any], seeds: int, jobs: int) -> list[str]:
        steps = settings["epochs"] * (scenes.num_scenes["train"] // scenes.batch_size)
        return [
            self.explain(scenes),
            f"Everyone trains {steps} steps on {scenes.batch_size} scenes each, the same ones in the same order, and "
            f"is scored on the same {scenes.num_scenes['val']} scenes of other digits and photographs.",
            f"Seeds 0 to {seeds - 1}: mean and standard deviation. Trainings at a time: {jobs}. Precision "
            f"{settings.get('precision') or '32-true'}; {describe_machine()}.",
        ]


def scenes_of(run: Path, data: type[SceneData]) -> Any:
    """Return the scenes that a run was trained on and is scored on, as its settings describe them."""
    settings = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))["data"]
    return data(**{key: value for key, value in settings.items() if key != "class"})


def draw_examples(runs: Mapping[str, Path], scenes: Any) -> Figure:
    """Draw the first test scenes: a row each, with the truth and with what each model predicts.

    Args:
        runs: Folders of finished runs, by what stands above their columns.
        scenes: What they are scored on.
    """
    samples = [scenes.samples("val")[index] for index in range(min(_EXAMPLES, scenes.num_scenes["val"]))]
    images = [sample.image for sample in samples]
    labels = {"truth": [sample.mask for sample in samples]}
    for name, run in runs.items():
        predictor: gpvit.Predictor[SegmentationResult] = gpvit.Predictor(run / "last.safetensors")
        labels[name] = [result.labels for result in predictor(images)]
    columns: dict[str, list[Image.Image]] = {"scene": images}
    gray = [image.convert("L").convert("RGB") for image in images]  # all colour then tells a class
    for name, masks in labels.items():
        columns[name] = [overlay_labels(image, mask, scenes.colors) for image, mask in zip(gray, masks, strict=True)]
    cell = 1.15  # width of an image in inches
    figure = Figure((cell * len(columns), cell * (len(images) + 0.5)), dpi=150, layout="constrained")
    cells = figure.subplots(len(images), len(columns), squeeze=False)
    for column, (name, shown) in enumerate(columns.items()):
        cells[0, column].set_title(textwrap.fill(name, 13), fontsize=7)
        for axes, image in zip(cells[:, column], shown, strict=True):
            axes.imshow(image)
            axes.set_axis_off()
    return figure


def mean_and_spread(values: np.ndarray) -> str | None:
    """Write scores, shares of 1, as their mean and standard deviation in percent."""
    if np.isnan(values).any():
        return None
    spread = f" ± {100 * values.std(ddof=1):.1f}" if len(values) > 1 else ""
    return f"{100 * values.mean():.1f}{spread}"
