import subprocess
import sys

import pytest
from jsonargparse import ArgumentParser

import gpvit.data


def test_every_public_name_is_there():
    assert set(gpvit.data.__all__) <= set(dir(gpvit.data))
    for name in gpvit.data.__all__:
        assert getattr(gpvit.data, name).__module__.startswith(("gpvit.data.", "gpvit.runtime."))
    with pytest.raises(AttributeError, match="Digit"):
        gpvit.data.Digit  # noqa: B018


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, gpvit.data; sys.exit(any(name in sys.modules for name in ('torch', 'timm', 'PIL', 'sklearn')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("Digits", {"image_size": 48, "zoom": 0.2}),
        (
            "ImageFolder",
            {"root": ".", "preprocessing": {"input_size": [3, 64, 96]}, "augmentation": {"rand_augment": None}},
        ),
        ("Shards", {"root": ".", "class_names": ["cat", "dog"], "preprocessing": {"mean": [0, 0, 0]}}),
        ("Shards", {"root": ".", "class_names": 1000, "augmentation": {"crop_scale": [0.5, 1.0]}}),
    ],
)
def test_recipes_set_the_data_by_plain_values(name, options, tmp_path):
    for split in ("train", "val"):
        for label in ("cat", "dog"):
            (tmp_path / split / label).mkdir(parents=True)
    options = {key: str(tmp_path) if key == "root" else value for key, value in options.items()}
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(gpvit.data.ClassificationData, "data")
    recipe = {"data": {"class_path": f"gpvit.data.{name}", "init_args": options}}
    data = parser.instantiate(parser.parse_object(recipe)).data
    assert isinstance(data, getattr(gpvit.data, name))
    for key, value in options.get("preprocessing", {}).items():
        assert getattr(data.preprocessing, key) == tuple(value)
    for key, value in options.get("augmentation", {}).items():
        assert getattr(data.augmentation, key) == (tuple(value) if isinstance(value, list) else value)
    with pytest.raises(Exception, match="image_sise"):
        parser.parse_object({"data": {"class_path": f"gpvit.data.{name}", "init_args": {**options, "image_sise": 1}}})
