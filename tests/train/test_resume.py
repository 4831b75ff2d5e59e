import pytest
import yaml

from gpvit.train.resume import check_same_run

SETTINGS = {
    "seed_everything": 0,
    "model": {"class_path": "gpvit.tasks.ClassificationTask", "init_args": {"name": "gpvit_nano", "lr": 0.1}},
    "data": {"class_path": "gpvit.data.Digits", "init_args": {"batch_size": 8, "num_workers": 2}},
    "trainer": {"max_epochs": 2, "max_steps": -1, "devices": 1, "accumulate_grad_batches": 2, "logger": None},
    "out": "run",
    "resume": None,
}


def changed(place, value):
    settings = yaml.safe_load(yaml.safe_dump(SETTINGS))
    *outer, name = place.split("/")
    part = settings
    for key in outer:
        part = part[key]
    part[name] = value
    return settings


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(SETTINGS))
    return tmp_path


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        ("model/init_args/lr", 0.2, r"model\.lr: 0\.1 there, 0\.2 here"),
        ("data/init_args/batch_size", 4, r"data\.batch_size: 8 there, 4 here"),
        ("data/init_args/root", "here", r"data\.root: not set there, here here"),
        ("trainer/devices", 2, r"trainer\.devices: 1 there, 2 here"),
        ("trainer/accumulate_grad_batches", 1, r"trainer\.accumulate_grad_batches: 2 there, 1 here"),
        ("seed_everything", 1, r"seed_everything: 0 there, 1 here"),
    ],
)
def test_what_weights_depend_on_must_be_the_same(folder, place, value, told):
    with pytest.raises(ValueError, match=told) as raised:
        check_same_run(folder, changed(place, value))
    assert str(folder) in str(raised.value)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("trainer/max_epochs", 5),
        ("trainer/max_steps", 100),
        ("trainer/logger", True),
        ("data/init_args/num_workers", 0),
        ("out", "./run"),
        ("resume", True),
    ],
)
def test_length_and_speed_of_a_run_may_change(folder, place, value):
    check_same_run(folder, changed(place, value))


def test_a_folder_without_settings_is_taken_and_damaged_ones_are_not(tmp_path):
    check_same_run(tmp_path, SETTINGS)
    (tmp_path / "config.yaml").write_text("model: [")
    with pytest.raises(ValueError, match=r"config\.yaml is damaged"):
        check_same_run(tmp_path, SETTINGS)
