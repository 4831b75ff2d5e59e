import pytest
import torch

from studies.scaling.subjects import BLOCKS, DIM, MODELS

C = DIM


def counted(label, size):
    subject = next(block for block in BLOCKS if block.label == label)
    with torch.device("meta"):
        return subject.macs(subject.create(), size)


@pytest.mark.parametrize("size", [224, 448, 1008])
def test_macs_of_blocks_are_those_of_the_closed_forms(size):
    side = size // 8
    N = side**2
    assert counted("global attention", size) == 12 * N * C**2 + 2 * N**2 * C + 9 * N * C
    assert counted("windows", size) == 12 * N * C**2 + 2 * N * 49 * C + 9 * N * C  # all windows are whole
    # Stripes are 2 tokens wide: half of the channels attend along each side.
    assert counted("local stripes", size) == 12 * N * C**2 + 2 * N * (2 * side) * C + 18 * N * C
    groups = {M: counted(f"GP, M = {M}", size) for M in (16, 64)}
    assert groups[64] - groups[16] == (64 - 16) * (11 * C**2 + 4 * N * C)


@pytest.mark.parametrize("subject", BLOCKS + MODELS, ids=lambda subject: subject.label)
def test_subjects_have_the_tokens_that_they_say(subject):
    if subject.block is not None:
        _, height, width, channels = subject.inputs(224, "meta").shape
        assert (height * width, channels) == (subject.tokens(224), C)
        return
    with torch.device("meta"):
        features = subject.create().forward_features(subject.inputs(224, "meta"))
    assert features.shape[-1] == C
    spatial = features.shape[1:-1].numel() - subject.label.startswith("vit")  # less the class token
    assert spatial == subject.tokens(224)
