"""The paper's tables, figures, scaling study and experiments, built again: python -m studies."""

from studies import blocks  # noqa: F401  the blocks of the comparisons are known wherever a study is
