import pytest
import torch

from gpvit.devices import choose_device


def test_device_is_chosen_or_refused():
    expected = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    assert choose_device() == expected
    assert choose_device("cpu") == torch.device("cpu")
    for wrong in ("toaster", "cuda:99"):
        with pytest.raises(ValueError, match=f"{wrong}.*choose 'cpu'"):
            choose_device(wrong)
