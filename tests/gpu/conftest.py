"""The device of these tests: a GPU, unless GPVIT_GPU names another to try the tests themselves on."""

import os

import pytest
import torch


@pytest.fixture
def accelerator() -> str:
    device = os.environ.get("GPVIT_GPU", "cuda")
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no CUDA device here; GPVIT_GPU=cpu tries the tests themselves")
    return device
