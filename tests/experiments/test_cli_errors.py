"""A mistake of the user is one message and exit code 1; a defect of ours keeps its traceback."""

import json
import pathlib
import shlex
import subprocess
import sys

import pytest

from genjax import configs, identity
from genjax.tables.cells import Row, command

ROOT = pathlib.Path(__file__).parents[2]
PROGRAM = '''"""A program with every way to go wrong."""
import json, logging, os, sys
sys.path.insert(0, os.getcwd())
from absl import flags
from absl import logging as absl_logging
from ml_collections import config_flags
import experiments
from genjax import identity
from genjax.types import BadInput

CONFIG = config_flags.DEFINE_config_file('config', None, 'What to train.')
DO = flags.DEFINE_enum('do', 'print', ['print', 'bad', 'read', 'full', 'interrupt', 'bug', 'log',
                                       'code'], 'What happens.')
NUM = flags.DEFINE_integer('num', 1, 'A number.', lower_bound=1)

def main(argv):
  def full():
    with open('/dev/full', 'w') as f:
      f.write('x')
  def interrupt():
    raise KeyboardInterrupt
  def bad():
    raise BadInput("colour='mauve'; allowed: red, green")
  def log():
    absl_logging.info('our own line')
    record = logging.LogRecord('orbax', logging.INFO, '/site-packages/orbax/x.py', 1, 'noise', (),
                               None)
    logging.getLogger().handle(record)
  def show():
    config = CONFIG.value.to_dict()
    print(json.dumps([config, identity.config_hash(config), argv[1:]], default=str))
  return {'print': show, 'bad': bad, 'read': lambda: open('/no/such/file'), 'full': full,
          'interrupt': interrupt, 'bug': lambda: 1 / 0, 'log': log, 'code': lambda: 42}[DO.value]()

if __name__ == '__main__':
  experiments.run(main, positional='rest' in sys.argv)
'''
CONFIG = '--config=configs/digits.py:family=vae,objective=kl'


@pytest.fixture(scope='module')
def program(tmp_path_factory):
  path = tmp_path_factory.mktemp('program') / 'program.py'
  path.write_text(PROGRAM)
  return lambda *flags: subprocess.run([sys.executable, str(path), *flags], cwd=ROOT, timeout=60,
                                       capture_output=True, text=True)


@pytest.mark.parametrize('flags, words', [
    ((CONFIG, '--config.sed=3'), ('config.sed', "'seed'", 'batch_size')),
    ((CONFIG, '--config.optim.lrr=3'), ('config.optim.lrr', "'lr'", 'warmup')),
    ((CONFIG, '--config.seed=abc'), ('--config.seed=abc', 'int')),
    ((CONFIG, '--config.optim.lr=fast'), ('--config.optim.lr=fast', 'float')),
    ((CONFIG, '--config.seed.x=1'), ('config.seed.x', 'is a value')),
    ((CONFIG, '--config.model.kw=3'), ('--config.model.kw=3', 'dict')),
    ((CONFIG, '--config.steps'), ('config.steps',)),
    (('--config.seed=1', CONFIG), ('--config.seed=1', 'before')),
    (('--config=configs/digits.py:famly=vae',), ("'famly'", "'family'", 'objective')),
    (('--config=configs/digit.py',), ("'configs/digit.py'", 'configs/digits.py')),
    (('--config=configs/common.py',), ('get_config', 'configs/digits.py')),
    ((), ('--config=', 'configs/digits.py')),
    ((CONFIG, '--nun=3'), ("'nun'", '--num')),
    ((CONFIG, '--num=x'), ('--num=x', 'int')),
    ((CONFIG, '--num=0'), ('--num=0', 'positive')),
    ((CONFIG, '--do=nothing'), ('--do=nothing', 'interrupt')),
    ((CONFIG, '--do=bad'), ("colour='mauve'; allowed: red, green",)),
    ((CONFIG, '--do=read'), ('No such file or directory', '/no/such/file')),
    ((CONFIG, '--do=full'), ('No space left on device',)),
])
def test_a_mistake_is_one_message(program, flags, words):
  done = program(*flags)
  assert done.returncode == 1 and done.stdout == ''
  assert done.stderr.startswith('error: ') and len(done.stderr.splitlines()) == 1
  for word in words:
    assert word in done.stderr


def test_a_defect_keeps_its_traceback(program):
  done = program(CONFIG, '--do=bug')
  assert done.returncode == 1 and 'Traceback' in done.stderr and 'ZeroDivisionError' in done.stderr


def test_other_exit_codes(program):
  assert program(CONFIG, '--do=interrupt').returncode == 130
  assert program(CONFIG, '--do=code').returncode == 42
  done = program('--help')
  assert done.returncode == 0 and '--num' in done.stdout and 'go wrong' in done.stdout


def test_own_log_lines_show_and_those_of_libraries_do_not(program):
  done = program(CONFIG, '--do=log')
  assert done.returncode == 0 and done.stderr == 'our own line\n'


def test_flags_set_what_a_table_would_set(program):
  """The hash that a table computes without flags is the hash of the run that its command makes."""
  row = Row('r', 'configs/digits.py:family=vae,decoder.width=8', {
      'optim.lr': 1, 'steps': 40, 'optim_by_player.critic.lr': 1e-4, 'evals.names': ('a', 'b'),
      'networks.decoder.kw.features': (64, 64), 'networks.decoder.kw.width': 9,
      'objective.kw.name': 'word'})
  config = configs.load(row.config)
  configs.override(config, {**row.overrides, 'seed': 3})
  flags = shlex.split(command('train', row, 3, 'unused'))[4:-1]
  done = program(*flags, 'rest')
  recorded, seen, rest = json.loads(done.stdout)
  assert recorded['seed'] == 3 and recorded['networks']['decoder']['kw'] == {
      'width': 9, 'features': [64, 64]}
  assert recorded['optim']['lr'] == 1.0 and rest == ['rest']
  assert seen == identity.config_hash(config.to_dict())


def test_bare_words_make_a_tuple(program):
  recorded = json.loads(program(CONFIG, '--config.evals.names=a,b').stdout)[0]
  assert recorded['evals']['names'] == ['a', 'b']
