"""Exported files, read and run with numpy, Pillow and ONNX Runtime alone: neither torch nor timm is needed."""

from gpvit import lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {"Metadata": ".metadata", "Predictor": ".predictor", "Session": ".sessions", "open_session": ".sessions"},
)
