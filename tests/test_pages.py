"""README, ARCHITECTURE and docs: what they tell their reader to type, open or look up is there."""

import os
import re
import shlex

import pytest

from experiments import matrix
from genjax import configs
from tests import programs, recipes

ROOT = recipes.ROOT
MAKEFILE = (ROOT / 'Makefile').read_text()
TEXTS = {page: recipes.text_of(page) for page in recipes.PAGES}
LINKED = (*recipes.PAGES, 'benchmarks/README.md', 'launch/README.md')
# a file of the reader's own, and the reader's images, whose commands other tests run
OWN = ('energy_distance.py', 'path=photos')


def of_pages(extract, pages=recipes.PAGES):
  """[(page, item)] of what `extract` reads in each page, once per page."""
  return [(page, item) for page in pages
          for item in dict.fromkeys(extract(recipes.text_of(page)))]


COMMANDS = of_pages(recipes.programs)
ELSEWHERE = [(page, command) for page, command in COMMANDS if page != 'README.md']
PLAIN = sorted({command for _, command in COMMANDS if not any(own in command for own in OWN)})


def is_verb(command: str, verb: str) -> bool:
  return f' genjax {verb} ' in command or f' experiments.{verb} ' in command


def arguments_of(command: str, verb: str) -> list[str]:
  """What stands behind the verb."""
  words = shlex.split(command)
  return words[words.index(verb) + 1:] if 'genjax' in words else words[3:]


@pytest.mark.slow  # those of the README are parsed in the fast tier
@pytest.mark.parametrize('page, command', ELSEWHERE)
def test_every_command_parses(page, command):
  """Flags, their values, configs and what overrides them; also of commands within the text."""
  _, _, module, *arguments = shlex.split(command)
  done = programs.run(module, *arguments, parse_only=True)
  assert done.code == 0 and 'Traceback' not in done.stderr, done.stderr


# the table of a toy is listed at once; the others ask for many builds of large networks
@pytest.mark.parametrize('command', [
    pytest.param(c, marks=[pytest.mark.slow] * ('divergences_toy2d' not in c)) for c in PLAIN
    if is_verb(c, 'table') and '--table=configs' in c])
def test_every_table_lists_its_cells(command):
  _, *arguments = arguments_of(command, 'table')
  done = programs.run('experiments.table', 'list', *arguments)
  assert done.code == 0 and 'python -m genjax train' in done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize('command', [
    c for c in PLAIN if is_verb(c, 'train') and 'configs/digits.py' in c])
def test_every_training_says_what_a_step_costs(command):
  arguments = arguments_of(command, 'train')
  done = programs.run('experiments.train', *arguments, *({'--dry'} - set(arguments)))
  assert done.code == 0 and 'FLOPs' in done.stdout, done.stderr


@pytest.mark.parametrize('page', recipes.PAGES)
def test_every_block_is_of_a_language_that_is_run_here(page):
  assert {language for language, _ in recipes.blocks(TEXTS[page])} <= {'sh', 'python'}


@pytest.mark.parametrize('page, line', of_pages(recipes.lines))
def test_every_line_of_a_shell_block_can_be_typed(page, line):
  """Programs are among COMMANDS, which are parsed; the rest needs a file or a target."""
  match words := shlex.split(line):
    case ['python', '-m', *_]:
      assert (page, line) in COMMANDS
    case ['make', target, *_]:
      assert re.search(rf'^{target}:', MAKEFILE, re.MULTILINE)
    case ['source', path]:
      assert path == f'{re.search("^VENV [?]= (.*)", MAKEFILE, re.MULTILINE)[1]}/bin/activate'
    case ['pip', 'install', '-r', path]:
      assert (ROOT / path).is_file()
    case ['sbatch', *_]:
      assert any((ROOT / word).is_file() for word in words)
    case [path, *_]:
      assert os.access(ROOT / path, os.X_OK), f'{words}: not a command that is known here'


@pytest.mark.parametrize('page, block', [
    (page, text) for page in recipes.PAGES if page != 'README.md'
    for language, text in recipes.blocks(TEXTS[page]) if language == 'python'])
def test_python_runs_as_it_stands(page, block, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  exec(compile(block, page, 'exec'), {'__name__': 'recipe'})


def configs_of(text: str) -> list[tuple[str, tuple[str, ...]]]:
  """[(FILE.py:ARGUMENT, keys that flags override)] of the commands of a page."""
  found = []
  for command in recipes.programs(text):
    named = re.search(r'--config=(\S+)', command.replace("'", ''))
    if named:
      found.append((named[1], tuple(re.findall(r'--config\.([\w.]+)=', command))))
  return found


@pytest.mark.parametrize('text, keys', sorted({item for _, item in of_pages(configs_of)}))
def test_every_config_loads_with_its_overrides(text, keys, tmp_path, monkeypatch):
  if OWN[0] in text:
    monkeypatch.chdir(tmp_path)
    (tmp_path / OWN[0]).touch()
  config = configs.load(text)
  for key in keys:
    assert configs.check_key(config, key), key


@pytest.mark.parametrize('page', recipes.PAGES)
def test_every_key_of_a_config_that_is_named_exists(page):
  config = configs.load('configs/digits.py')
  for key in set(re.findall(r'--config\.([a-z_.]+)', TEXTS[page])):
    assert configs.check_key(config, key.rstrip('.')), key


@pytest.mark.parametrize('page', recipes.PAGES)
def test_every_file_is_there(page):
  """Paths in code and in commands; FILE and other capitals stand for the reader's own."""
  for code in (*recipes.spans(TEXTS[page]), *recipes.lines(TEXTS[page])):
    for path in re.findall(r'(?<![\w/.$])[\w.]+/[\w/]+\.(?:py|md|txt|sh|sbatch)\b', code):
      if not re.search(r'[A-Z]{2}', path):
        assert (ROOT / path).is_file(), path


@pytest.mark.parametrize('page', LINKED)
def test_every_link_leads_somewhere(page):
  for _, target in recipes.links(recipes.text_of(page)):
    path, _, anchor = target.partition('#')
    place = (ROOT / page).parent / path if path else ROOT / page
    assert place.exists(), target
    assert not anchor or anchor in recipes.anchors(place.read_text()), target


def test_every_page_is_linked_from_the_readme():
  linked = {target.partition('#')[0] for _, target in recipes.links(TEXTS['README.md'])}
  assert {*recipes.PAGES, *LINKED} - {'README.md'} <= linked


def test_every_dated_note_is_linked_from_the_figures_of_record():
  linked = {target for _, target in recipes.links(recipes.text_of('benchmarks/README.md'))}
  assert {path.name for path in ROOT.glob('benchmarks/2*.md')} <= linked


@pytest.mark.parametrize('page', LINKED)
def test_every_make_target_is_there(page):
  for target in re.findall(r'`make (\w+)', TEXTS.get(page) or recipes.text_of(page)):
    assert re.search(rf'^{target}:', MAKEFILE, re.MULTILINE), target


def test_the_matrix_is_that_of_the_code():
  assert recipes.between(TEXTS['docs/matrix.md'], 'matrix') == matrix.markdown(), (
      'python -m experiments.matrix --markdown')
