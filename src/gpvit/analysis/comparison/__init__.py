"""Backbones trained side by side at an equal budget: does group propagation do what it is for?"""

from gpvit.analysis.comparison.exchange import EXCHANGE
from gpvit.analysis.comparison.experiment import Experiment
from gpvit.analysis.comparison.keys import KEYS

EXPERIMENTS: dict[str, Experiment] = {experiment.name: experiment for experiment in (EXCHANGE, KEYS)}
"""The experiments by name."""
