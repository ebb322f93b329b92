"""Faults F26 (unknown names), F27 (other types and shapes), F28 (out of range) and F33 (global random states) for every
fixed policy; states that go on after a stop (R3); draws that do not depend on the number of threads (F34)."""
import copy
import random

import numpy as np
import pytest
import torch

from paper_repro.ops.operators import as_float
from paper_repro.policies.blocks import CropFlip, Cutout
from paper_repro.policies.fixed import POLICIES, policy
from paper_repro.policies.schedule import Schedule

EVERY = [*POLICIES, 'crop and flip', 'Cutout', 'schedule']
X = torch.randint(1, 255, (20, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def make(name, seed=0):
    if name == 'crop and flip': return CropFlip(seed=seed)
    if name == 'Cutout': return Cutout(seed=seed)
    if name == 'schedule': return Schedule([(1, policy('none')), (2, policy('randaugment', seed=seed))]).set_epoch(1)
    return policy(name, seed=seed)


def states(): return random.getstate(), repr(np.random.get_state()), torch.get_rng_state().tolist()


def test_unknown_policy_lists_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'uniformaugment'"): policy('uniformaugmnt')


@pytest.mark.parametrize('name', EVERY)
def test_shapes_and_types_come_back_as_they_went_in(name):
    p = make(name)
    for x in (X, X[:, :1], X[:0], X[:1], X[:2, :, :1, :1], X[:2, :, :9, :17], as_float(X), as_float(X[:3]).bfloat16(),
              X.to(memory_format=torch.channels_last)):
        y = p(x)
        assert (y.shape, y.dtype, y.device) == (x.shape, x.dtype, x.device)
        if y.is_floating_point(): assert torch.isfinite(y).all() and y.min() >= -1e-2 and y.max() <= 1.01


@pytest.mark.parametrize('name', EVERY)
@pytest.mark.parametrize('bad, error, says', [
    (X[0], ValueError, 'x\\[None\\]'), (X[0, 0], ValueError, 'shape'), (X.float(), ValueError, 'by 255'),
    (as_float(X)*torch.nan, ValueError, 'must lie in'), (X.long(), TypeError, 'uint8'),
    (X.numpy(), TypeError, 'tensor'),
    (X.repeat(1, 2, 1, 1)[:, :4], ValueError, '1 or 3 channels')])
def test_what_is_no_batch_of_images_is_refused(name, bad, error, says):
    with pytest.raises(error, match=says): make(name)(bad)


@pytest.mark.parametrize('arguments', [dict(p=1.5), dict(p=-.1), dict(p=float('nan')), dict(p=True), dict(fill=300)])
@pytest.mark.parametrize('name', ['randaugment', 'uniformaugment', 'autoaugment_svhn', 'dada_cifar10', 'random'])
def test_probability_and_fill_out_of_range_are_refused(name, arguments):
    with pytest.raises(ValueError, match='from 0 to'): policy(name, **arguments)(X)


@pytest.mark.parametrize('m', [-1, 31, 99, float('inf'), float('nan'), '9', None])
def test_level_out_of_range_names_the_range(m):
    with pytest.raises(ValueError, match='from 0 to 30'): policy('randaugment', m=m)


@pytest.mark.parametrize('name', EVERY)
def test_global_random_states_are_neither_read_nor_changed(name):
    results = []
    for s in (0, 1):
        random.seed(s), np.random.seed(s), torch.manual_seed(s)
        before = states()
        results.append(make(name)(X))
        assert states() == before
    assert torch.equal(*results)


@pytest.mark.parametrize('name', EVERY)
def test_a_saved_state_goes_on_with_the_same_images(name, tmp_path):
    p = make(name)
    p(X)
    torch.save(p.state_dict(), tmp_path/'state.pt')
    expected = [p(X) for _ in range(3)]
    q = make(name, seed=99)
    q.load_state_dict(torch.load(tmp_path/'state.pt', weights_only=True))
    assert all(torch.equal(q(X), y) for y in expected)


@pytest.mark.parametrize('name', [n for n in EVERY if n != 'none'])
def test_two_seeds_and_two_calls_differ(name):
    p = make(name)
    twin = copy.deepcopy(p)
    first = p(X)
    assert torch.equal(twin(X), first)
    assert not torch.equal(p(X), first) and not torch.equal(make(name, seed=5)(X), first)


def test_threads_change_nothing():
    threads, found = torch.get_num_threads(), []
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            found.append([make(name)(X) for name in EVERY])
    finally: torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*found))
