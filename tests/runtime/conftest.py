import pytest
from runtime.metadata import CLASSIFIER, DETECTOR, SEGMENTER
from runtime.tiny import write


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """A tiny export of each task, by its name."""
    folder = tmp_path_factory.mktemp("exported")
    return {kind["task"]: write(kind, folder / f"{kind['task']}.onnx") for kind in (CLASSIFIER, SEGMENTER, DETECTOR)}
