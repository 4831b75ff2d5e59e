import json

import pytest

from gpvit.train.composition import compose, find_recipe
from gpvit.version import __version__
from studies.ablations import ablations
from studies.experiments.training import RESULT, Trial, run_trials

ROWS = {row.label: row for row in ablations("exchange", "gpvit_nano")}
COMMON = compose([find_recipe("experiments/keys.yaml")]).settings
TRIAL = Trial(ROWS["GP, none"], 3, COMMON)


def score(run):
    raise AssertionError(f"{run} was trained again")


def finish(folder, trial, **record):
    run = folder / trial.name
    run.mkdir()
    stored = {"version": __version__, "settings": trial.settings, "seconds": 2.5, "result": {"accuracy": 0.75}}
    (run / RESULT).write_text(json.dumps({**stored, **record}))


def test_a_trial_is_its_recipe_with_other_blocks_and_a_seed():
    settings = TRIAL.settings
    backbone = settings["model"].pop("backbone_kwargs")
    assert backbone["img_size"] == 128
    assert backbone["blocks"] == [dict(block) for block in TRIAL.row.arguments["blocks"]]
    assert settings["train"].pop("seed") == 3
    common = json.loads(json.dumps({**COMMON}))
    common["train"].pop("seed", None)
    del common["model"]["backbone_kwargs"]
    assert settings == common


def test_rows_and_seeds_have_folders_of_their_own():
    rows = [*ROWS.values(), *ablations("keys", "gpvit_nano")]
    assert len({Trial(row, seed, {}).name for row in rows for seed in range(3)}) == 3 * len(rows)


def test_a_finished_trial_is_not_trained_again(tmp_path):
    finish(tmp_path, TRIAL)
    (outcome,) = run_trials([TRIAL], tmp_path, score)
    assert (outcome.trial, outcome.seconds, outcome.scores) == (TRIAL, 2.5, {"accuracy": 0.75})


@pytest.mark.parametrize("record", [{"settings": {"train": {"seed": 3}}}, {"version": "0.0.1"}])
def test_a_finished_trial_with_other_settings_is_not_taken_for_it(tmp_path, record):
    finish(tmp_path, TRIAL, **record)
    with pytest.raises(ValueError, match=r"gp-none_3 was trained with other settings or another version; name another"):
        run_trials([TRIAL], tmp_path, score)


@pytest.mark.slow  # two fresh processes
def test_a_failed_training_ends_the_series_and_names_its_log(tmp_path):
    broken = {**COMMON, "model": {"name": "segformer_no_such"}}
    todo = [Trial(row, seed, broken) for row in ROWS.values() for seed in range(5)]
    with pytest.raises(ValueError, match=r"training none with seed 0 failed: .*its output is in .*none_0\.log"):
        run_trials(todo, tmp_path, score)
    assert len(list(tmp_path.glob("*.log"))) < 5
