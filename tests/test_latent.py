"""Latent transforms and losses of MODALS under faults: hardness that says nothing (F29), classes without a partner and
batches without triplets (F30), a member that has diverged (F31), values out of range (F28), global states (F33), threads
(F34); against a loop over samples in doubles; on a GPU where there is one."""
import itertools
import math
import random
import warnings

import numpy as np
import pytest
import torch

from paper_repro.core.draws import member_generators
from paper_repro.modals.losses import triplet_loss
from paper_repro.modals.measures import hardest
from paper_repro.ops.latent import TRANSFORMS, LatentPool, apply_transforms, difference, interpolate

M, n, b, d, C = 3, 90, 24, 5, 3
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU')


def population(seed=0, dtype=torch.float32):
    "Latents, classes, losses of the pools; a batch near some of them, its transforms and magnitudes."
    g = torch.Generator().manual_seed(seed)
    y, loss = torch.randint(C, (M, n), generator=g), torch.rand(M, n, generator=g)*2
    z = torch.randn(M, n, d, generator=g) + 3*torch.randn(C, d, generator=g)[y]
    rows = torch.randint(n, (M, b), generator=g)
    near = z.gather(1, rows[..., None].expand(-1, -1, d)) + .1*torch.randn(M, b, d, generator=g)
    which, lam = torch.randint(-1, 4, (M, b), generator=g), torch.rand(M, b, generator=g)
    return z.to(dtype), y, loss.to(dtype), near.to(dtype), y.gather(1, rows), which, lam


def silent(f):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return f()


# known results

@pytest.mark.parametrize('select, metric, center', list(itertools.product(
    ('nearest', 'farthest'), ('cosine', 'euclidean'), (False, True))))
def test_whole_batch_is_a_loop_over_samples_in_doubles(select, metric, center):
    z, y, loss, zb, yb, which, lam = population()
    which[which > 1] = -1                                                         # those that draw nothing
    pool = LatentPool(z, y, loss)
    for share in (False, True):
        out = apply_transforms(zb, yb, pool, which, lam, q=1., select=select, metric=metric, center=center, share=share)
        for m, i in itertools.product(range(M), range(b)):
            own, x, size = z[m][y[m] == yb[m, i]].double().numpy(), zb[m, i].double().numpy(), lam[m, i].item()
            mu = own.mean(0)
            if which[m, i] == 0:
                p, q = (own - mu, x - mu) if center else (own, x)
                score = p @ q/np.linalg.norm(p, axis=1) if metric == 'cosine' else -np.linalg.norm(own - x, axis=1)
                x = x + size*(own[(score if select == 'nearest' else -score).argmax()] - x)
            elif which[m, i] == 1: x = x + size*(x - mu)
            np.testing.assert_allclose(out[m, i].numpy(), x, atol=2e-5)


def test_deviation_of_latents_far_from_the_origin():
    z, y, *_ = population()
    near, far = (LatentPool(z + shift, y).std for shift in (0, 1000.))
    torch.testing.assert_close(far, near, rtol=1e-3, atol=1e-4)


def test_order_of_the_pool_does_not_change_what_is_exact():
    z, y, loss, zb, yb, which, lam = population()
    which[which > 1], p = -1, torch.randperm(n, generator=torch.Generator().manual_seed(1))
    one, other = (apply_transforms(zb, yb, LatentPool(*x), which, lam, q=1.) for x in ((z, y, loss), (z[:, p], y[:, p], loss[:, p])))
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_single_and_half_precision():
    z, y, loss, zb, yb, which, lam = population()
    single = apply_transforms(zb, yb, LatentPool(z, y, loss), which, lam, seed=1, q=1.)
    double = apply_transforms(zb.double(), yb, LatentPool(z.double(), y, loss), which, lam, seed=1, q=1.)
    assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
    torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-4)
    which[which == 0] = -1                                                        # the nearest may be another in half precision
    single, half = (apply_transforms(x, yb, LatentPool(z, y, loss), which, lam, seed=1) for x in (zb, zb.bfloat16()))
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), single, rtol=.02, atol=.1)


# F28

@pytest.mark.parametrize('wrong', [-.1, 1.01, math.nan, math.inf])
def test_magnitude_out_of_range(wrong):
    z, y, loss, zb, yb, *_ = population()
    for f in TRANSFORMS.values():
        for value in (wrong, torch.full((M, b), .5).index_fill_(1, torch.tensor([3]), wrong)):
            with pytest.raises(ValueError, match=r'magnitude must be in \[0, 1\]'): f(zb, yb, LatentPool(z, y), value)


# F29

@pytest.mark.parametrize('loss', [torch.zeros(n), torch.full((n,), 7.), torch.full((n,), math.nan), torch.full((n,), math.inf)],
                         ids=['zero', 'equal', 'nan', 'inf'])
def test_losses_that_say_nothing_draw_uniformly(loss):
    z, y, *_ = population()
    pool, even = LatentPool(z[0], y[0], loss), LatentPool(z[0], y[0], weights='uniform')
    if loss[0].isfinite(): ours = interpolate(z[0], y[0], pool, .5, seed=3)
    else:
        with pytest.warns(UserWarning, match=f'{C} of {C} classes have a loss that is not finite'):
            ours = interpolate(z[0], y[0], pool, .5, seed=3)
    assert ours.equal(interpolate(z[0], y[0], even, .5, seed=3)) and ours.isfinite().all()


@pytest.mark.parametrize('replace', [False, True])
def test_fewer_weights_above_zero_than_candidates(replace):
    z, y, *_ = population()
    loss = torch.zeros(n).index_fill_(0, (y[0] == 0).nonzero()[0], 1e6)           # one of class 0 has all the weight
    out = interpolate(z[0], y[0], LatentPool(z[0], y[0], loss), 1., q=.5, replace=replace, seed=0)
    assert out.isfinite().all()
    partners = torch.cdist(out, z[0], compute_mode='donot_use_mm_for_euclid_dist').argmin(1)
    assert y[0][partners].equal(y[0])
    assert len(partners[y[0] == 0].unique()) > 1 or replace                       # asked for half of the class


# F30, F31

def test_classes_without_a_partner_are_left_alone():
    z, y, loss, zb, yb, *_ = population()
    y[1] = torch.where(torch.arange(n) == 0, 5, y[1]*0)                           # member 1: one latent of class 5, none of 1 to 4
    yb[1, :5] = torch.tensor([5, 1, 4, 7, -1])
    pool = LatentPool(z, y, loss)
    assert pool.std.isfinite().all() and pool.count[1].tolist() == [n - 1, 0, 0, 0, 0, 1]
    for f in TRANSFORMS.values():
        out = f(zb, yb, pool, .5)
        assert out.isfinite().all() and out[1, :5].equal(zb[1, :5])
        assert (out[0] != zb[0]).any(1).all()                                     # the others' classes are whole
    two = LatentPool(z[0, :2], torch.zeros(2).long())
    assert difference(zb[0], yb[0]*0, two, 1.).sub(zb[0]).abs().sub((z[0, 0] - z[0, 1]).abs()).abs().max() < 1e-5


def test_empty_pools_and_batches():
    z, y, loss, zb, yb, which, lam = population()
    empty = LatentPool(z[:, :0], y[:, :0], loss[:, :0])
    assert apply_transforms(zb, yb, empty, which, lam).equal(zb)
    none = apply_transforms(zb[:, :0], yb[:, :0], LatentPool(z, y, loss), which[:, :0], lam[:, :0])
    assert none.shape == (M, 0, d)
    assert triplet_loss(zb[:, :0], yb[:, :0], 1.).tolist() == [0]*M and hardest(loss[:, :0], y[:, :0]).shape == (M, 0)


@pytest.mark.parametrize('bad', [math.nan, math.inf])
def test_a_diverged_member_does_not_reach_the_others(bad):
    z, y, loss, zb, yb, which, lam = population()
    whole = lambda: (apply_transforms(zb, yb, LatentPool(z, y, loss), which, lam, member_generators(range(M))),
                     *(triplet_loss(zb, yb, 1., mining=k, seed=member_generators(range(M))) for k in ('random', 'all')))
    good = whole()
    z[1], zb[1], loss[1] = bad, bad, bad
    for a, c in zip(good, silent(whole)): assert a[[0, 2]].equal(c[[0, 2]])


# F33, F34

def test_global_states_stay_and_generators_advance():
    z, y, loss, zb, yb, which, lam = population()
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    g, pool = torch.Generator().manual_seed(0), LatentPool(z, y, loss)
    first, second = (apply_transforms(zb, yb, pool, which, lam, g) for _ in range(2))
    triplet_loss(zb, yb, 1., mining='all')
    assert not first.equal(second)
    assert before[0].equal(torch.get_rng_state()) and before[1] == np.random.get_state()[1].tolist() and before[2] == random.getstate()


def test_threads_give_the_same_within_rounding():
    z, y, loss, zb, yb, which, lam = population()
    def run(threads):
        old = torch.get_num_threads()
        torch.set_num_threads(threads)
        try: return apply_transforms(zb, yb, LatentPool(z, y, loss), which, lam, 5), triplet_loss(zb, yb, 1., mining='all')
        finally: torch.set_num_threads(old)
    for a, c in zip(run(1), run(2)): torch.testing.assert_close(a, c, rtol=1e-5, atol=1e-5)


@GPU
@pytest.mark.parametrize('options', [{}, dict(share=True), dict(replace=True, select='farthest', center=True), dict(origin='random')])
def test_gpu_is_the_cpu_for_the_same_numbers(options):
    data = population()
    def run(device):
        z, y, loss, zb, yb, which, lam = (x.to(device) for x in data)
        zb.requires_grad_()
        out = apply_transforms(zb, yb, LatentPool(z, y, loss), which, lam, member_generators(range(M)), **options)
        tri = [triplet_loss(zb, yb, 1., mining=k, seed=member_generators(range(M))) for k in ('random', 'all')]
        grad, = torch.autograd.grad(out.square().sum() + sum(t.sum() for t in tri), zb)
        return [x.detach().cpu() for x in (out, *tri, grad)]
    for a, c in zip(run('cpu'), run('cuda')): torch.testing.assert_close(a, c, rtol=1e-4, atol=1e-4)
