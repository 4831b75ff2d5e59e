"""Exported files that many tests read: each is made once."""

import pytest
from export.small import small

from gpvit.export import export


@pytest.fixture(scope="session")
def classifier():
    return small()


@pytest.fixture(scope="session")
def exported(classifier, tmp_path_factory):
    """A classifier with its groups in ONNX: its path and metadata."""
    path = tmp_path_factory.mktemp("exported") / "nano.onnx"
    return path, export(classifier, path, groups=True)
