"""What the configs share: the grammar of a config's argument, and the columns of a table.

The argument of a config is what stands behind the colon of --config=configs/FILE.py:ARGUMENT:

  ARGUMENT := [ NAME=VALUE { , NAME=VALUE } ]
  NAME     := family | objective | estimator | divergence | data     structure, by name
            | conditional                    True or False: on the labels of the data
            | ROLE, ROLE.KEY                 a network and its keywords, by what it is for
            | SECTION.KEY                    SECTION one of data model objective sampler
  ROLE     := posterior | decoder | generator | critic | energy | classifier | denoiser | velocity
            | causal | masked | patch_causal | conditioner
            | dequantiser | ladder
  VALUE    := a Python literal (64, 1e-3, True, (128,128), 'text'), or a bare word taken as text

`SECTION.KEY=VALUE` sets `config.SECTION.kw.KEY`, `ROLE=VALUE` config.networks.ROLE.name and
`ROLE.KEY=VALUE` config.networks.ROLE.kw.KEY; `estimator=` and `divergence=` are short for
`objective.estimator=` and `objective.divergence=`. A config may know fewer of the names, and
names of its own; its docstring says so. Commas inside brackets or quotes belong to the value, and
a shell needs quotes around brackets. A name may stand once.

  configs/digits.py:family=diffusion,objective=score_matching
  configs/digits.py:family=mixture,objective=kl,model.num_components=20,model.discretised=False
  configs/digits.py:family=diffusion,objective=kl,denoiser=unet,denoiser.width=32,conditional=True
  configs/toy2d.py:data=ring8,family=flow,objective=adversarial,divergence=js

family, objective, data and the like take any name that genjax knows, or the path of a user's own
FILE.py with such a part (genjax/extension.py). What a config sets for a pair is a default: which
pairs are legal, the objective itself says.

Structure is chosen here, numbers by flags behind it (--config.optim.lr=3e-4).
"""

import ast
import difflib
import re
from collections.abc import Iterable, Mapping

from configs import defaults

SECTIONS = ('data', 'model', 'objective', 'sampler')
ROLES = defaults.ROLES

# what a diffusion is trained with by the objectives whose losses take derivatives in time: the
# slow embedding that mean_flow has anyway, and the straight path of 2505.13447
SMOOTH = {'model.kw.schedule': 'linear', 'model.kw.prediction': 'velocity'}
FEW_STEPS = {
    ('diffusion', 'mean_flow'): SMOOTH,
    ('diffusion', 'consistency'): {**SMOOTH, 'model.kw.time_scale': 2.0},
}

# optimiser and average by objective; OTHERWISE: of one that no config knows
BY_OBJECTIVE = {
    'kl': {'optim.lr': 1e-3, 'optim.decay': 'cosine', 'ema': 0.999},
    'reverse_kl': {'optim.lr': 5e-4},
    'adversarial': {'optim.lr': 2e-4, 'optim.b1': 0.5, 'ema': 0.999},
    'wasserstein': {'optim.lr': 2e-4, 'optim.b1': 0.5, 'optim.b2': 0.9, 'ema': 0.999},
    **dict.fromkeys(('score_matching', 'mean_flow', 'consistency', 'distillation'),
                    {'optim.lr': 5e-4, 'optim.warmup': 500, 'ema': 0.999}),
}
OTHERWISE = {'optim.lr': 5e-4}

# blocks, width and heads of the diffusion transformers by size: 2212.09748, Table 1
DIT = {'S': (12, 384, 6), 'B': (12, 768, 12), 'L': (24, 1024, 16), 'XL': (28, 1152, 16)}
# their training: 2212.09748, section 4
DIT_RECIPE = {'steps': 400000, 'batch_size': 256, 'optim.lr': 1e-4, 'ema': 0.9999}
# of a job of days on many devices: rare saves, some kept for later, and a step that is not finite
# does not end it
POD = {'log.every': 100, 'log.mfu': True, 'checkpoint.every': 5000, 'checkpoint.keep_every': 50000,
       'nan_steps_allowed': 10}


def parse(argument: str, names: Mapping[str, tuple], default: Mapping[str, object]) -> dict:
  """The values of an argument: {'family': 'vae', ..., 'kw': {'model': {...}, 'decoder': {...}}}.

  names: the structural names beside `conditional` and the roles, each with its allowed values (()
  for any text); default: values of the names that the argument leaves out. Raises ValueError for a
  name or value that is unknown, given twice or malformed, naming it and the allowed ones.
  """
  names = {**names, 'conditional': ('True', 'False'), **dict.fromkeys(ROLES, ())}
  parsed = {**dict.fromkeys(names, ''), **default}
  kw = {section: {} for section in (*SECTIONS, *ROLES)}
  seen = set()
  for item in split(argument):
    name, equals, text = (part.strip() for part in item.partition('='))
    section, dot, key = name.partition('.')
    if not equals or not text:
      raise ValueError(f'{item!r} is not NAME=VALUE; names: {_all_names(names)}')
    if name in seen:
      raise ValueError(f'{name!r} is given twice in {argument!r}')
    seen.add(name)
    if dot:
      if section not in kw or not re.fullmatch(r'[a-z]\w*', key):
        raise ValueError(_unknown('name', name, [*names, *(f'{s}.KEY' for s in kw)]))
      kw[section][key] = _literal(name, text)
    elif name not in names:
      raise ValueError(_unknown('name', name, names, f', {_all_names(())}'))
    else:
      text = {'true': 'True', 'false': 'False'}.get(_unquoted(text), _unquoted(text))
      parsed[name] = one_of(name, text, names[name]) if names[name] else text
  return {**parsed, 'kw': kw}


def one_of(name: str, value: str, allowed: Iterable[str]) -> str:
  """The value itself. Raises ValueError if it is not among the allowed ones."""
  if value not in allowed:
    raise ValueError(_unknown(name, value, allowed))
  return value


def build(args: Mapping, settings: Mapping[str, object]):
  """The config of a run: defaults.get(), the structure and the settings by dotted name, then kw.

  args: a parsed argument, with 'data' if the config chooses it; what it says of a `kw` wins over
  the settings. Raises KeyError for a setting that defaults.get() does not have, outside a `kw`.
  """
  config = defaults.get()
  for name, section, field in (('data', 'data', 'name'), ('family', 'model', 'family'),
                               ('objective', 'objective', 'name')):
    config[section][field] = args[name]
  for name, value in settings.items():
    *path, key = name.split('.')
    section = config
    for part in path:
      section = section[part]
    if key not in section and 'kw' not in path:
      raise KeyError(name)
    section[key] = value
  for name in ('estimator', 'divergence'):
    if args.get(name):
      if name in args['kw']['objective']:
        raise ValueError(f'{name} and objective.{name} are one thing given twice')
      config.objective.kw[name] = args[name]
  if args.get('conditional'):
    config.conditional = args['conditional'] == 'True'
  for role in ROLES:
    config.networks[role].name = args.get(role) or config.networks[role].name
  for section, kw in args['kw'].items():
    (config.networks if section in ROLES else config)[section].kw.update(kw)
  return config


def diffusion(args: Mapping, data: str, settings: Mapping[str, object]):
  """`build` of a diffusion model on a pod: POD, then the settings. args has no data, no family.

  Objectives of few steps have a path of their own, and are sampled as they were trained for.
  """
  own = FEW_STEPS.get(('diffusion', args['objective']), {})
  if own:
    settings = {k: v for k, v in settings.items() if not k.startswith('sampler.')}
  return build({**args, 'data': data, 'family': 'diffusion'},
               {**POD, 'networks.denoiser.kw.dtype': 'bfloat16', **settings, **own})


def imagenet(args: Mapping, side: int):
  """A class-conditional DiT on ImageNet resized to side x side, in 256 patches of its own size."""
  return diffusion(args, f'imagenet_resized/{side}x{side}', {
      **DIT_RECIPE, **dit(args['size'], patch=side // 16), **with_labels(args), 'augment': 'flip',
      # 'v': at the noisy end 'noise' would be divided by an alpha of nearly 0
      'mesh.fsdp': 4, 'model.kw.prediction': 'v', 'sampler.kw.num_steps': 100,
      'sampler.kw.clip': 1.0, 'evals.names': ('likelihood', 'novelty', 'cost'),
      'evals.num_samples': 10000})


def dit(size: str, patch: int) -> dict:
  """The settings of the diffusion transformer of a size in DIT: one compiled block, of whose
  activations only the ends are kept."""
  num_blocks, width, num_heads = DIT[size]
  kw = {'num_blocks': num_blocks, 'width': width, 'num_heads': num_heads, 'patch': patch,
        'scan': True, 'remat': True}
  return {'networks.denoiser.name': 'dit',
          **{f'networks.denoiser.kw.{key}': value for key, value in kw.items()}}


def with_labels(args: Mapping) -> dict:
  """Settings of a conditional diffusion; labels are dropped for guidance where they can be."""
  takes = args['objective'] in ('score_matching', 'mean_flow')
  dropped = {'objective.kw.label_dropout': 0.1} if takes else {}
  return {'conditional': True, **dropped}


def is_fitted(args: Mapping) -> bool:
  """Whether a run is one closed-form step: kl of a family with `fit`, by no other estimator."""
  return (args['family'] in ('gaussian', 'mixture', 'histogram', 'kde')
          and args['objective'] == 'kl' and args['estimator'] in ('', 'fit'))


def split(argument: str) -> list[str]:
  """Splits at the commas outside brackets and quotes."""
  items, depth, quote, start_of_item = [], 0, '', 0
  for i, c in enumerate(argument):
    if quote:
      quote = '' if c == quote else quote
    elif c in '\'"':
      quote = c
    elif c in '([{':
      depth += 1
    elif c in ')]}':
      depth -= 1
    elif c == ',' and not depth:
      items.append(argument[start_of_item:i])
      start_of_item = i + 1
    if depth < 0:
      break
  if depth or quote:
    raise ValueError(f'brackets or quotes do not match in {argument!r}')
  return [*items, argument[start_of_item:]] if argument.strip() else []


def _literal(name: str, text: str):
  try:
    return ast.literal_eval({'true': 'True', 'false': 'False'}.get(text, text))
  except (ValueError, SyntaxError):
    if re.fullmatch(r'[\w./~+-]+', text):
      return text
    raise ValueError(f'{name}={text}: not a Python literal and not a bare word') from None
  except (RecursionError, MemoryError):
    raise ValueError(f'{name}={text[:40]}...: nests too deeply to be read') from None


def _unquoted(text: str) -> str:
  """A bare word as it is, a text in quotes without them."""
  if text[0] not in '\'"':
    return text
  try:
    return str(ast.literal_eval(text))
  except (ValueError, SyntaxError):
    raise ValueError(f'{text}: not a text in quotes') from None


def _all_names(names: Iterable[str]) -> str:
  return ', '.join([*names, *(f'{section}.KEY' for section in (*SECTIONS, *ROLES))])


def _unknown(what: str, value: str, allowed: Iterable[str], more: str = '') -> str:
  near = difflib.get_close_matches(value, list(allowed), 1)
  hint = f' (did you mean {near[0]!r}?)' if near else ''
  return f'unknown {what} {value!r}{hint}; allowed: {", ".join(allowed)}{more}'
