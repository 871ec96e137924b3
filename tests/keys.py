"""Which keys of a traced program serve two purposes: read from its jaxpr."""

import collections

import jax
from jax.extend.core import ClosedJaxpr, Literal

USES = {'random_fold_in': 'fold', 'random_bits': 'draw'}


def served_twice(function, *args) -> list[str]:
  """One line for each key that function(*args) both splits and folds, or splits or draws twice.

  Equal splits of a key are one: they give the same keys, whose own uses are counted.
  """
  closed = jax.make_jaxpr(function)(*args)
  uses = collections.defaultdict(collections.Counter)
  _walk(closed.jaxpr, [('argument', i) for i in range(len(closed.jaxpr.invars))], uses)
  return [f'{origin}: {dict(used)}' for origin, used in uses.items()
          if len(used) > 1 or used['draw'] > 1]


def _is_key(atom) -> bool:
  return jax.dtypes.issubdtype(atom.aval.dtype, jax.dtypes.prng_key)


def _walk(jaxpr, origins: list, uses) -> list:
  """Origins of the results of a jaxpr, given those of its arguments; fills uses."""
  known = dict(zip(jaxpr.invars, origins, strict=True))

  def origin(atom):
    return repr(atom.val) if isinstance(atom, Literal) else known.setdefault(atom, (id(atom),))

  for eqn in jaxpr.eqns:
    name, inputs = eqn.primitive.name, [origin(atom) for atom in eqn.invars]
    keys = [origin for origin, atom in zip(inputs, eqn.invars, strict=True) if _is_key(atom)]
    if name == 'random_split' and keys:
      uses[keys[0]][f'split {eqn.params["shape"]}'] = 1
    elif name in USES and keys:
      uses[keys[0]][USES[name]] += 1
    bodies = _bodies(eqn)
    if name == 'scan':
      inputs = [('each of', origin) if inner.aval.ndim < atom.aval.ndim else origin for
                origin, atom, inner in zip(inputs, eqn.invars, bodies[0].invars, strict=True)]
    if name == 'cond':
      branches = [collections.defaultdict(collections.Counter) for _ in bodies]
      results = [_walk(body, inputs[1:], of) for body, of in zip(bodies, branches, strict=True)]
      for key in {key for of in branches for key in of}:  # one branch alone runs
        for use in {use for of in branches for use in of[key]}:
          uses[key][use] += max(of[key][use] for of in branches)
      outputs = [(name, id(eqn), *of) for of in zip(*results, strict=True)]
    elif name == 'while':
      first = eqn.params['cond_nconsts']
      outputs = _walk(bodies[0], inputs[first:], uses)
    elif bodies:
      body = bodies[0]
      outputs = _walk(body, inputs[len(inputs) - len(body.invars):], uses)
    else:
      shape = {k: v for k, v in eqn.params.items() if k not in ('sharding', 'out_sharding')}
      outputs = [(name, *inputs, repr(shape), i) for i in range(len(eqn.outvars))]
    known.update(zip(eqn.outvars, outputs, strict=True))
  return [origin(atom) for atom in jaxpr.outvars]


def _bodies(eqn) -> list:
  """The jaxprs that an equation runs, of a loop its body alone."""
  if eqn.primitive.name == 'while':
    return [eqn.params['body_jaxpr'].jaxpr]
  found = eqn.params.get('branches') or [
      eqn.params[k] for k in ('jaxpr', 'call_jaxpr') if k in eqn.params]
  return [body.jaxpr if isinstance(body, ClosedJaxpr) else body for body in found]
