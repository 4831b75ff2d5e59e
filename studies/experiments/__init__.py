"""Backbones trained side by side at an equal budget: does group propagation do what it is for?"""

from studies.experiments.exchange import EXCHANGE
from studies.experiments.experiment import Experiment
from studies.experiments.keys import KEYS

EXPERIMENTS: dict[str, Experiment] = {experiment.name: experiment for experiment in (EXCHANGE, KEYS)}
"""The experiments by name."""
