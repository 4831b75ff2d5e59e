"""The trainings of an experiment: each backbone with each seed, some at a time, each kept in a run folder."""

import json
import multiprocessing
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import yaml

from gpvit.errors import UserError
from gpvit.io import write_text
from gpvit.train.composition import merge
from gpvit.train.recipes import train_recipe
from gpvit.version import __version__
from studies.ablations import Ablation

RESULT = "result.json"

Score = Callable[[Path], dict[str, Any]]
"""Scores a run by its folder; a function of a module, so that other processes can call it."""


@dataclass(frozen=True)
class Trial:
    """One backbone trained with one seed.

    Args:
        row: The backbone.
        seed: Of the weights and of the order of the images.
        common: What all trials are trained by: the settings of recipes.
    """

    row: Ablation
    seed: int
    common: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Of its run folder and of its recipe."""
        return f"{re.sub('[^a-z0-9]+', '-', self.row.label.lower())}_{self.seed}"

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What it is trained by."""
        own = {"model": {"backbone_kwargs": self.row.arguments}, "train": {"seed": self.seed}}
        return json.loads(json.dumps(merge(self.common, own)))  # type: ignore[no-any-return]  # lists for tuples


@dataclass(frozen=True)
class Outcome:
    """What came of a trial: the seconds of its training, and its scores."""

    trial: Trial
    seconds: float
    scores: dict[str, Any]


def run_trials(
    todo: Sequence[Trial], folder: Path, score: Score, jobs: int = 1, log: Callable[[str], None] = print
) -> list[Outcome]:
    """Train and score; a trial that is in the folder already is not repeated, one that was cut off is resumed.

    Args:
        todo: What to train.
        folder: Holds a run folder for each trial.
        score: Called in the training process, on the finished run's folder.
        jobs: Trainings at a time; they share the cores.
        log: Takes a line for each trial.

    Returns:
        The outcomes, in the order of the trials.

    Raises:
        ValueError: If a training fails, after which no other is begun, or the folder holds a trial of the same name
            with other settings.
    """
    done = {trial.name: outcome for trial in todo if (outcome := _find(trial, folder)) is not None}
    left = [trial for trial in todo if trial.name not in done]
    threads = max(1, torch.get_num_threads() // jobs)
    # Fresh processes: one trial's random state, threads and memory are nothing to the next.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, max_tasks_per_child=1) as pool:
        running = {pool.submit(_train, trial, folder, score, threads): trial for trial in left}
        try:
            for number, finished in enumerate(as_completed(running), 1):
                trial = running[finished]
                done[trial.name] = outcome = finished.result()
                log(f"{number} of {len(left)}: {trial.row.label}, seed {trial.seed}, {outcome.seconds:.0f} s")
        except Exception as error:
            pool.shutdown(wait=False, cancel_futures=True)
            raise UserError(
                f"training {trial.row.label} with seed {trial.seed} failed: {error or type(error).__name__}; its output"
                f" is in {folder / trial.name}.log. What was finished before is kept: the same command continues there"
            ) from error
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [done[trial.name] for trial in todo]


def _train(trial: Trial, folder: Path, score: Score, threads: int) -> Outcome:
    torch.set_num_threads(threads)
    run, recipe = folder / trial.name, folder / f"{trial.name}.yaml"
    write_text(recipe, yaml.safe_dump(trial.settings, sort_keys=False))
    arguments = [str(recipe), "--out", str(run), *["--resume"] * (run / "last.ckpt").is_file()]
    with run.with_suffix(".log").open("a", encoding="utf-8") as log, redirect_stdout(log), redirect_stderr(log):
        _, summary = train_recipe(arguments)
    scores = score(run)
    for part in ("last.ckpt", "previous.ckpt", "best.safetensors"):
        (run / part).unlink(missing_ok=True)
    record = {"version": __version__, "settings": trial.settings, "seconds": summary["seconds"], "result": scores}
    write_text(run / RESULT, json.dumps(record, indent=1) + "\n")
    return Outcome(trial, summary["seconds"], scores)


def _find(trial: Trial, folder: Path) -> Outcome | None:
    """Return the outcome of a trial that was finished earlier."""
    file = folder / trial.name / RESULT
    if not file.is_file():
        return None
    record = json.loads(file.read_text(encoding="utf-8"))
    if (record.get("version"), record.get("settings")) != (__version__, trial.settings):
        raise UserError(
            f"{file.parent} was trained with other settings or another version; name another --out, or remove it"
        )
    return Outcome(trial, record["seconds"], record["result"])
