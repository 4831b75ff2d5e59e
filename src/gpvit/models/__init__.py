"""Networks: architecture only. Losses, optimisers and data live elsewhere."""
