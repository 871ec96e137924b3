"""Compiling for a pod that is not there: refusals and arithmetic here, libtpu in the slow tier."""

import importlib.util
import json
import subprocess
import sys
import types

import jax
import pytest

from configs import defaults
from experiments import pod
from genjax import data, sharding, wiring
from genjax.pod import topology
from genjax.train import step
from tests import programs

CONFIG = '--config=configs/digits.py:family=diffusion,objective=score_matching'
HAS_LIBTPU = importlib.util.find_spec('libtpu') is not None
needs_libtpu = pytest.mark.skipif(not HAS_LIBTPU, reason=f'libtpu: {topology.INSTALL}')
V5E = topology.named('v5e:4x4')


def config_of(**settings):
  config = defaults.get()
  config.model.family, config.objective.name = 'diffusion', 'score_matching'
  config.batch_size, config.log.every = 256, 10
  return pod.changed(config, settings)


def declared():
  return data.declared('digits')


@pytest.mark.parametrize('arguments, words', (
    (('--topology=v5e:32x32',), ("'v5e:32x32' is not sold", 'v5e: 2x2 2x4 4x4')),
    (('--topology=v5p:4x4x4', '--num_slices=2'), ('num_slices=2', 'allowed: 1 ')),
    ((), ('--topology=GENERATION:SHAPE must be given', 'v6e:16x16')),
    (('--topology=v5e:4x4', '--fsdp=3'), ('fsdp=3', '16 devices')),
    (('--topology=v5e:16x16',), ('batch_size=64', '256 devices', 'multiples of 256')),
    (('--topology=v5e:4x4', '--rate=-1'), ('--rate',)),
))
def test_refusals_need_no_compiler(arguments, words):
  programs.refused(programs.run('experiments.compile', CONFIG, *arguments), *words)


def test_a_fit_in_closed_form_has_no_step():
  done = programs.run('experiments.compile', '--config=configs/digits.py:family=gaussian',
                      '--topology=v5e:4x4')
  programs.refused(done, 'no step to compile')


@pytest.mark.skipif(HAS_LIBTPU, reason='libtpu is here')
def test_without_libtpu_one_line_says_what_to_install():
  done = programs.run('experiments.compile', CONFIG, '--topology=v5e:4x4')
  said = programs.refused(done, 'pip install -r requirements-tpu.txt')
  assert said.count('\n') == 1


MADE = {'hardware_flops': 16 * 197e10, 'compiled_flops': 1.0, 'model_flops': 16 * 98.5e10,
        'steps': 3600, 'hbm_bytes': 819e7, 'sent_bytes': {'data': {'ici': 200e7, 'dcn': 0.0},
                                                          'fsdp': {'ici': 400e7, 'dcn': 0.0}}}


def test_time_and_price_are_those_of_the_slowest():
  """v5e: 197e12 FLOP/s, 819e9 bytes/s of memory, 200e9 of links; 16 chips."""
  links = pod.priced(MADE, V5E, 2.0)
  assert links['roofline'] == pytest.approx({'products': 0.01, 'hbm': 0.01, 'ici': 0.03, 'dcn': 0})
  assert links['bound'] == 'ici' and links['step_seconds'] == pytest.approx(0.03)
  assert links['hours'] == pytest.approx(0.03) and links['dollars'] == pytest.approx(0.96)
  assert links['most_mfu'] == pytest.approx(0.5 * 0.01 / 0.03)
  memory = pod.priced({**MADE, 'hbm_bytes': 819e9}, V5E, 2.0)
  assert memory['bound'] == 'hbm' and memory['step_seconds'] == pytest.approx(1.0)
  # a device that multiplies more than its share: the compiler says so
  products = pod.priced({**MADE, 'compiled_flops': 197e12}, V5E, 2.0)
  assert products['bound'] == 'products' and products['most_mfu'] == pytest.approx(0.005)


FITS = {'fits': True, 'peak_memory': 7}


@pytest.mark.parametrize('enough, expected', (
    (lambda c: c.mesh.fsdp >= 4 or c.accumulate >= 8,
     [{'mesh.fsdp': 4}, {'accumulate': 8}]),
    (lambda c: c.networks.denoiser.kw.get('remat'), [{'networks.denoiser.kw.remat': True}]),
    (lambda c: c.networks.denoiser.kw.get('remat') and c.mesh.fsdp >= 4,
     [{'networks.denoiser.kw.remat': True, 'mesh.fsdp': 4}]),
    (lambda c: c.mesh.fsdp >= 4 and c.accumulate >= 2,
     [{'mesh.fsdp': 16, 'accumulate': 2}]),
    (lambda c: c.networks.denoiser.kw.get('remat') and c.mesh.fsdp >= 16 and c.accumulate >= 16,
     [{'networks.denoiser.kw.remat': True, 'mesh.fsdp': 16, 'accumulate': 16}]),
    (lambda c: False, []),
))
def test_the_first_remedy_of_each_kind_then_of_kinds_together(monkeypatch, enough, expected):
  tried = []

  def attempt(config, declared, devices, level):
    tried.append((config, level))
    return FITS if enough(config) else {'fits': False}

  monkeypatch.setattr(pod, 'attempt', attempt)
  found = pod.remedies(config_of(), declared(), V5E, None)
  assert [r['settings'] for r in found] == expected
  assert all(level == 'O0' for _, level in tried)
  for config, _ in tried:  # only what the pod can share was tried
    assert config.mesh.fsdp <= 16 and 256 // config.accumulate % 16 == 0


def test_what_the_config_has_already_is_no_remedy():
  config = config_of(**{'networks.denoiser.kw.remat': True, 'mesh.fsdp': 4, 'accumulate': 4})
  allowed = [s for kind in pod.KINDS.values() for s in kind
             if pod.is_allowed(config, declared(), V5E, s)]
  assert allowed == [{'mesh.fsdp': 16}, {'accumulate': 8}, {'accumulate': 16}]


def test_an_error_that_is_no_lack_of_memory_is_not_hidden(monkeypatch):
  def compile():
    raise jax.errors.JaxRuntimeError('INVALID_ARGUMENT: unknown')

  monkeypatch.setattr(step, 'lower_step', lambda *_: types.SimpleNamespace(compile=compile))
  with pytest.raises(jax.errors.JaxRuntimeError, match='INVALID_ARGUMENT'):
    pod.attempt(config_of(), declared(), jax.devices(), 'full')


def test_the_lowered_step_is_that_of_training():
  """On a device of this machine: five raw batches go in, and the state is given away."""
  config = config_of(steps_per_dispatch=5)
  run = wiring.run(config, declared())
  lowered = step.lower_step(
      *wiring.dispatched(config, run, sharding.make_mesh(1, jax.devices()[:1])))
  assert 'tensor<5x256x8x8x1xui8>' in lowered.as_text()
  assert 'tf.aliasing_output' in lowered.as_text() or 'jax.buffer_donor' in lowered.as_text()


def test_what_a_pod_is_told_of_its_step():
  """Figures of a compiled cell, as the table of pods shows them."""
  made = {'what': 'x', 'where': 'v5e:4x4', 'chips': 256, 'level': 'O0', 'steps_per_dispatch': 1,
          'compile_seconds': 1.0, 'limit_gib': 15.75, 'fits': True, 'peak_memory': 2**30, 'code': 0,
          'collectives': {}, 'examples_of_a_device': 1.0, **MADE}
  made.update(pod.priced(made, V5E, 2.0))
  code = ('import json, sys\nfrom benchmarks import pods\n'  # a program, whose flags are its own
          "cell = pods.Cell('imagenet64', 256, 'v5e:16x16', 1, 'O0', 256, 256, 'key')\n"
          'row = pods.row(cell, json.loads(sys.argv[1]))\nassert set(row) == set(pods.COLUMNS)\n'
          'print(json.dumps(row))')
  done = subprocess.run([sys.executable, '-c', code, json.dumps(made)], cwd=programs.ROOT,
                        capture_output=True, text=True)
  shown = json.loads(done.stdout)
  assert (shown['examples a chip'], shown['bound by']) == ('1', 'ici'), done.stderr
  assert (shown['least s a step'], shown['least $ a job']) == ('0.03', '1')


def test_unknown_cells_of_the_sweep_are_refused():
  for flag in ('--only=imagenet', '--chips=17'):
    done = programs.run('benchmarks.pods', '--out=/nonexistent', '--print', flag)
    programs.refused(done, flag.partition('=')[2], 'allowed')


@pytest.mark.slow
@needs_libtpu
def test_a_small_transformer_fits_a_small_pod(tmp_path):
  path = tmp_path / 'figures.json'
  done = programs.run('experiments.compile', CONFIG, '--topology=v5e:4x4', '--fsdp=4',
                      '--level=O0', f'--json={path}')
  assert done.code == 0, done.stderr
  made = json.loads(path.read_text())
  assert made['fits'] and made['chips'] == made['devices'] == 16
  assert 0 < made['arguments'] < made['peak_memory'] < 2**30
  assert made['model_flops'] == made['hardware_flops'] > 1e9
  # every chip has examples of its own: their gradients are summed
  assert {'all-reduce', 'reduce-scatter'} & set(made['collectives'])
  assert 'assumed' in done.stdout and 'GiB of 15.75 GiB' in done.stdout
  assert made['examples_of_a_device'] == 4 and '4 example(s) at once on a device' in done.stdout
  # on four examples a chip waits for its links, not for its products
  assert made['bound'] == 'ici' and made['most_mfu'] < 0.02 and set(made['sent_bytes']) >= {
      'data', 'fsdp'}


@pytest.mark.slow
@needs_libtpu
def test_what_is_too_large_is_refused_with_what_makes_it_fit(tmp_path):
  path = tmp_path / 'figures.json'
  done = programs.run(
      'experiments.compile', CONFIG, '--topology=v5e:4x4', '--level=O0', f'--json={path}',
      '--config.networks.denoiser.kw.width=4096', '--config.networks.denoiser.kw.num_blocks=24',
      '--config.networks.denoiser.kw.scan=True', '--config.networks.denoiser.kw.num_heads=16')
  programs.refused(done, 'does not fit v5e:4x4', 'available are 15.75 GiB',
                   'fits with --config.mesh.fsdp=16')
  made = json.loads(path.read_text())
  assert not made['fits'] and made['needed_gib'] > made['available_gib'] == 15.75
  assert made['remedies'][0]['settings'] == {'mesh.fsdp': 16}
