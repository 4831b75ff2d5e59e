"""The paper's tables, figures, scaling study and experiments, built again: python -m studies."""
