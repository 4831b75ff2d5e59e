"""Where to compute."""

import torch


def choose_device(device: str | torch.device | None = None) -> torch.device:
    """Return the device asked for, or else the accelerator of this machine, or else the CPU.

    Raises:
        ValueError: If there is no such device here.
    """
    if device is None:
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:  # torch built without a device's support asserts
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {str(device)!r} cannot be used here: {reason}; choose 'cpu'") from error
