"""Policies in the latent space: what is out of range (F28), classes without a partner (F30), global random states (F33),
threads (F34), members alone and together, the published logs cut short, and the law of whole schedules."""
import json
import random

import numpy as np
import pytest
import torch

from paper_repro.core.draws import member_generators
from paper_repro.modals.curves import curves
from paper_repro.modals.policy import (LatentPolicy, Schedule, apply_policy, as_levels, chances, draw_operations, explore,
                                       explore_kernel, replay, stretch)
from paper_repro.modals.published import LOGS, SEARCHED, SHIPPED, random_schedule
from paper_repro.ops.latent import LatentPool

G = torch.Generator().manual_seed(0)
Z, Y = torch.randn(3, 90, 5, generator=G), torch.randint(4, (3, 90), generator=G)
LOSS = torch.rand(3, 90, generator=G)
POOL = LatentPool(Z, Y, LOSS, groups=4)
POLICIES = torch.stack([LatentPolicy.random(i, 10).levels for i in range(3)])
EVERYTHING = {
    'draw_operations': lambda: torch.cat([v.double() for v in draw_operations(POLICIES, (3, 90), seed=1)], -1),
    'apply_policy': lambda: apply_policy(Z, Y, POOL, POLICIES, 1),
    'apply_policy, members': lambda: apply_policy(Z, Y, POOL, POLICIES, member_generators([1, 2, 3])),
    'explore': lambda: explore(POLICIES[0], 1),
    'random': lambda: LatentPolicy.random(1).levels,
    'random_schedule': lambda: random_schedule(60, 1).policies,
}


def states(): return random.getstate(), repr(np.random.get_state()), torch.get_rng_state().tolist()


@pytest.mark.parametrize('what', EVERYTHING)
def test_same_seed_same_result_and_global_states_stay(what):
    before = states()
    first = EVERYTHING[what]()
    torch.rand(3)
    torch.set_rng_state(torch.tensor(before[2], dtype=torch.uint8))
    assert EVERYTHING[what]().equal(first) and states() == before


@pytest.mark.parametrize('what', EVERYTHING)
def test_number_of_threads_does_not_matter(what):
    threads, out = torch.get_num_threads(), []
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            out.append(EVERYTHING[what]())
    finally: torch.set_num_threads(threads)
    torch.testing.assert_close(*out)


@pytest.mark.parametrize('bad', [[11]*16, [-1]*16, [.5]*16, [float('inf')]*16, [5]*15, [5]*17, [[5]*16]*2, 'interpolate',
                                 [], None, 5, [None]*16, torch.zeros(16, dtype=torch.complex64)])
def test_what_is_no_policy_is_refused(bad):
    with pytest.raises(ValueError): LatentPolicy(bad)


@pytest.mark.parametrize('counts', [(), (0, 0, 0), (.5, .6), (-.5, 1.5), (float('nan'), 1.), (1/10,)*10, ((.5, .5),)])
def test_counts_that_are_no_probabilities_are_refused(counts):
    with pytest.raises(ValueError, match='counts must be probabilities'): chances(POLICIES[0], counts)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_shape_and_type_come_back(dtype):
    pool = LatentPool(Z.to(dtype), Y, LOSS, groups=4)
    for n in (90, 1, 0):
        out = apply_policy(Z[:, :n].to(dtype), Y[:, :n], pool, POLICIES, 2)
        assert (out.shape, out.dtype) == ((3, n, 5), dtype) and out.isfinite().all()


def test_latents_without_a_partner_stay_as_they_are():
    y = Y.clone()
    y[0], y[1, 0] = 9, 8                                    # a member whose classes are all unknown; a class of one
    pool = LatentPool(Z, torch.where(y == 9, 0, y), LOSS, groups=10)
    out = apply_policy(Z, y, pool, LatentPolicy([10, 9]*8), 3, counts=(0., 0., 1.))
    assert out[0].equal(Z[0]) and out[1, 0].equal(Z[1, 0]) and out.isfinite().all() and not out[2].equal(Z[2])


@pytest.mark.parametrize('options', [{}, dict(select='farthest', center=True, replace=True), dict(share=True),
                                     dict(select='random', q=1., weights='uniform', origin='random')])
def test_members_draw_alone_what_they_draw_together(options):
    together, alone = member_generators([5, 6, 7], 'a'), [member_generators([s], 'a') for s in (5, 6, 7)]
    policies = [LatentPolicy.zero(), LatentPolicy.constant(9), LatentPolicy.random(4)]
    for _ in range(4):                                      # the generators go on from call to call
        all_of_them = apply_policy(Z, Y, POOL, policies, together, **options)
        for i in range(3):
            pool = LatentPool(Z[i:i + 1], Y[i:i + 1], LOSS[i:i + 1], groups=4)
            one = apply_policy(Z[i:i + 1], Y[i:i + 1], pool, [policies[i]], alone[i], **options)
            torch.testing.assert_close(all_of_them[i], one[0])


def test_two_operations_compose():
    "Extrapolation multiplies what is left of the distance to the mean: by 1, 1.5 or 2.25, as often as the law says."
    policy = LatentPolicy([0, 0, 6, 5, 0, 0, 0, 0]*2)
    z, y = torch.randn(30000, 3, generator=torch.Generator().manual_seed(1)) + 2, torch.zeros(30000, dtype=torch.int64)
    pool = LatentPool(z, y)
    ratio = (apply_policy(z, y, pool, policy, 4) - pool.mean[0]).norm(dim=1)/(z - pool.mean[0]).norm(dim=1)
    number, _ = chances(policy)
    for times, want in zip((1, 1.5, 2.25), number.tolist()):
        seen = ((ratio - times).abs() < 1e-3).double().mean().item()
        assert abs(seen - want) < 5*(want*(1 - want)/len(z))**.5
    assert number[2] == pytest.approx(.1*.36)


@pytest.mark.parametrize('name', SHIPPED)
def test_published_log_cut_anywhere_is_refused_or_shorter(name, tmp_path):
    rows = [[*r[:4], *(p if isinstance(p, list) else p.tolist() for p in r[4:])] for r in LOGS[name]]
    text, file = '\n'.join(map(json.dumps, rows)), tmp_path/'log.txt'
    for end in range(0, len(text), 7):
        file.write_text(text[:end])
        try: schedule = replay(file, SEARCHED)
        except ValueError as e: assert 'log.txt' in str(e)
        else: assert schedule.epochs == SEARCHED and len(schedule.lengths) <= len(rows) + 1


@pytest.mark.parametrize('name', SHIPPED)
@pytest.mark.parametrize('epochs', [1, 2, 6, 30, 60, 100, 200, 997])
def test_stretched_schedules_keep_order_and_sum(name, epochs):
    short = stretch(SHIPPED[name], epochs)
    assert short.epochs == epochs == len(short.policies) and short.phases.equal(SHIPPED[name].phases)
    assert all(a == n*epochs//SEARCHED for a, n in zip(short.lengths[:-1], SHIPPED[name].lengths))
    assert Schedule(**json.loads(json.dumps(short.todict()))) == short
    assert curves(short)[1].sum(1).sub((short.policies[:, 0::2].sum(1) > 0).double()).abs().max() < 1e-12


def test_explored_for_long_the_levels_follow_the_stationary_law():
    "A chain of 3000 steps for 16 levels; correlated draws, so that the tolerance is for a tenth of them."
    policy, g, seen = torch.zeros(16, dtype=torch.int64), torch.Generator().manual_seed(0), torch.zeros(11)
    for _ in range(3000):
        policy = explore(policy, g, magnitude_top=10)
        seen += torch.bincount(policy, minlength=11)
    law = torch.linalg.matrix_power(explore_kernel(), 999)[0]
    assert ((seen/seen.sum() - law).abs() < 5*(law*(1 - law)/4800).sqrt()).all()


def test_levels_of_many_forms_are_the_same():
    one = LatentPolicy.random(3)
    for form in (one, one.levels, one.tolist(), one.levels.float(), one.levels.numpy(), tuple(one.tolist())):
        assert as_levels(form).equal(one.levels) and as_levels(form).dtype == torch.int64
    assert as_levels([one, one.levels]).shape == (2, 16) and len({one, LatentPolicy(one.tolist())}) == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_on_a_gpu_the_same_numbers_are_drawn():
    g = [member_generators([1, 2, 3]) for _ in range(2)]
    pool = LatentPool(Z.cuda(), Y.cuda(), LOSS.cuda(), groups=4)
    for _ in range(2):
        out = apply_policy(Z.cuda(), Y.cuda(), pool, POLICIES, g[0], select='farthest')
        torch.testing.assert_close(out.cpu(), apply_policy(Z, Y, POOL, POLICIES, g[1], select='farthest'))
