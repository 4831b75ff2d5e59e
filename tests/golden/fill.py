"""A value for every weight, and test images, from names alone.

Only integers and IEEE float64 ``+ - * /`` and ``sqrt`` are used, so that the values are the same, bit for bit, in every
version of numpy on every machine. README.md states the rule.
"""

import hashlib
import math

import numpy as np

_GOLDEN_RATIO = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLIERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_SQRT3 = 1.7320508075688772


def uniform(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers in [0, 1): the upper 24 bits of splitmix64, seeded with the hash of the name."""
    seed = np.uint64(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little"))
    with np.errstate(over="ignore"):  # arithmetic modulo 2**64 is meant
        state = seed + np.arange(1, math.prod(shape) + 1, dtype=np.uint64) * _GOLDEN_RATIO
        state = (state ^ (state >> np.uint64(30))) * _MULTIPLIERS[0]
        state = (state ^ (state >> np.uint64(27))) * _MULTIPLIERS[1]
        state = state ^ (state >> np.uint64(31))
    return ((state >> np.uint64(40)).astype(np.float64) / 2**24).reshape(shape)


def noise(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Uniform numbers of mean 0 and variance 1."""
    return (2.0 * uniform(name, shape) - 1.0) * _SQRT3


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Fill one entry of the authors' state dict.

    Args:
        name: The authors' name of the entry in the whole model, as ``backbone.layers.0.qkv.weight``.
        shape: Its shape.
    """
    leaf = name.rpartition(".")[2]
    fan_in = math.prod(shape[1:])
    match leaf:
        case "num_batches_tracked":
            return np.zeros(shape, np.int64)
        case "running_mean":
            values = 0.1 * noise(name, shape)
        case "running_var":
            values = 1.0 + 0.3 * (2.0 * uniform(name, shape) - 1.0)
        case "gamma":
            values = 0.5 + 0.2 * noise(name, shape)
        case "pos_embed" | "level_embed":
            values = 0.5 * noise(name, shape)
        case "group_token":
            values = noise(name, shape)
        case "bias" if name.endswith("sampling_offsets.bias"):
            values = 1.5 * noise(name, shape)
        case "weight" if name.endswith("sampling_offsets.weight"):
            values = 0.5 * noise(name, shape) / np.sqrt(float(fan_in))
        case "bias" if len(shape) == 1:
            values = 0.05 * noise(name, shape)
        case "weight" if len(shape) == 1:
            values = 1.0 + 0.1 * noise(name, shape)
        case "weight" if len(shape) > 1:
            values = noise(name, shape) / np.sqrt(float(fan_in))
        case _:
            raise ValueError(f"no rule for {name} of shape {shape}")
    return values.astype(np.float32)


def image(tag: str, shape: tuple[int, int, int, int]) -> np.ndarray:
    """Make a batch of normalised RGB images ``(B, 3, height, width)``: a colour gradient under noise."""
    batch, channels, height, width = shape
    x = (2.0 * (np.arange(width, dtype=np.float64) + 0.5) / width - 1.0)[None, None, None, :]
    y = (2.0 * (np.arange(height, dtype=np.float64) + 0.5) / height - 1.0)[None, None, :, None]
    along_x = np.array([1.0, -0.5, 0.25])[None, :, None, None]
    along_y = np.array([-0.5, 1.0, 0.5])[None, :, None, None]
    grain = noise(f"image/{tag}/{batch}x{channels}x{height}x{width}", shape)
    return (along_x * x + along_y * y + 0.7 * grain).astype(np.float32)


def digest(array: np.ndarray) -> str:
    """Fingerprint of an array's values, to tell that two are equal bit for bit."""
    little_endian = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"))
    return hashlib.sha256(little_endian.tobytes()).hexdigest()[:16]


def summary(array: np.ndarray) -> np.ndarray:
    """Mean, standard deviation, mean magnitude, smallest and largest value of an array."""
    array = np.asarray(array, np.float64)
    return np.array([array.mean(), array.std(), np.abs(array).mean(), array.min(), array.max()])
