"""Exported files that many tests read: each is made once."""

import pytest

import gpvit
from gpvit.export import export
from gpvit.models.variants import VARIANTS


@pytest.fixture(scope="session")
def classifier():
    """A local block and a group propagation block."""
    blocks = VARIANTS["gpvit_nano"]["blocks"][:2]
    return gpvit.create_model("gpvit_nano", num_classes=5, blocks=blocks).eval()


@pytest.fixture(scope="session")
def exported(classifier, tmp_path_factory):
    """A classifier with its groups in ONNX: its path and metadata."""
    path = tmp_path_factory.mktemp("exported") / "nano.onnx"
    return path, export(classifier, path, groups=True)
