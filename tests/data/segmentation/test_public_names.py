import subprocess
import sys

import pytest
from data.segmentation.folders import write_pairs
from jsonargparse import ArgumentParser

import gpvit.data.segmentation


def test_every_public_name_is_there():
    for name in gpvit.data.segmentation.__all__:
        value = getattr(gpvit.data.segmentation, name)
        assert name == "IGNORE" or value.__module__.startswith("gpvit.data.segmentation.")


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import sys, gpvit.data.segmentation; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'PIL', 'numpy', 'matplotlib', 'yaml')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("MaskFolder", {"preprocessing": {"max_size": None, "input_size": [3, 64, 96]}, "mask_suffix": ""}),
        ("MaskFolder", {"classes": ["sky", "sea", "sand"], "augmentation": {"scale": [1, 2], "photometric": False}}),
        ("ADE20K", {"preprocessing": {"max_size": [1024, 256]}, "batch_size": 4, "max_damaged": 0}),
    ],
)
def test_recipes_set_the_data_by_plain_values(name, options, tmp_path):
    write_pairs(tmp_path)
    (tmp_path / "annotations").mkdir()
    options = {"root": str(tmp_path), **options}
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(gpvit.data.segmentation.SegmentationData, "data")
    recipe = {"data": {"class_path": f"gpvit.data.segmentation.{name}", "init_args": options}}
    data = parser.instantiate(parser.parse_object(recipe)).data
    assert isinstance(data, getattr(gpvit.data.segmentation, name))
    for kind in ("preprocessing", "augmentation"):
        for key, value in options.get(kind, {}).items():
            assert getattr(getattr(data, kind), key) == (tuple(value) if isinstance(value, list) else value)
    if "classes" in options:
        assert data.class_names == tuple(options["classes"])
    with pytest.raises(Exception, match="image_sise"):
        parser.parse_object({"data": {**recipe["data"], "init_args": {**options, "image_sise": 1}}})
