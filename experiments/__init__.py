"""One program per verb. They share `run(main)`: it parses flags, and ends mistakes in one line."""

import contextlib
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable

from experiments import lines, memory
from genjax.cluster import signals

# `python -m experiments.VERB` runs this first, with this argv[0], and then imports for seconds
IS_PROGRAM = sys.argv[0] == '-m'
if IS_PROGRAM:
  signals.block()
  memory.start_again()
SIGNALLED = signals.note() if IS_PROGRAM else None

from absl import flags  # noqa: E402
from absl import logging as absl_logging  # noqa: E402

from genjax import disk  # noqa: E402
from genjax.types import BadInput  # noqa: E402

LIBRARIES = tuple(f'{os.sep}{name}{os.sep}' for name in (
    'orbax', 'grain', 'jax', 'tensorstore', 'tensorflow_datasets', 'etils', 'matplotlib'))
HELP = ('--help', '-help', '--helpfull', '-h')


def run(main: Callable, stopped: str = '', needs_config: bool = True,
        positional: bool = False) -> None:
  """Parses the flags of the command line, calls main(argv without flags) and exits.

  stopped: the last message of a program that is stopped while it has nothing to save. A program
    with it runs on all hosts of a job, and from its start ends with 42 at the first signal.
  needs_config: whether a program with the flag --config requires it.
  positional: whether it takes arguments that are no flags.

  The exit code is that of main (None is 0), or
    1    after one message `error: ...` on stderr: a user's mistake (a flag, a config, BadInput, a
         file that cannot be read or written), or missing devices or memory (experiments.faults)
    42   after SIGTERM, SIGINT, SIGHUP or SIGUSR1, and a save if there was something to save
    130  after a second SIGINT, or the first one of a program without `stopped`.
  Any other exception is a defect of the program and keeps its traceback.
  """
  sys.exit(_run(main, stopped, needs_config, positional))


def _run(main: Callable, stopped: str, needs_config: bool, positional: bool) -> int:
  quiet()
  keep_compiled()
  try:
    if stopped:
      define_host_flags()
    elif SIGNALLED is not None:
      signals.give_back(SIGNALLED)
    if set(sys.argv[1:]) & set(HELP):
      print(sys.modules['__main__'].__doc__ or '')
      print(flags.FLAGS.main_module_help())
      return 0
    argv = parse(sys.argv, needs_config, positional)
    return (_on_all_hosts(main, argv, stopped) if stopped else main(argv)) or 0
  except BadInput as e:
    return _fail(str(e))
  except BrokenPipeError:  # the reader, such as `| head`, has closed the pipe
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
  except OSError as e:
    code = _fail(_said(e))
    os._exit(code)  # threads with data for a full disk would each add a traceback
  except KeyboardInterrupt:
    print('interrupted', file=sys.stderr)
    return 130
  except (RuntimeError, AssertionError, MemoryError) as e:
    from experiments import faults
    message = faults.said(e)
    if message is None:
      raise
    return _fail(message)


def define_host_flags() -> None:
  """Defines the flags with which the processes of a job find each other without a scheduler."""
  main = sys.argv[0]  # absl's name of the main module
  flags.DEFINE_string('coordinator', None, 'HOST:PORT of process 0.', module_name=main)
  flags.DEFINE_integer('num_processes', None, 'Processes in the job.', module_name=main)
  flags.DEFINE_integer('process_id', None, 'Index of this process, from 0.', module_name=main)


def _on_all_hosts(main: Callable, argv: list[str], stopped: str) -> int | None:
  import jax

  from genjax.cluster import hosts, preempt
  from genjax.runs import rundir

  def heartbeat():
    if 'config' in flags.FLAGS and flags.FLAGS['config'].value is not None:
      return flags.FLAGS['config'].value['mesh']['heartbeat']
    workdir = flags.FLAGS.workdir
    return rundir.read(workdir)['config']['mesh']['heartbeat'] if workdir else hosts.HEARTBEAT

  hosts.start(heartbeat, flags.FLAGS.coordinator, flags.FLAGS.num_processes,
              flags.FLAGS.process_id)
  preempt.install(signals.note() if SIGNALLED is None else SIGNALLED, stopped)
  try:
    code = main(argv)
  except preempt.Preempted as e:
    with contextlib.suppress(OSError):
      say(f'{e}; the same command resumes', sys.stderr)
    signals.settle()
    code = preempt.EXIT
  except (BadInput, OSError) as e:
    # all hosts have this error, and the end of one must not abort the others
    if not preempt.close(hosts.stop):
      signals.end(_fail(_said(e)), '')
    raise
  except jax.errors.JaxRuntimeError:  # another host has ended during a collective
    preempt.wait_if_leaving()
    raise
  if not preempt.close(hosts.stop):
    signals.end(code or 0, '')
  return code


def say(text: str, stream=None) -> None:
  """Prints the text on the lead host only."""
  from genjax.cluster import hosts
  if hosts.is_lead():
    print(text, file=stream, flush=True)


def progress(*args, **kw):
  """A tqdm bar on the lead host; without a terminal, a line every 30 seconds."""
  from genjax.cluster import hosts
  return lines.show(*args, visible=hosts.is_lead(), **kw)


def parse(argv: list[str], needs_config: bool = True, positional: bool = True) -> list[str]:
  """The arguments other than absl flags and config flags, which it parses. Raises BadInput."""
  from experiments import arguments
  from experiments import config as command_line  # slow to import: ml_collections
  from genjax import configs

  arguments.check(argv, flags.FLAGS, positional)
  # a shell expands ~ only at the start of a word
  argv = [re.sub(r'^(--?[\w.]+=)(~.*)', lambda m: m[1] + os.path.expanduser(m[2]), item, flags=re.S)
          for item in argv]
  new = []
  if 'config' in flags.FLAGS:
    argv, new = command_line.split_new(argv)
  original, sys.argv = sys.argv, argv  # config flags read their overrides from it
  try:
    rest = flags.FLAGS(argv)
  except flags.UnrecognizedFlagError as e:
    said = str(e).replace('Did you mean: ', 'Did you mean ').replace(' ?', '?').rstrip('.')
    raise BadInput(f'{said} Flags of this program: {arguments.own()}') from None
  except flags.IllegalFlagValueError as e:
    raise BadInput(arguments.illegal(str(e))) from None
  except (flags.Error, TypeError, ValueError, RecursionError, MemoryError) as e:
    raise BadInput(str(e)) from None
  finally:
    sys.argv = original
  if needs_config and 'config' in flags.FLAGS and flags.FLAGS['config'].value is None:
    raise BadInput('--config=FILE.py:ARGUMENT must be given; '
                   f'there are: {", ".join(configs.having("get_config"))}')
  for key, text in new:
    configs.set_new(flags.FLAGS['config'].value, key, text)
  if 'config' in flags.FLAGS and flags.FLAGS['config'].value is not None:
    configs.resolve(flags.FLAGS['config'].value)
  return rest


def quiet() -> None:
  """Makes stderr show our own log lines, without a prefix, and only errors of the libraries."""
  from experiments import faults

  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
  absl_logging.set_verbosity(absl_logging.INFO)
  absl_logging.use_absl_handler()
  handler = absl_logging.get_absl_handler()
  handler.setFormatter(logging.Formatter('%(message)s'))
  warnings.showwarning = _show_warning
  handler.addFilter(lambda record: record.levelno >= logging.ERROR or not any(
      name in record.pathname for name in LIBRARIES))
  handler.addFilter(faults.bare)


def keep_compiled() -> None:
  """Keeps the programs that XLA compiles in the folder `xla` of the cache (see genjax.disk).

  JAX's own settings win (JAX_COMPILATION_CACHE_DIR; JAX_ENABLE_COMPILATION_CACHE=false for none).
  Nothing is kept, silently, if the folder cannot be written. Nothing is kept, with a warning, if
  other users can write it, since their programs would be run.
  """
  jax = sys.modules.get('jax')  # a program that compiles has imported it already
  if jax is None or jax.config.jax_compilation_cache_dir:
    return
  path = disk.cache('xla')
  try:
    path.mkdir(mode=0o700, exist_ok=True)
  except OSError:
    return
  if not os.access(path, os.W_OK):
    return
  for folder in (path.parent, path):
    if disk.others_write(folder):
      warnings.warn(f'other users can write in {folder}, and their compiled programs would be run, '
                    'so none is read or kept there; allowed: '
                    f'chmod go-w {folder}, or JAX_COMPILATION_CACHE_DIR', stacklevel=2)
      return
  jax.config.update('jax_compilation_cache_dir', str(path))
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)  # small ones add up
  jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)
  # a full disk, or an entry torn by a kill, only costs a compilation: users need not act
  warnings.filterwarnings('ignore', 'Error (reading|writing) persistent compilation cache')


def _show_warning(message, category, filename, lineno, file=None, line=None) -> None:
  """Prints our own warnings in one line, and those of libraries as Python does."""
  if not issubclass(category, UserWarning) or any(name in filename for name in LIBRARIES):
    text = warnings.formatwarning(message, category, filename, lineno, line)
  else:
    text = f'warning: {message}\n'
  print(text, end='', file=file or sys.stderr, flush=True)


def _said(error: Exception) -> str:
  """The message of an error; that of an OSError has no number."""
  if not isinstance(error, OSError) or not error.strerror:
    return str(error)
  return error.strerror if error.filename is None else f'{error.strerror}: {error.filename}'


def _fail(message: str) -> int:
  sys.stdout.flush()
  print(f'error: {message}', file=sys.stderr, flush=True)
  return 1
