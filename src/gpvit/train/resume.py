"""Whether a run folder holds the run that is asked to go on."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from gpvit.errors import UserError

CONFIG = "config.yaml"
_SHOWN = 8

# Of the Trainer's settings, what the weights depend on. How long a run is may change.
_TRAINER = (
    "accumulate_grad_batches",
    "callbacks",
    "detect_anomaly",
    "devices",
    "gradient_clip_algorithm",
    "gradient_clip_val",
    "limit_train_batches",
    "num_nodes",
    "overfit_batches",
    "precision",
)


def check_same_run(folder: Path, settings: Mapping[str, Any]) -> None:
    """Refuse to go on with the run of another recipe.

    Args:
        folder: The run folder; without a `config.yaml`, nothing is refused.
        settings: All settings of the recipe, as that file holds them.

    Raises:
        ValueError: Data, model, seed or sizes differ; the settings are named.
    """
    path = folder / CONFIG
    if not path.is_file():
        return
    try:
        before = dict(_decisive(yaml.safe_load(path.read_text(encoding="utf-8"))))
    except (yaml.YAMLError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({error}); start anew, in another folder") from error
    now = dict(_decisive(settings))
    differing = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    if differing:
        listed = "\n".join(
            f"  {name}: {before.get(name, 'not set')} there, {now.get(name, 'not set')} here"
            for name in differing[:_SHOWN]
        )
        more = f"\n  and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
        raise UserError(
            f"{folder} holds the run of another recipe, which this one cannot go on with:\n{listed}{more}\n"
            f"Give the same settings; or another --out folder with --resume {folder}, for a new run from its weights"
        )


def _decisive(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Give, by their names, the settings that the weights depend on."""
    trainer = {name: settings.get("trainer", {}).get(name) for name in _TRAINER}
    chosen = {name: settings.get(name) for name in ("seed_everything", "model", "data")} | {"trainer": trainer}
    for name, value in _flat(chosen, ""):
        if not name.endswith(".num_workers"):  # neither order nor augmentation depend on it
            yield name.replace(".init_args.", "."), value


def _flat(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, part in value.items():
            yield from _flat(part, f"{name}.{key}" if name else str(key))
    else:
        yield name, value
