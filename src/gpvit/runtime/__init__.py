"""Exported files, read and run with numpy, Pillow and ONNX Runtime alone: neither torch nor timm is needed."""
