"""Files of torch.save: what is in them comes out, and nothing of them is executed."""

import collections
import os
import pickle

import ml_dtypes
import numpy as np
import pytest

from genjax.encoders import inert, torch_file
from genjax.types import BadInput
from tests import torch_files
from tests.torch_files import number, tensor, text

RNG = np.random.default_rng(0)
STATE = {'layer.weight': RNG.standard_normal((3, 4)).astype(np.float32),
         'half': RNG.standard_normal(5).astype(np.float16),
         'double': RNG.standard_normal((2, 1, 2)),
         'brain': RNG.standard_normal((2, 3)).astype(ml_dtypes.bfloat16),
         'num_batches_tracked': np.array(2**53 + 1),
         'mask': np.array([True, False, True]),
         'bytes': np.arange(4, dtype=np.uint8),
         'empty': np.zeros((0, 3), np.float32)}
FLOATS = ('layer.weight', 'half', 'double', 'brain', 'empty')


@pytest.mark.parametrize('legacy', [False, True])
@pytest.mark.parametrize('dtype', [np.float32, None])
def test_every_dtype_comes_out(tmp_path, legacy, dtype):
  found = torch_file.load(torch_files.save(tmp_path / 'a.pth', STATE, legacy), dtype)
  assert list(found) == list(STATE)
  for name, expected in STATE.items():
    if dtype is not None and name in FLOATS:
      expected = expected.astype(dtype)
    assert found[name].dtype == expected.dtype and found[name].shape == expected.shape
    assert found[name].tobytes() == expected.tobytes()
    assert not found[name].flags.writeable


@pytest.mark.parametrize('legacy', [False, True])
@pytest.mark.parametrize('little', [False, True])
def test_strides_offsets_and_shared_storages(tmp_path, legacy, little):
  base = np.arange(12, dtype=np.float32)
  view = b'N' if legacy else None
  code = b'}(' + b''.join(text(name) + tensor('0', 'Float', 12, *place, view) for name, place in {
      'rows': (0, (3, 4), (4, 1)), 'columns': (0, (4, 3), (1, 4)), 'inner': (5, (2, 2), (4, 2)),
      'repeated': (7, (10**6, 10**6), (0, 0)), 'scalar': (11, (), ())}.items()) + b'u'
  storages = {'0': base.astype('<f4' if little else '>f4').tobytes()}
  path = tmp_path / 'a.pth'
  if legacy:
    torch_files.write_legacy(path, code, storages, {'0': 12}, little)
  else:
    torch_files.write_zip(path, code, storages, byteorder='little' if little else 'big')
  found = torch_file.load(path)
  assert (found['rows'] == base.reshape(3, 4)).all()
  assert (found['columns'] == base.reshape(3, 4).T).all()
  assert found['inner'].tolist() == [[5, 7], [9, 11]] and found['scalar'] == 11
  assert found['repeated'].shape == (10**6, 10**6) and found['repeated'][-1, -1] == 7
  assert all(np.shares_memory(found['rows'], found[name]) for name in ('columns', 'scalar'))


def test_views_of_old_files(tmp_path):
  view = b'(' + text('1') + number(3) + number(4) + b't'  # numbers 3..6 of the storage
  code = b'}' + text('part') + tensor('0', 'Float', 12, 1, (2,), (2,), view) + b's'
  storages = {'0': np.arange(12, dtype=np.float32).tobytes()}
  path = torch_files.write_legacy(tmp_path / 'a.pth', code, storages, {'0': 12})
  assert torch_file.load(path)['part'].tolist() == [4, 6]


def test_nested_dicts_are_joined_and_what_is_no_tensor_is_left_out(tmp_path):
  one = tensor('0', 'Float', 2, 0, (2,), (1,))
  code = (b'}(' + text('epoch') + number(3) + text('note') + text('x') + text('list') + b']' +
          text('model') + b'}(' + text('a.b') + one + text('0') + b'N' + b'u' +
          text('optimizer') + b'}' + number(7) + one + b's' + b'u')
  path = torch_files.write_zip(tmp_path / 'a.pth', code, {'0': np.float32([1, 2]).tobytes()})
  found = torch_file.load(path)
  assert {name: array.tolist() for name, array in found.items()} == {
      'model.a.b': [1, 2], 'optimizer.7': [1, 2]}


class Evil:
  """What pickle would run."""

  def __init__(self, call, *args):
    self.call, self.args = call, args

  def __reduce__(self):
    return self.call, self.args


@pytest.mark.parametrize('legacy', [False, True])
@pytest.mark.parametrize('protocol', [0, 1, 2, 3, 4, 5])
def test_nothing_is_executed(tmp_path, legacy, protocol):
  mark = tmp_path / 'was here'
  for call, args in ((os.mkdir, (str(mark),)), (os.system, (f'touch "{mark}"',)),
                     (eval, (f'open({str(mark)!r}, "w")',))):
    attack = pickle.dumps({'a': Evil(call, *args)}, protocol)
    pickle.loads(attack)  # it does work where pickle is used
    assert mark.exists()
    mark.rmdir() if mark.is_dir() else mark.unlink()
    path = tmp_path / 'a.pth'
    torch_files.write_zip(path, attack[:-1], {})
    if legacy:
      torch_files.write_legacy(path, attack[:-1], {}, {})
    with pytest.raises(BadInput, match=f'a.pth.*({call.__name__}|operation)'):
      torch_file.load(path)
    assert not mark.exists()


@pytest.mark.parametrize('code, said', [
    (b'cos\nsystem\n' + text('touch x') + b'\x85R', 'asks for os.system'),
    (b'}(' + text('a') + tensor('0', 'Float', 1, 0, (), ()) + text('b') + b'cos\nsystem\nu',
     'asks for os.system'),
    (b'c__torch__\nModule\n)R', 'asks for __torch__.Module'),
    (b'ctorch.storage\n_load_from_bytes\n)R', 'asks for torch.storage._load'),
    (b'cnumpy.core.multiarray\n_reconstruct\n)R', 'asks for numpy.core'),
    (b'ccollections\nOrderedDict\n)\x81', 'NEWOBJ'),
    (b'(ios\nsystem\n', 'INST'),
    (b'ccollections\nOrderedDict\n' + number(3) + b'b', 'Global where dict'),
    (b'\x82\x01', 'EXT1'),
    (b'ctorch\nFloatStorage\n)R', 'torch.FloatStorage'),
    (b'}' + text('a') + b'ctorch._utils\n_rebuild_tensor_v2\n(' + number(1) + b'tRs', 'damaged'),
    (b'0', 'operation POP'), (b'', 'too short'), (b'}(' + text('a') + b'u', 'damaged'),
    (b'h\x05', 'damaged'), (b't', 'damaged'), (b'(a', 'damaged'), (b'}](u', 'list where dict'),
    (b'N(\x85', 'too short'),
    (b'}](' + text('a') + number(1) + b'us', 'list where dict'),
    (b'X\xff\xff\xff\x7fabc', 'damaged'), (b'\x8e' + b'\xff' * 8, 'operation|damaged'),
    (b'}' + b']' + number(1) + b's', 'unhashable'), (b'\xff', 'damaged'),
    (b'}q\x00' + text('a') + b'h\x00s', 'twice, or in itself'),
    (b'}q\x00(' + text('b') + b'}' + text('a') + b'h\x00u', 'twice, or in itself'),
    (b'}(' + text('a.b') + tensor('0', 'Float', 1, 0, (), ()) + text('a') + b'}' + text('b') +
     tensor('0', 'Float', 1, 0, (), ()) + b'su', "two tensors 'a.b'"),
    (b'}' + b'N' + number(1) + b's', 'key that is a NoneType'),
    (b'}', 'holds no tensor'), (b']', 'holds a list'), (number(3), 'holds a int'),
    (tensor('0', 'Float', 1, 0, (), ()), 'holds a tensor'),
])
def test_pickles_that_are_no_state_dict(tmp_path, code, said):
  path = torch_files.write_zip(tmp_path / 'a.pth', code, {'0': bytes(4)})
  with pytest.raises(BadInput, match=f'a.pth: .*({said})'):
    torch_file.load(path)
  torch_files.write_legacy(path, code, {}, {})
  with pytest.raises(BadInput, match='a.pth: '):
    torch_file.load(path)


@pytest.mark.parametrize('count, place, said', [
    (12, (0, (3, 5), (5, 1)), 'goes beyond the 12'),
    (12, (1, (3, 4), (4, 1)), 'goes beyond the 12'),
    (12, (12, (), ()), 'goes beyond the 12'),
    (13, (0, (2,), (1,)), 'has 48 bytes where 52'),
    (12, (-1, (2,), (1,)), 'offset -1'),
    (12, (0, (2,), (-1,)), r'stride \(-1,\)'),
    (12, (0, (-2,), (1,)), r'size \(-2,\)'),
    (12, (0, (2, 2), (1,)), 'zip'),
    (12, (0, (2**70,), (0,)), 'size'),
    (12, (0, (2**62, 2**62), (0, 0)), 'what numpy can hold'),
    (12, (0, (1,) * 70, (0,) * 70), 'what numpy can hold'),
    (12, (0, (0, 2**62, 8), (0, 0, 0)), 'what numpy can hold'),
    (-3, (0, (0,), (1,)), 'length -3'),
])
def test_tensors_that_leave_their_storage(tmp_path, count, place, said):
  code = b'}' + text('a') + tensor('0', 'Float', count, *place) + b's'
  path = torch_files.write_zip(tmp_path / 'a.pth', code, {'0': bytes(48)})
  with pytest.raises(BadInput, match=said):
    torch_file.load(path)


def test_archives_that_are_none_of_torch(tmp_path):
  path, one = tmp_path / 'a.pth', tensor('0', 'Float', 1, 0, (), ())
  code = b'}' + text('a') + one + b's'
  torch_files.write_zip(path, code, {})
  with pytest.raises(BadInput, match='lacks the record .data/0.'):
    torch_file.load(path)
  np.savez(path, a=1)
  path = path.with_suffix('.pth.npz')
  with pytest.raises(BadInput, match='none that torch.save wrote: 0 records'):
    torch_file.load(path)
  with torch_files.zipfile.ZipFile(path, 'w', torch_files.zipfile.ZIP_DEFLATED) as archive:
    archive.writestr('a/data.pkl', b'\x80\x02' + code + b'.' + bytes(10**6))
  with pytest.raises(BadInput, match='compressed'):
    torch_file.load(path)


@pytest.mark.parametrize('content, said', [
    (b'', 'it is empty'), (b'<html>', 'begins with b.<html>'), (b'\x80', 'begins with'),
    (b'version https://git-lfs', 'version https'), (b'PK\x03\x04', 'damaged or cut off'),
    (pickle.dumps({'a': 1}), 'no file of torch.save'),
    (pickle.dumps(torch_file.MAGIC, 2) + pickle.dumps(999, 2), '999.*allowed: 1001')])
def test_other_files(tmp_path, content, said):
  path = tmp_path / 'a.pth'
  path.write_bytes(content)
  with pytest.raises(BadInput, match=said):
    torch_file.load(path)
  with pytest.raises(BadInput, match='cannot be read .No such file'):
    torch_file.load(tmp_path / 'missing.pth')
  with pytest.raises(BadInput, match='cannot be read .Is a directory'):
    torch_file.load(tmp_path)


@pytest.mark.parametrize('legacy', [False, True])
def test_no_damage_raises_anything_but_bad_input(tmp_path, legacy):
  """Cut at many places, and bytes changed at random; of archives every change is noticed."""
  whole = torch_files.save(tmp_path / 'a.pth', STATE, legacy).read_bytes()
  path, rng = tmp_path / 'b.pth', np.random.default_rng(1)
  expected, quiet = torch_file.load(tmp_path / 'a.pth', None), 0
  for cut in rng.integers(0, len(whole), 150):
    path.write_bytes(whole[:cut])
    with pytest.raises(BadInput):
      torch_file.load(path)
  for at in rng.integers(0, len(whole), 600):
    changed = bytearray(whole)
    changed[at] ^= int(rng.integers(1, 256))
    path.write_bytes(changed)
    try:
      found = torch_file.load(path, None)
    except BadInput:
      continue
    same = found.keys() == expected.keys() and all(
        found[name].tobytes() == expected[name].tobytes() for name in expected)
    quiet += not same
  assert legacy or quiet == 0


def test_names_and_shapes_are_required():
  arrays = {'a': np.zeros((2, 3)), 'b': np.zeros(1)}
  torch_file.require(arrays, {'b': (1,), 'a': (2, 3)}, 'a network')
  with pytest.raises(BadInput, match=r'no weights of a network: 1 missing \(c\); 1 unknown \(b\); '
                     r'1 of another shape \(a \(2, 3\) for \(3, 2\)\); allowed: its 2 arrays'):
    torch_file.require(arrays, {'a': (3, 2), 'c': ()}, 'a network')
  many = {str(i): np.zeros(()) for i in range(10)}
  with pytest.raises(BadInput, match=r'10 unknown \(0, 1, 2, ...\)'):
    torch_file.require(many, {}, 'a network')


@pytest.mark.parametrize('legacy', [False, True])
@pytest.mark.parametrize('protocol', [2, 4])
def test_what_torch_writes(tmp_path, legacy, protocol):
  torch = pytest.importorskip('torch')
  torch.manual_seed(0)
  net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
  state = net.state_dict()  # an OrderedDict with an attribute
  base = torch.randn(4, 6)
  state.update({'view': base[1:, ::2], 'transposed': base.T, 'expanded': base[:1].expand(5, 6),
                'half': base.half(), 'brain': base.bfloat16(), 'double': base.double(),
                'bool': base > 0, 'int8': base.to(torch.int8), 'scalar': torch.tensor(3),
                'empty': torch.zeros(0, 2), 'parameter': torch.nn.Parameter(base)})
  for saved in (state, {'model': state, 'epoch': 3, 'size': base.shape}):
    path = tmp_path / 'a.pth'
    torch.save(saved, path, pickle_protocol=protocol, _use_new_zipfile_serialization=not legacy)
    found = torch_file.load(path)
    prefix = 'model.' if 'model' in saved else ''
    assert list(found) == [prefix + name for name in state]
    for name, value in state.items():
      value = value.detach()
      expected = (value.float() if value.is_floating_point() else value).numpy()
      got = found[prefix + name]
      assert got.dtype == expected.dtype and (got == expected).all(), name


def test_other_objects_of_torch_are_refused(tmp_path):
  torch = pytest.importorskip('torch')
  torch.save(torch.nn.Linear(2, 2), tmp_path / 'a.pth')
  with pytest.raises(BadInput, match='asks for torch.nn.modules.linear.Linear'):
    torch_file.load(tmp_path / 'a.pth')
  torch.save({'a': torch.zeros(2), 'b': collections.Counter()}, tmp_path / 'a.pth')
  with pytest.raises(BadInput, match='asks for collections.Counter'):
    torch_file.load(tmp_path / 'a.pth')


def test_what_may_be_called_is_a_short_list():
  assert set(inert.CALLS) == {
      'collections.OrderedDict', 'torch.Size', 'torch._utils._rebuild_tensor',
      'torch._utils._rebuild_tensor_v2', 'torch._utils._rebuild_parameter'}
  assert not set(inert.OPERATIONS) & {'NEWOBJ', 'NEWOBJ_EX', 'OBJ', 'INST', 'EXT1', 'PERSID'}
