"""Which slices there are, and what a compiler's words about memory and collectives mean."""

import importlib.util

import pytest

from genjax.pod import compiled, topology
from genjax.types import BadInput


def test_every_slice_has_the_size_of_its_shape():
  assert topology.named('v5e:16x16').chips == 256
  assert topology.named('v5p:16x16x24').chips == 6144
  of = topology.named('v6e:16x16', 4)
  assert (of.chips, of.num_devices, str(of)) == (1024, 1024, 'v6e:16x16 x 4 slices')
  assert of.peak == 1024 * 918e12
  for size in (16, 256):  # the sizes that the table of pods has are there in every generation
    sizes = {name.partition(':')[0] for name in topology.names()
             if topology.named(name).chips == size}
    assert sizes == set(topology.GENERATIONS)


@pytest.mark.parametrize('name, words', (
    ('v5e:32x32', "'v5e:32x32' is not sold"),  # the compiler would take it
    ('v5litepod-16', 'GENERATION:SHAPE'), ('v4:4x4', 'v4: 2x2x1'),
    ('v5e:16x61', "did you mean 'v5e:16x16'?"), ('', 'v6e: 2x2 2x4 4x4')))
def test_what_is_not_sold_is_refused_with_what_is(name, words):
  with pytest.raises(BadInput) as refused:
    topology.named(name)
  assert words in str(refused.value)


@pytest.mark.parametrize('name, num_slices', (('v5e:16x16', 3), ('v5e:16x16', 0), ('v4:4x4x4', 2)))
def test_numbers_of_slices(name, num_slices):
  with pytest.raises(BadInput, match=rf'num_slices={num_slices} .*allowed: 1'):
    topology.named(name, num_slices)


def test_without_libtpu_the_command_that_installs_it(monkeypatch):
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  with pytest.raises(BadInput, match='pip install -r requirements-tpu.txt'):
    topology.describe(topology.named('v5e:4x4'))


# what libtpu 0.0.42.1 says, and the words of an older one
REFUSALS = (
    ('RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries '
     '(51.75G) exceeds available HBM (15.75G).', (51.75, 15.75)),
    ('RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory space hbm. '
     'Used 21.51G of 15.75G hbm. Exceeded hbm capacity by 5.76G.', (21.51, 15.75)),
    ('RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries '
     '(1.5T) exceeds available HBM (512.00M).', (1536.0, 0.5)),
    ('RESOURCE_EXHAUSTED: in words of next year', (None, None)),
    ('INVALID_ARGUMENT: something else exceeds available patience', None))


@pytest.mark.parametrize('text, expected', REFUSALS)
def test_what_a_compiler_says_when_memory_is_short(text, expected):
  assert compiled.out_of_memory(RuntimeError(text)) == expected


# cut from what libtpu writes: a loop of 10, in it one of 3; a gather in two stages with one
# channel; a sum of which a fusion keeps a part; an asynchronous start with its operand
HLO = """HloModule jit_steps, is_scheduled=true

%all-reduce-scatter.1 (input.1: f32[64,64]) -> f32[16,64] {
  %all-reduce.5 = f32[64,64]{1,0:T(8,128)} all-reduce(%input.1), channel_id=7, to_apply=%add.1
}

%add.1 (lhs: f32[], rhs: f32[]) -> f32[] {
  ROOT %add.2 = f32[] add(%lhs, %rhs)
}

%async_collective_fusion.1 (p: bf16[8,16]) -> bf16[32,16] {
  %all-gather.1 = bf16[32,16]{1,0:T(8,128)(2,1)} all-gather(%p), channel_id=3, dimensions={0}
}

%async_collective_fusion.2 (p: bf16[8,16]) -> bf16[32,16] {
  %all-gather.2 = bf16[32,16]{1,0:T(8,128)(2,1)S(1)} all-gather(%p), channel_id=3, dimensions={0}
}

%inner (q: (s32[], f32[4])) -> (s32[], f32[4]) {
  %collective-permute.1 = f32[4]{0} collective-permute(%gte.5), channel_id=9
}

%inner.condition (q: (s32[], f32[4])) -> pred[] {
  %constant.3 = s32[]{:T(128)} constant(3)
  ROOT %lt.2 = pred[]{:T(512)} compare(%gte.6, %constant.3), direction=LT
}

%body (r: (s32[], f32[4])) -> (s32[], f32[4]) {
  %fusion.1 = bf16[32,16]{1,0} fusion(%x), kind=kCustom, calls=%async_collective_fusion.1
  %fusion.2 = bf16[32,16]{1,0} fusion(%x), kind=kCustom, calls=%async_collective_fusion.2
  %fusion.3 = f32[16,64]{1,0} fusion(%y), kind=kCustom, calls=%all-reduce-scatter.1
  %while.2 = (s32[], f32[4]) while(%t), condition=%inner.condition, body=%inner
}

%condition (r: (s32[], f32[4])) -> pred[] {
  %constant.4 = s32[]{:T(128)} constant(10)
  %constant.5 = s32[]{:T(128)} constant(99)
  ROOT %lt.3 = pred[]{:T(512)} compare(%gte.7, %constant.4), direction=LT
}

%unused (s: f32[4]) -> f32[4] {
  %all-to-all.9 = f32[4]{0} all-to-all(%s), channel_id=11, dimensions={0}
}

ENTRY %main.1_spmd (a: f32[4]) -> f32[4] {
  %all-reduce.1 = (f32[4]{0}, f32[2,3]{1,0}) all-reduce(%a, %b), channel_id=1, to_apply=%add.1
  %ag-start = (f32[4]{0}, f32[16]{0}) all-gather-start(%a), channel_id=2, dimensions={0}
  %ag-done = f32[16]{0} all-gather-done(%ag-start)
  ROOT %while.1 = (s32[], f32[4]) while(%t), condition=%condition, body=%body
}
"""


def test_collectives_of_a_text():
  assert compiled.collectives(HLO) == {
      'all-gather': {'count': 11, 'bytes': 10 * 32 * 16 * 2 + 16 * 4},
      'all-reduce': {'count': 1, 'bytes': 4 * 4 + 6 * 4},
      'collective-permute': {'count': 30, 'bytes': 30 * 16},
      'reduce-scatter': {'count': 10, 'bytes': 10 * 64 * 64 * 4}}


def test_a_loop_counts_as_annotated_and_once_if_nothing_is_known():
  annotated = HLO.replace('condition=%inner.condition, body=%inner', 'condition=%inner.condition, '
                          'body=%inner, backend_config={"known_trip_count":{"n":"5"}}')
  assert compiled.collectives(annotated)['collective-permute']['count'] == 50
  unknown = HLO.replace('compare(%gte.6, %constant.3)', 'compare(%gte.6, %gte.8)')
  assert compiled.collectives(unknown)['collective-permute']['count'] == 10


def test_no_collective():
  assert compiled.collectives('HloModule empty\n\nENTRY %main (a: f32[]) -> f32[] {\n}\n') == {}
