"""The paper's tables, built again: our figures beside the published ones."""
