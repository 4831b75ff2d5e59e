"""Settings for all tests, and what several folders of them share."""

import os

import pytest

# One test process a core: threads of several processes that wait for each other would take many times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def _seed(monkeypatch) -> None:
    import torch  # not before the number of threads is set

    torch.manual_seed(0)
    # Loader processes that an error or a cycle of references left are waited for at their collection, 5 s each.
    torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL = 0.5
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)  # that of a run in an earlier test


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """The path of a tiny export of each task, by its name."""
    from runtime.metadata import CLASSIFIER, DETECTOR, SEGMENTER
    from runtime.tiny import write

    folder = tmp_path_factory.mktemp("exported")
    return {kind["task"]: write(kind, folder / f"{kind['task']}.onnx") for kind in (CLASSIFIER, SEGMENTER, DETECTOR)}
