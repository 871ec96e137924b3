"""Split over 64 devices, no network computes more than on one: activations keep their examples."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CASES = ('implicit', 'vae', 'flow', 'ebm', 'implicit_conv', 'vae_conv', 'flow_conv', 'ebm_conv',
         'autoregressive', 'pixelcnn', 'time_mlp', 'dit', 'dit_scan', 'unet',
        'unet_remat', 'ddim', 'encoder')


@pytest.mark.slow
def test_devices_together_compute_what_one_would():
  done = subprocess.run([sys.executable, '-m', 'tests.nn.sharded_flops', *CASES], cwd=ROOT,
                        env={**os.environ, 'JAX_PLATFORMS': 'cpu'}, capture_output=True,
                        text=True, timeout=1800)
  assert done.returncode == 0, done.stderr
  found = [json.loads(line) for line in done.stdout.splitlines()]
  assert len(found) == 2 * len(CASES)
  # far below 1, the count itself would be wrong
  assert not [row for row in found if not 0.9 < row['ratio'] <= 1.05]
