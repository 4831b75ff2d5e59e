import subprocess
import sys

import pytest

import gpvit


def test_public_names_are_frozen():
    assert gpvit.__all__ == [
        "ClassificationResult",
        "DetectionResult",
        "GPViT",
        "GroupMaps",
        "GroupPropagationBlock",
        "MaskRCNN",
        "Predictor",
        "RetinaNet",
        "SegFormerHead",
        "SegmentationResult",
        "Segmenter",
        "UPerNetHead",
        "ViTAdapter",
        "__version__",
        "create_model",
        "load",
        "optimize",
        "register_adapter",
        "register_block",
        "register_decoder",
        "save",
    ]
    assert dir(gpvit) == gpvit.__all__


@pytest.mark.parametrize("name", gpvit.__all__)
def test_every_public_name_is_there_and_documented(name):
    value = getattr(gpvit, name)
    assert name == "__version__" or value.__doc__


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="No gpvit attribute nothing"):
        gpvit.nothing  # noqa: B018


def test_import_loads_nothing_heavy():
    code = "import gpvit, sys; print(*sorted({'torch', 'timm', 'numpy', 'lightning'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
