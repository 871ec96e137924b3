"""What runs compute from the golden parameters is what they computed when these were written."""

import pathlib

import pytest

from tests.golden import compare, record

FILES = pathlib.Path(__file__).with_name('files')
FAST = ('gaussian-exact', 'vae-plane')
PAIRS = ('mixture-gaussians', 'vae-bound', 'flow-spline', 'ebm-contrastive_divergence',
         'implicit-js', 'implicit-sinkhorn', 'autoregressive-exact', 'diffusion-denoising',
         'diffusion-mean_flow')


@pytest.mark.parametrize('name', [*FAST, *(pytest.param(name, marks=pytest.mark.slow)
                                           for name in PAIRS)])
def test_losses_gradients_samples_and_steps_have_not_moved(name):
  golden = record.of_golden(FILES, name)
  groups = record.grouped(record.of_pair(name, golden))
  found = compare.compare(name, golden, groups)
  assert {group: value for group, value in found.items() if value > compare.BOUNDS[group]} == {}
