"""One official L1 file for all tests of files and downloads."""

from pathlib import Path

import pytest
from golden import official


@pytest.fixture(scope="session")
def official_l1(tmp_path_factory) -> Path:
    return official.checkpoint("cls_L1", tmp_path_factory.mktemp("release") / "gpvit_l1_in1k_300e.pth")
