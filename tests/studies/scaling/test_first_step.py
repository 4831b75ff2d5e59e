import sys

import pytest

from studies.scaling.first_step import measure_first_step
from studies.scaling.subjects import BLOCKS, DIM, Subject


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the memory of a process")
def test_memory_of_a_step_is_what_its_tensors_take():
    stripes = next(block for block in BLOCKS if block.label == "local stripes")
    step = measure_first_step(stripes, 784, "float32", "cpu")
    tensor = stripes.tokens(784) * DIM * 4
    # Queries, keys and values of one direction at once, the result of the other, and the tokens themselves.
    assert 3 * tensor < step.memory < 7 * tensor
    assert step.seconds > 0


def test_lack_of_memory_is_told():
    with pytest.raises(MemoryError, match="gpvit_nano at 4194304 px does not fit"):
        measure_first_step(Subject("gpvit_nano"), 2**22, "float32", "cpu")


def test_other_failures_are_told_apart_from_it():
    with pytest.raises(RuntimeError, match=r"nonsense at 64 px failed(?s:.*)unknown kind of block 'nonsense'"):
        measure_first_step(Subject("nonsense", {"kind": "nonsense"}), 64, "float32", "cpu")
