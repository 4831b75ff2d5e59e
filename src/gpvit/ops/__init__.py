"""Functions on tensors: windows and attention. Nothing here holds parameters."""
