"""Run directories: their content and identity; opening, training, measuring, sampling, editing."""

from genjax.runs.measuring import PICTURE, cost, evaluate
from genjax.runs.opening import Loaded, facts, load, on_mesh
from genjax.runs.sampling import Samples, sample
from genjax.runs.training import train

__all__ = ['PICTURE', 'Loaded', 'Samples', 'cost', 'evaluate', 'facts', 'load', 'on_mesh',
           'sample', 'train']
