"""Networks by role, from config.networks, for the families and objectives that use the role."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial

from genjax import extension
from genjax.compat import bind, pick
from genjax.models import FAMILIES
from genjax.nn import NETWORKS, ON_IMAGES, ROLES, SIZES
from genjax.nn.dense import product_dtype
from genjax.objectives import OBJECTIVES
from genjax.types import BadInput, DataSpec, Network

# kind -> smallest side of larger images. At 28 pixels GANs of perceptrons reach a given figure
# sooner, on two cores, and a VAE at 32 in colour; a flow's steps cost the same there, and
# convolutions have 38 times fewer parameters (benchmarks/2026-11-29-convolutions.md)
SIDES = {'to_vector': 64, 'from_vector': 64, 'conditioner': 32}
DEFAULT = {  # kind -> networks for vectors, for images, for larger images
    'to_vector': ('mlp', 'mlp', 'conv'), 'from_vector': ('mlp', 'mlp', 'conv'),
    'conditioner': ('mlp', 'mlp', 'conv'), 'denoiser': ('time_mlp', 'dit'),
    'causal': ('transformer', 'transformer'), 'masked': ('mlp', 'mlp'),
    'patch_causal': ('transformer', 'transformer'), 'ladder': ('ladder', 'ladder')}
# defaults of a role that replace the module's own
SUITED = {
    ('energy', 'mlp'): {'features': (256, 256)},
    ('generator', 'mlp'): {'activation': 'relu'},
    ('conditioner', 'mlp'): {'features': (96, 96), 'residual': True},
    ('dequantiser', 'mlp'): {'features': (96, 96), 'residual': True},
}
# roles that are applied without a random key, hence without dropout
WITHOUT_DROPOUT = ('energy', 'decoder', 'generator', 'velocity', 'masked', 'patch_causal',
                   'conditioner', 'dequantiser')


def roles(*makes: Callable) -> tuple[str, ...]:
  """The roles among the parameters of these make(...) functions."""
  return tuple(role for role in ROLES
               if any(role in inspect.signature(make).parameters for make in makes))


def of_family(family: str, given: Mapping) -> tuple[str, ...]:
  """The roles that a family needs with these keyword arguments.

  Its module may have OPTIONAL = {role: (keyword, the value with which the role is needed)}.
  """
  module = pick('model family', family, FAMILIES)
  optional = getattr(module, 'OPTIONAL', {})
  needed = lambda keyword, value: given.get(keyword) == value
  return tuple(role for role in roles(module.make)
               if role not in optional or needed(*optional[role]))


def of_run(family: str, given: Mapping, objective: str, estimator: str | None) -> tuple[str, ...]:
  """The roles of a family with keyword arguments, and of an objective's estimator (None: any)."""
  estimators = pick('objective', objective, OBJECTIVES).ESTIMATORS
  makes = [estimators[estimator]] if estimator else estimators.values()
  used = {*of_family(family, given), *roles(*(each.make for each in makes))}
  return tuple(role for role in ROLES if role in used)


def taking(keyword: str, networks: Mapping, spec: DataSpec, used: tuple[str, ...]) -> list[str]:
  """The roles in `used` whose networks, for data of this spec, have this keyword."""
  return [role for role in used if keyword in inspect.signature(
      module_of(role, spec, networks[role]['name'])[1]).parameters]


def factories(networks: Mapping, spec: DataSpec) -> dict[str, Callable]:
  """{role: (sizes of the role) -> Network} for data of a spec, from config.networks.

  networks: {role: {'name', 'kw'}}; an empty name or a missing role gets the default for the data.
  The sizes are keyword arguments, by kind:

    to_vector     out
    from_vector   out: number of outputs per element of the spec's shape
    denoiser      out: as above
    causal        out: number of outputs per token
    masked        out: number of outputs per dimension; context: width of vectors that cond holds
                  instead of the data's condition, if given
    patch_causal  shape: the axes over which patches run, then the elements of a patch; out:
                  number of outputs per element
    ladder        out: number of outputs per element of the spec's shape
    conditioner   given, shape: shapes of the given and of the other part; out: number of outputs
                  per element of the other part; otherwise: the network where the config chooses
                  none

  A call raises BadInput for an unknown network, a network that does not suit the data, and a
  keyword that the network does not take.
  """
  return {role: partial(_make, role, spec, **networks.get(role, {'name': '', 'kw': {}}))
          for role in ROLES}


def refuse_strays(networks: Mapping, used: tuple[str, ...], who: str) -> None:
  """Raises BadInput for settings of an unused role; who: family and objective, for messages."""
  for role, section in networks.items():
    pick('role of a network', role, ROLES)
    if role not in used and (section['name'] or section['kw']):
      what = section['name'] or f'{role}.{next(iter(section["kw"]))}'
      raise BadInput(f'networks.{role} is set ({what}), but {who} has no network of that role; '
                     f'allowed: {", ".join(used) or "none"}')


def default(role: str, shape: tuple[int, ...]) -> str:
  """The name of a role's default network for data (a conditioner: a given part) of this shape."""
  kind = ROLES[role]
  of_vectors, of_images, *of_larger = DEFAULT[kind]
  if len(shape) != 3:
    return of_vectors
  # a conditioner's part has half the side of the image
  side = min(shape[:2]) * (2 if kind == 'conditioner' else 1)
  return of_larger[0] if of_larger and side >= SIDES[kind] else of_images


def module_of(role: str, spec: DataSpec, name: str, shape: tuple[int, ...] | None = None):
  """(name, class) of a role's network; name '': the default for the data.

  spec: of the data; shape: of a conditioner's given part. Raises BadInput for an unknown name, and
  for a network of images on other data.
  """
  kind, of = ROLES[role], shape or spec.shape
  name = name or default(role, of)
  module = pick(f'network of the role {role}', name, NETWORKS[kind])
  if name in ON_IMAGES and len(of) != 3:
    more = ', or model.split=checkerboard on images' if role == 'conditioner' else ''
    raise BadInput(f'network {name!r} of the role {role} needs images, not shape {of}; allowed: '
                   f'{", ".join(each for each in NETWORKS[kind] if each not in ON_IMAGES)}{more}')
  return name, module


def _make(role: str, spec: DataSpec, **settings) -> Network:
  """The network of a role at these sizes."""
  return of_module(bound(role, spec, **settings), stepped=ROLES[role] in ('causal', 'patch_causal'))


def bound(role: str, spec: DataSpec, *, name: str, kw: Mapping, out: int,
          shape: tuple[int, ...] | None = None, given: tuple[int, ...] | None = None,
          context: int | None = None, otherwise: str = ''):
  """The flax module of a role, its fields set; settings and errors as for `factories`."""
  kind = ROLES[role]
  name, module = module_of(role, spec, name or otherwise, given)
  sizes = {**dict.fromkeys(SIZES), 'out': out, 'levels': spec.levels,
           'shape': (shape or spec.shape) if kind not in ('to_vector', 'denoiser') else None,
           'num_classes': 0 if context else spec.num_classes or 0,
           'context': context or spec.context or 0, 'zero_out': kind in ('masked', 'conditioner'),
           **({'dropout': 0.0} if role in WITHOUT_DROPOUT else {})}
  chosen = {**SUITED.get((role, name), {}),
            **{key: tuple(value) if isinstance(value, list) else value
               for key, value in kw.items()}}
  if 'dtype' in chosen:
    chosen['dtype'] = product_dtype(chosen['dtype'])
  others = {f'network {other!r}': each for other, each in NETWORKS[kind].items()}
  return bind(f'network {extension.stem(name)!r} of the role {role}', module, sizes, chosen, others)


def of_module(module, stepped: bool = False) -> Network:
  """A flax module as a Network; stepped: with `start`, `step` and, if it has one, `grow`.

  `writes` is always empty, since no module here has running statistics.
  """

  def init(rng, *inputs):
    return module.init(rng, *inputs)['params']

  def apply(params, *inputs, rng=None, train=False):
    del train
    rngs = {} if rng is None else {'dropout': rng}
    return module.apply({'params': params}, *inputs, deterministic=rng is None, rngs=rngs), {}

  if not stepped:
    return Network(init, apply)
  return Network(
      init, apply,
      start=lambda params, *args: module.apply({'params': params}, *args, method='start'),
      step=lambda params, *args: module.apply({'params': params}, *args, method='step'),
      grow=getattr(module, 'grow', None))
