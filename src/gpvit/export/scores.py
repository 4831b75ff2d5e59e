"""What a precision costs on a dataset: the score of the model, and that of its file."""

from pathlib import Path
from typing import Any

from torch import nn

from gpvit.errors import UserError
from gpvit.inference.metadata import task_of
from gpvit.tasks.evaluate import evaluate, find_data, open_data
from gpvit.zoo.exported import open_exported


def check_score(model: nn.Module, path: Path, data: str | Path, max_drop: float) -> dict[str, Any]:
    """Score a model and its exported file on a dataset, and return both scores.

    Raises:
        UserError: The file's score is lower by more than `max_drop`.
    """
    kind = find_data(task_of(model), data)
    root = {} if kind is find_data(task_of(model), None) else {"root": str(data)}
    before, after = (
        evaluate(each, open_data(kind, each, **root), device="cpu") for each in (model, open_exported(path))
    )
    name = next(iter(before))
    if before[name] - after[name] > max_drop:
        raise UserError(
            f"{name} falls from {before[name]:.2%} to {after[name]:.2%} on {data}, and {max_drop:.2%} are allowed "
            "(--max-drop); calibrate on images more like these, or export in fp16. No file was written"
        )
    return {"score": name, "before": before[name], "after": after[name], "images": before["images"]}
