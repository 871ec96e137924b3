"""Networks by role: defaults by data, refusals that teach, every network in every role."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import defaults
from genjax import configs, nn, wiring
from genjax.models import FAMILIES
from genjax.objectives import adversarial
from genjax.types import BadInput, DataSpec
from genjax.wiring import networks
from tests.networks import family, jit, moved

PLANE, DIGITS = DataSpec((2,), None, None), DataSpec((8, 8, 1), 17, 10)
LARGE = DataSpec((64, 64, 3), 17, 10)
SMALL = {'mlp': {'features': (8,)}, 'conv': {'width': 8}, 'time_mlp': {'width': 8},
         'dit': {'width': 8, 'num_heads': 2, 'num_blocks': 1},
         'unet': {'width': 8, 'num_heads': 2, 'num_blocks': 1, 'multipliers': (1,)},
         'transformer': {'width': 8, 'num_heads': 2, 'num_blocks': 1},
         'pixelcnn': {'width': 8, 'num_blocks': 1}, 'made': {'features': (8,)}}
OF_ANY_SHAPE = ('masked', 'patch_causal')  # kinds that see dimensions one after another, as vectors


@pytest.mark.parametrize(('spec', 'names'), [
    (PLANE, ('mlp', 'mlp', 'time_mlp')), (DIGITS, ('mlp', 'mlp', 'dit')),
    (DataSpec((32, 32, 3), 256, 10), ('mlp', 'mlp', 'dit')), (LARGE, ('conv', 'conv', 'dit'))])
def test_defaults_by_data(spec, names):
  found = [networks.default(role, spec.shape) for role in ('critic', 'decoder', 'denoiser')]
  assert tuple(found) == names
  assert networks.default('causal', spec.shape) == 'transformer'
  # a conditioner sees one half of the pixels, at half the side
  assert networks.default('conditioner', (16, 16, 6)) == 'conv'
  assert networks.default('conditioner', (14, 14, 2)) == 'mlp'


def test_roles_are_of_kinds_and_no_role_is_a_section():
  assert set(nn.ROLES.values()) <= set(nn.NETWORKS)
  assert not set(nn.ROLES) & {key for key in defaults.get() if key != 'networks'}
  for kind, table in nn.NETWORKS.items():
    assert set(table) & set(nn.ON_IMAGES) or kind in OF_ANY_SHAPE, f'{kind}: none for images'
    # the ladder's family refuses other data itself
    assert set(table) - set(nn.ON_IMAGES) or kind == 'ladder', f'{kind}: none for vectors'
    for role in (role for role, of in nn.ROLES.items() if of == kind):
      assert set(networks.DEFAULT[nn.ROLES[role]]) <= set(table)


def inputs(role, spec, sizes):
  """What a network of this role is called with, 2 examples, and the shape that it returns."""
  x, out = jnp.ones((2, *spec.shape)), sizes['out']
  return {
      'to_vector': ((x,), (2, out)),
      'from_vector': ((jnp.ones((2, 5)),), (2, *spec.shape, out)),
      'denoiser': ((x, jnp.ones(2)), (2, *spec.shape, out)),
      'causal': ((jnp.zeros((2, int(np.prod(spec.shape))), jnp.int32),),
                 (2, int(np.prod(spec.shape)), out)),
      'patch_causal': ((jnp.ones((2, 6, 4)),), (2, 6, 4, out)),
      'masked': ((x.reshape(2, -1),), (2, x[0].size, out)),
      'conditioner': ((jnp.ones((2, *sizes.get('given', ()))),), (2, *sizes.get('shape', ()), out)),
  }[nn.ROLES[role]]


def cases():
  for role, kind in nn.ROLES.items():
    if kind == 'ladder':  # called with functions of its family: tests/models/test_ladder.py
      continue
    for name in nn.NETWORKS[kind]:
      for data in ('images',) if name in nn.ON_IMAGES else ('images', 'vectors'):
        yield pytest.param(role, name, data, id=f'{role}-{name}-{data}')


@pytest.mark.parametrize(('role', 'name', 'data'), cases())
def test_every_network_plays_every_role_of_its_kind(role, name, data):
  spec = LARGE if data == 'images' else DataSpec((6,), 5, 10)
  sizes = {'out': 3}
  if nn.ROLES[role] == 'conditioner':
    sizes |= {'given': (8, 8, 6), 'shape': (8, 8, 6)} if data == 'images' else {
        'given': (4,), 'shape': (2,)}
  if role == 'patch_causal':
    sizes['shape'] = (2, 3, 4)
  make = networks.factories({role: {'name': name, 'kw': SMALL[name]}}, spec)[role]
  net = make(**sizes)
  args, shape = inputs(role, spec, sizes)
  params = jax.eval_shape(net.init, jax.random.key(0), *args, None)
  out, writes = jax.eval_shape(
      lambda params: net.apply(params, *args, jnp.array([0, 10]), rng=jax.random.key(1),
                               train=True), params)
  assert (out.shape, out.dtype, writes) == (shape, jnp.float32, {})
  assert (net.start is not None) == (net.step is not None) == ('causal' in nn.ROLES[role])


@pytest.mark.parametrize(('role', 'section', 'words'), [
    ('decoder', {'name': 'cnov'}, r"'cnov' \(did you mean 'conv'\?\); allowed: mlp, conv"),
    ('decoder', {'kw': {'fetures': (8,)}}, r"'mlp' of the role decoder takes no 'fetures' "
                                            r"\(did you mean 'features'\?\)"),
    ('decoder', {'kw': {'width': 8}}, r"takes no 'width' \(a keyword of network 'conv'\)"),
    ('decoder', {'kw': {'out': 8}}, "takes no 'out'"),
    ('decoder', {'kw': {'num_classes': 8}}, "takes no 'num_classes'"),
    ('decoder', {'kw': {'dropout': 0.1}}, "takes no 'dropout'"),
    ('critic', {'kw': {'dropout': 1.5}}, r'dropout=1\.5'),
    ('critic', {'kw': {'features': 'wide'}}, "features='wide' is of type str"),
    ('critic', {'kw': {'dtype': 'half'}}, "'half'"),
    ('critic', {'name': 'conv', 'spec': PLANE}, r'needs images, not shape \(2,\); allowed: mlp'),
    ('denoiser', {'name': 'unet', 'spec': PLANE}, r'\(2,\); allowed: time_mlp'),
    ('causal', {'name': 'pixelcnn', 'spec': PLANE}, r'shape \(2,\); allowed: transformer, made'),
    ('conditioner', {'name': 'conv'}, r'\(4,\); allowed: mlp, or model.split=checkerboard')])
def test_what_does_not_fit_is_refused_before_an_array_exists(role, section, words):
  section = dict(section)
  spec = section.pop('spec', DIGITS)
  sizes = {'given': (4,), 'shape': (4,)} if role == 'conditioner' else {}
  with pytest.raises(BadInput, match=words):
    networks.factories({role: {'name': '', 'kw': {}, **section}}, spec)[role](out=1, **sizes)


def config_of(argument):
  return configs.load(f'configs/digits.py:{argument}')


@pytest.mark.parametrize(('argument', 'words'), [
    ('family=implicit,objective=adversarial,decoder.features=(8,)',
     r"networks.decoder is set \(decoder.features\), but model 'implicit' under objective "
     r"'adversarial' \(critic\) .*allowed: generator, critic"),
    ('family=implicit,objective=wasserstein,estimator=sinkhorn,critic=conv',
     r"networks.critic is set \(conv\).*sinkhorn"),
    ('family=mixture,energy=mlp', 'networks.energy.*allowed: none'),
    ('family=mixture,conditional=True', "conditional=True, but model 'mixture' has no network"),
    ('family=vae,model.width=8', r"model 'vae' takes no 'width' \(a keyword of .*posterior=conv")])
def test_a_role_that_nobody_plays_is_refused(argument, words):
  with pytest.raises(BadInput, match=words):
    wiring.run(config_of(argument))


def test_conditional_is_a_fact_of_the_spec():
  shape = lambda argument: wiring.abstract_state(c := config_of(argument), wiring.run(c)).params
  with_labels = shape('family=implicit,objective=adversarial,conditional=True')
  for player in ('model', 'critic'):
    assert with_labels[player]['cond']['table'].shape == (11, 32)
    assert 'cond' not in shape('family=implicit,objective=adversarial')[player]
  config = configs.load('configs/toy2d.py:conditional=True')
  with pytest.raises(BadInput, match='conditional=True, but the data have no labels'):
    wiring.run(config)


def test_the_settings_of_rematerialisation_are_those_of_networks_that_have_it():
  settings = wiring.remat_settings(config_of('family=diffusion,objective=kl'), DIGITS, True)
  assert settings == {'networks.denoiser.kw.remat': True}
  assert wiring.remat_settings(config_of('family=vae'), DIGITS, True) == {}
  config = config_of('family=vae,posterior=conv,decoder=conv')
  assert wiring.remat_settings(config, DIGITS, True) == {
      'networks.posterior.kw.remat': True, 'networks.decoder.kw.remat': True}
  assert wiring.remat_settings(config, DIGITS, False) == {}  # it is off already
  config.unlock()
  config.networks.decoder.kw.remat = True
  assert wiring.remat_settings(config, DIGITS, False) == {'networks.decoder.kw.remat': False}
  config.networks.decoder.kw = {'dtype': 'bfloat16'}
  assert wiring.model_dtype(config) == jnp.bfloat16


@pytest.mark.slow
@pytest.mark.parametrize(('name', 'used', 'kw'), [
    ('vae', {'posterior': ('conv', {'width': 8}), 'decoder': ('conv', {'width': 8})},
     {'latent_dim': 3}),
    ('implicit', {'generator': ('conv', {'width': 8})}, {'latent_dim': 3}),
    ('ebm', {'energy': ('conv', {'width': 8})}, {'sampler_steps': 2}),
    ('flow', {'conditioner': ('conv', {'width': 8, 'num_blocks': 1})},
     {'num_couplings': 2, 'split': 'checkerboard'}),
    ('autoregressive', {'causal': ('pixelcnn', {'width': 8, 'num_blocks': 1})}, {})])
def test_families_take_images_and_vectors_for_conditions(name, used, kw):
  """With convolutions, conditioned on vectors: the condition is heard, none of it is no NaN."""
  spec = DataSpec((8, 8, 1), 17, None, 4)
  model = family(name, spec, used, conditional=True, **kw)
  x = jnp.linspace(-1.0, 1.0, 3 * 64).reshape(3, 8, 8, 1)
  batch = {'x': x, 'cond': jnp.eye(4)[:3]}
  params = moved(jax.jit(model.init)(jax.random.key(0), batch))
  draw = jit(lambda cond: model.sample(params, jax.random.key(1), 3, cond)[0])
  one, other, none = (draw(cond) for cond in (
      batch['cond'], batch['cond'][::-1], jnp.full((3, 4), jnp.nan)))
  assert one.shape == x.shape and jnp.abs(one - other)[0].max() > 1e-4
  np.testing.assert_allclose(none, draw(None), atol=1e-5)
  assert jnp.isfinite(none).all()


@pytest.mark.slow
def test_a_critic_is_asked_for_one_number():
  made = networks.factories({}, LARGE)
  model = FAMILIES['implicit'].make(LARGE, made['generator'])
  objective = adversarial.by_critic(model, made['critic'], spec=LARGE, gradient_penalty=1.0)
  batch = {'x': jnp.ones((2, *LARGE.shape)), 'cond': jnp.array([0, 1])}
  params, carry = jax.eval_shape(objective.init, jax.random.key(0), batch)
  loss = lambda p: objective.players[0].loss(p, carry, batch, jax.random.key(1), 0)[0]
  assert jax.eval_shape(jax.grad(loss), params)['critic'].keys() == params['critic'].keys()
