import json

import pytest

from gpvit.analysis.ablations import ablations
from gpvit.analysis.comparison.training import RESULT, Trial, run_trials

ROWS = {row.label: row for row in ablations("exchange", "gpvit_nano")}
TRIAL = Trial(ROWS["GP, none"], 3, ("experiments/keys.yaml",), ("--data.train_scenes=8",))


def judge(run):
    raise AssertionError(f"{run} was trained again")


def finish(folder, trial, arguments):
    run = folder / trial.name
    run.mkdir()
    (run / RESULT).write_text(json.dumps({"arguments": arguments, "seconds": 2.5, "result": {"accuracy": 0.75}}))


def test_a_trial_is_what_gpvit_train_takes():
    recipe, *options = TRIAL.arguments
    assert TRIAL.name == "gp-none_3"
    assert recipe == "experiments/keys.yaml"
    assert "--seed_everything=3" in options
    assert options[-1] == "--data.train_scenes=8"
    (blocks,) = (option.partition("=")[2] for option in options if "backbone_kwargs.blocks" in option)
    assert json.loads(blocks) == [dict(block) for block in TRIAL.row.arguments["blocks"]]


def test_rows_and_seeds_have_folders_of_their_own():
    trials = [Trial(row, seed, ()) for row in (*ROWS.values(), *ablations("keys", "gpvit_nano")) for seed in range(3)]
    assert len({trial.name for trial in trials}) == len(trials)


def test_a_finished_trial_is_not_trained_again(tmp_path):
    finish(tmp_path, TRIAL, TRIAL.arguments)
    (outcome,) = run_trials([TRIAL], tmp_path, judge)
    assert (outcome.trial, outcome.seconds, outcome.result) == (TRIAL, 2.5, {"accuracy": 0.75})


def test_a_finished_trial_with_other_settings_is_not_taken_for_it(tmp_path):
    finish(tmp_path, TRIAL, [*TRIAL.arguments, "--model.lr=1"])
    with pytest.raises(ValueError, match=r"gp-none_3 was trained with other settings; name another --out"):
        run_trials([TRIAL], tmp_path, judge)
