"""P16, P17: the latent policy and the triplet mining of MODALS, against the authors' loops over samples and pairs, written
anew; and a population's transforms against its members one after another.

    python benchmarks/bench_latent.py [--rounds 7] [--only P16 P17 population]
The loop over samples gathers the sample's class from the float64 pool anew for every sample, as the released code does;
class means and deviations are computed once for it, as for us. The loop over pairs indexes the matrix of distances with
tensors pair by pair, as such loops do; a leaner one on arrays stands beside it. Both sides have the same policy and the
same margin, and their mean displacements (P16) and mean losses (P17) are compared."""
import argparse
import itertools

import _bench
import numpy as np
import torch

from paper_repro.core.draws import member_generators
from paper_repro.modals.losses import triplet_loss
from paper_repro.modals.policy import COUNTS, LatentPolicy, apply_policy
from paper_repro.modals.published import SHIPPED
from paper_repro.ops.latent import LatentPool, apply_transforms

b, d, classes = 128, 256, 2
code_mode = dict(select='farthest', center=True, replace=True)


def latents(each, seed=0):
    "A pool of `each` latents a class with losses, and a batch near some of them."
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(classes).repeat_interleave(each)
    z = torch.randn(classes*each, d, generator=g) + 2*torch.randn(classes, d, generator=g)[y]
    i = torch.randint(classes*each, (b,), generator=g)
    loss = torch.rand(classes*each, generator=g)*2
    return z, y, loss, z[i] + .1*torch.randn(b, d, generator=g), y[i]


class SampleLoop:
    "The policy sample by sample: float64 pool, the class gathered for each sample."
    def __init__(self, z, y, loss):
        self.z, self.y, self.loss = z.double(), y, loss.double()
        own = [self.z[y == c] for c in range(classes)]
        self.mean, self.std = ([f(x) for x in own] for f in (lambda x: x.mean(0), lambda x: x.std(0)))

    def interpolate(self, z, lam, pool, loss, c, g):
        p = (loss - loss.max()).softmax(0)
        s = pool[torch.multinomial(p, max(1, int(.05*len(pool))), replacement=True, generator=g)]
        far = 1 - torch.cosine_similarity(s - self.mean[c], (z - self.mean[c])[None], dim=1)
        return z + lam*(s[far.argmax()] - z)

    def extrapolate(self, z, lam, pool, loss, c, g): return z + lam*(z - self.mean[c])

    def difference(self, z, lam, pool, loss, c, g):
        j, k = torch.randperm(len(pool), generator=g)[:2]
        return z + lam*(pool[j] - pool[k])

    def noise(self, z, lam, pool, loss, c, g): return z + lam*self.std[c]*torch.randn(d, generator=g)

    def __call__(self, z, y, policy, seed):
        g, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
        ops = self.interpolate, self.extrapolate, self.difference, self.noise
        slots = list(zip(itertools.cycle(ops), policy[0::2], policy[1::2]))
        out = torch.empty(z.shape, dtype=torch.float64)
        for i, c in enumerate(y.tolist()):
            x, count = z[i].double(), rng.choice(len(COUNTS), p=COUNTS)
            mine = self.y == c
            pool, loss = self.z[mine], self.loss[mine]
            for s in rng.permutation(len(slots)):
                if not count: break
                op, p, m = slots[s]
                if rng.random() < p/10:
                    x, count = op(x, m/10, pool, loss, c, g), count - 1
            out[i] = x
        return out.float()


def agreement(ours, loop, z, runs):
    "Mean squared displacement a dimension and standard error, over `runs` batches of each."
    out = {}
    for name, f in dict(ours=ours, loop=loop).items():
        v = torch.stack([(f(seed) - z).square().mean() for seed in range(runs)])
        out[name] = dict(mean=round(v.mean().item(), 5), standard_error=round((v.std()/runs**.5).item(), 5))
    gap = abs(out['ours']['mean'] - out['loop']['mean'])
    out['within_5_standard_errors'] = gap < 5*(sum(out[k]['standard_error']**2 for k in ('ours', 'loop'))**.5)
    return out


def p16(rounds):
    policies = {'constant 5': LatentPolicy.constant(5).tolist(),
                'SST2, last phase': [int(v) for v in SHIPPED['sst2'].policies[-1]]}
    out = {}
    for each, goal in ((500, 4), (5000, 8)):
        z, y, loss, zb, yb = latents(each)
        pool, loop = LatentPool(z, y, loss), SampleLoop(z, y, loss)
        for name, policy in policies.items():
            vector = torch.tensor(policy)
            cases = {'ours': lambda: apply_policy(zb, yb, pool, vector, 0),
                     'ours, code mode': lambda: apply_policy(zb, yb, pool, vector, 0, **code_mode),
                     'ours, one set a class': lambda: apply_policy(zb, yb, pool, vector, 0, share=True),
                     'loop': lambda: loop(zb, yb, policy, 0)}
            times = _bench.in_turn(cases, rounds)
            faster = {n: _bench.ratio(times['loop'], times[n]) for n in cases if n != 'loop'}
            same = agreement(lambda s: apply_policy(zb, yb, pool, vector, s, **code_mode),
                             lambda s: loop(zb, yb, policy, s), zb, 20 if each < 1000 else 6)
            out[f'{name}, {each} a class'] = dict(
                ms_a_batch={n: _bench.summary(t, 1e3) for n, t in times.items()}, times_faster=faster, goal=goal,
                met=faster['ours']['median'] >= goal, mean_squared_displacement=same)
    return dict(setting=dict(batch=b, dimensions=d, classes=classes, policies=policies, counts=list(COUNTS)), cases=out,
                met=all(r['met'] for r in out.values()))


def pair_loop(z, y, margin, seed, arrays):
    "Loss and triplets; the negative of every pair is looked for by itself."
    rng, x, kinds, triplets = np.random.default_rng(seed), z.detach(), y.numpy(), []
    square = x.square().sum(1)
    far = square[:, None] + square - 2*x @ x.T
    if arrays: far = far.numpy()
    for c in set(kinds.tolist()):
        own, others = np.where(kinds == c)[0], np.where(kinds != c)[0]
        pairs = np.array(list(itertools.combinations(own, 2)))
        near = far[pairs[:, 0], pairs[:, 1]]
        for (i, j), dist in zip(pairs, near):
            if arrays: excess = dist - far[i, others] + margin
            else: excess = (dist - far[torch.as_tensor([i]), torch.as_tensor(others)] + margin).numpy()
            violating = np.where(excess > 0)[0]
            if len(violating): triplets.append((i, j, others[rng.choice(violating)]))
    a, p, n = torch.as_tensor(np.array(triplets)).T
    return ((z[a] - z[p]).square().sum(1) - (z[a] - z[n]).square().sum(1) + margin).relu().mean(), triplets


def p17(rounds):
    g, margin, calls = torch.Generator().manual_seed(0), 2., 10
    y = (torch.rand(b, generator=g) < .5).long()
    z = torch.randn(b, d, generator=g)/d**.5 + .12*torch.randn(classes, d, generator=g)[y]/d**.5
    w = z.clone().requires_grad_()

    def ours(backward):
        for _ in range(calls):
            loss = triplet_loss(w, y, margin, mining='all')
            if backward: torch.autograd.grad(loss, w)

    def loop(backward, arrays):
        loss, _ = pair_loop(w, y, margin, 0, arrays)
        if backward: torch.autograd.grad(loss, w)
    peers, out = {'loop': False, 'loop on arrays': True}, {}
    for what, back in (('loss', False), ('loss and gradient', True)):
        cases = {'ours': lambda: ours(back), **{n: lambda a=a: loop(back, a) for n, a in peers.items()}}
        times = _bench.in_turn(cases, rounds)
        times['ours'] = _bench.scaled(times['ours'], 1/calls)
        out[what] = dict(ms={n: _bench.summary(t, 1e3) for n, t in times.items()},
                         times_faster={n: _bench.ratio(times[n], times['ours']) for n in peers})
    losses = {n: torch.stack([f(s) for s in range(10)]) for n, f in
              dict(ours=lambda s: triplet_loss(z, y, margin, mining='all', seed=s),
                   loop=lambda s: pair_loop(z, y, margin, s, True)[0]).items()}
    same = {n: dict(mean=round(v.mean().item(), 6), standard_error=round((v.std()/10**.5).item(), 6))
            for n, v in losses.items()}
    gap = abs(same['ours']['mean'] - same['loop']['mean'])
    same['within_5_standard_errors'] = gap < 5*(same['ours']['standard_error']**2 + same['loop']['standard_error']**2)**.5
    triplets = len(pair_loop(z, y, margin, 0, True)[1])
    return dict(setting=dict(batch=b, dimensions=d, classes=classes, margin=margin, triplets=triplets, calls=calls),
                cases=out, mean_loss=same, goal={'loop': 20},
                met=all(r['times_faster']['loop']['median'] >= 20 for r in out.values()))


def population(rounds):
    "80 members, batches of 32, 128 dimensions, one fifth of the samples under each transform."
    members, b, d, out = 80, 32, 128, {}
    for n, classes in ((120, 3), (455, 2), (3000, 3)):
        g = torch.Generator().manual_seed(0)
        y, loss = torch.randint(classes, (members, n), generator=g), torch.rand(members, n, generator=g)
        z = torch.randn(members, n, d, generator=g)
        zb, yb, which = z[:, :b].clone(), y[:, :b].clone(), torch.randint(-1, 4, (members, b), generator=g)
        whole, alone = LatentPool(z, y, loss), [LatentPool(*x) for x in zip(z, y, loss)]

        def together(seeds=member_generators(range(members)), **options):
            return apply_transforms(zb, yb, whole, which, .5, seeds, **options)

        def one_by_one(seeds=member_generators(range(members))):
            return torch.stack([apply_transforms(*x) for x in zip(zb, yb, alone, which, [.5]*members, seeds)])
        assert torch.equal(together(), one_by_one()) # both sets of generators are fresh
        times = _bench.in_turn({'together': together, 'together, one set a class': lambda: together(share=True),
                                'one by one': one_by_one}, rounds)
        out[f'pools of {n}, {classes} classes'] = dict(
            ms={k: _bench.summary(t, 1e3) for k, t in times.items()},
            times_faster=_bench.ratio(times['one by one'], times['together']))
    return dict(setting=dict(members=members, batch=b, dimensions=d), cases=out,
                met=all(r['times_faster']['median'] >= 1 for r in out.values()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--only', nargs='*', default=['P16', 'P17', 'population'])
    args = parser.parse_args()
    for name in args.only:
        result = dict(P16=p16, P17=p17, population=population)[name](args.rounds)
        _bench.write(f'bench_latent_{name}', result)
        print(name, result, flush=True)


if __name__ == '__main__': main()
