"""The runs of a comparison: each row with each seed, some at a time, each kept in a folder of its own."""

import json
import multiprocessing
import re
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gpvit.analysis.ablations import Ablation
from gpvit.inference.figures import replacing
from gpvit.tasks.recipes import train_recipe

RESULT = "result.json"

Judge = Callable[[Path], dict[str, Any]]
"""Says what came of a run, by its folder; a function of a module, so that other processes can call it."""


@dataclass(frozen=True)
class Trial:
    """One row trained with one seed.

    Args:
        row: The backbone.
        seed: Of the weights and of the order of the images.
        recipes: What it is trained by; later ones win.
        overrides: Settings in place of the recipes', as `gpvit train` takes them.
    """

    row: Ablation
    seed: int
    recipes: tuple[str, ...]
    overrides: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{re.sub('[^a-z0-9]+', '-', self.row.label.lower())}_{self.seed}"

    @property
    def arguments(self) -> list[str]:
        """What `gpvit train` takes, but for the run folder."""
        backbone = [f"--model.model_kwargs.backbone_kwargs.{k}={json.dumps(v)}" for k, v in self.row.arguments.items()]
        seed = f"--seed_everything={self.seed}"
        return [*self.recipes, seed, *backbone, "--trainer.enable_progress_bar=false", *self.overrides]


@dataclass(frozen=True)
class Outcome:
    """What came of a trial.

    Args:
        trial: What was trained.
        seconds: Duration of the training.
        result: What the judge said.
    """

    trial: Trial
    seconds: float
    result: dict[str, Any]


def run_trials(
    todo: Sequence[Trial], folder: Path, judge: Judge, jobs: int = 1, tell: Callable[[str], None] = print
) -> list[Outcome]:
    """Train, and judge what was trained; a trial that is in the folder already is not repeated.

    Args:
        todo: What to train.
        folder: Holds a run folder for each trial.
        judge: Called in the training process, on the finished run's folder.
        jobs: Trainings at a time; they share the cores.
        tell: Takes a line for each trial.

    Returns:
        The outcomes, in the order of the trials.

    Raises:
        ValueError: If the folder holds a trial of the same name with other settings.
    """
    done = {trial.name: outcome for trial in todo if (outcome := _find(trial, folder)) is not None}
    left = [trial for trial in todo if trial.name not in done]
    threads = max(1, torch.get_num_threads() // jobs)
    # Fresh processes: one trial's random state, threads and memory are nothing to the next.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, max_tasks_per_child=1) as pool:
        running = {pool.submit(_train, trial, folder, judge, threads): trial for trial in left}
        for number, finished in enumerate(as_completed(running), 1):
            trial, outcome = running[finished], finished.result()
            done[trial.name] = outcome
            tell(f"{number} of {len(left)}: {trial.row.label}, seed {trial.seed}, {outcome.seconds:.0f} s")
    return [done[trial.name] for trial in todo]


def _train(trial: Trial, folder: Path, judge: Judge, threads: int) -> Outcome:
    torch.set_num_threads(threads)
    run = folder / trial.name
    if run.is_dir():  # from a training that was cut off
        shutil.rmtree(run)
    folder.mkdir(parents=True, exist_ok=True)
    with run.with_suffix(".log").open("w", encoding="utf-8") as log, redirect_stdout(log), redirect_stderr(log):
        _, summary = train_recipe([*trial.arguments, "--out", str(run)])
    result = judge(run)
    for part in ("last.ckpt", "previous.ckpt", "best.safetensors"):
        (run / part).unlink(missing_ok=True)
    record = {"arguments": trial.arguments, "seconds": summary["seconds"], "result": result}
    with replacing(run / RESULT) as unfinished:
        unfinished.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return Outcome(trial, summary["seconds"], result)


def _find(trial: Trial, folder: Path) -> Outcome | None:
    """Return the outcome of a trial that was finished earlier."""
    file = folder / trial.name / RESULT
    if not file.is_file():
        return None
    record = json.loads(file.read_text(encoding="utf-8"))
    if record["arguments"] != trial.arguments:
        raise ValueError(f"{file.parent} was trained with other settings; name another --out, or remove it")
    return Outcome(trial, record["seconds"], record["result"])
