"""Many reweighted multinomial regressions at once, ten classes: ours against scikit-learn, one thread.

    python benchmarks/bench_multinomial.py [--rounds 3] [--features FILE.npz]
A fit is the originals and all versions of a random subset (the paper's budgets in turn), 5000 rows of 256 features.
scikit-learn is timed on an evenly spaced sample of the fits, on the rows in use, at tol 1e-7 and at its default 1e-4;
every row says how far above the optimum (ours at 1e-10) each solver stopped."""
import argparse
import warnings

import _bench
import torch
from torch.nn import functional as F

from paper_repro.train.multinomial import fit_multinomial


def ten_classes(n, d, separation, versions, K=10, rank=40, seed=0):
    """Rows in the manner of `_bench.features`, of K classes around random centres; originals first, then the further
    versions image by image."""
    g = torch.Generator().manual_seed(seed)
    n0 = n // versions
    y = torch.arange(n0) % K
    z = torch.randn(n0, rank, generator=g, dtype=torch.float64) * torch.logspace(.5, -1, rank, dtype=torch.float64)
    z += separation * torch.randn(K, rank, generator=g, dtype=torch.float64)[y]
    moved = (torch.arange(versions) > 0)[:, None] # the original stays
    z = z[:, None] + .3 * moved * torch.randn(n0, versions, rank, generator=g, dtype=torch.float64)
    x = z @ torch.randn(rank, d, generator=g, dtype=torch.float64) / rank ** .5
    x = torch.relu(x + .3 * torch.randn(n0, versions, d, generator=g, dtype=torch.float64))
    return torch.cat([x[:, 0], x[:, 1:].reshape(-1, d)]), torch.cat([y, y.repeat_interleave(versions - 1)])


def sklearn_fit(X, y, C, tol):
    from sklearn.linear_model import LogisticRegression
    model = LogisticRegression(C=C, tol=tol, max_iter=10000).fit(X, y)
    return torch.as_tensor(model.coef_), torch.as_tensor(model.intercept_)


def objective(W, b, X, y, u):
    "Of one problem, with u = C v."
    return .5 * (W * W).sum() + (u * F.cross_entropy(X @ W.T + b, y, reduction='none')).sum()


def excess(fits, best, X, y, U):
    "Largest relative excess of the objective over the optimum."
    gap = [(objective(W, b, X, y, u) / objective(best.coef[i], best.intercept[i], X, y, u) - 1).item()
           for i, ((W, b), u) in enumerate(zip(fits, U))]
    return float(f'{max(gap):.2e}')


def paper_weights(n, m, B, seed=1):
    from paper_repro.subsampling.policies import order, selection_weights
    budgets = [1, 10, 50, 100, 250, 500, 750, 1000]
    W = selection_weights(order('uniform', torch.ones(n), -(-B // 8), seed), budgets, n, m)
    return W.reshape(-1, n * (1 + m))[:B]


def many_fits(X, y, B, C, goal, rounds, sample, setting):
    W = paper_weights(len(X) // 5, 4, B)
    pick = torch.linspace(0, B - 1, sample).long().tolist()
    arrays = [(X[W[i] > 0].numpy(), y[W[i] > 0].numpy()) for i in pick]
    peers = {f'lbfgs, tol {tol:g}': lambda tol=tol: [sklearn_fit(*a, C, tol) for a in arrays] for tol in (1e-7, 1e-4)}
    times = _bench.in_turn({'ours': lambda: fit_multinomial(X, y, W, C), **peers}, rounds)
    best, got = fit_multinomial(X, y, W, C, tol=1e-10), fit_multinomial(X, y, W, C)
    ours = _bench.scaled(times['ours'], 1 / B)
    out = dict(setting=dict(setting, B=B, C=C, n=len(X), d=X.shape[1], classes=int(y.max()) + 1,
                            mean_rows_in_use=int((W > 0).sum(1).double().mean()),
                            accuracy_none=fit_multinomial(X, y, W[0], C).accuracy(X, y).item()),
               rounds=rounds, peers_note=f'{sample} of {B} fits timed, on the rows in use',
               ours_ms_a_fit=_bench.summary(ours, 1e3),
               excess_ours=excess(zip(got.coef, got.intercept), best, X, y, C * W),
               largest_gradient=float(f'{got.gradient_norm.max().item():.2e}'), peers={}, goal=goal)
    for k, run in peers.items():
        peer = _bench.scaled(times[k], 1 / sample)
        out['peers'][k] = dict(ms_a_fit=_bench.summary(peer, 1e3), times_slower=_bench.ratio(peer, ours),
                               excess=excess(run(), best[torch.tensor(pick)], X, y, C * W[pick]))
    out['met'] = out['peers']['lbfgs, tol 1e-07']['times_slower']['median'] >= goal
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--features', help='an .npz with X (5 n, d), originals first, and y for the synthetic rows')
    args = parser.parse_args()
    warnings.filterwarnings('ignore', module='sklearn')
    out = {}
    if args.features:
        X, y = _bench.load_features(args.features)
        out['B = 40'] = many_fits(X, y.long(), 40, 1., 3, args.rounds, 8, dict(data='file'))
    else:
        for label, separation in (('overlapping classes', .3), ('nearly separable classes', 1.)):
            out[f'{label}, B = 40'] = many_fits(*ten_classes(5000, 256, separation, 5), 40, 1., 3, args.rounds, 8,
                                                dict(data='synthetic', separation=separation))
        for B in (1, 8):
            out[f'overlapping classes, B = {B}'] = many_fits(*ten_classes(5000, 256, .3, 5), B, 1., 1, args.rounds,
                                                             min(B, 4), dict(data='synthetic', separation=.3))
    for name, result in out.items(): print(name, result, flush=True)
    _bench.write('bench_multinomial' + ('_file' if args.features else ''), out)


if __name__ == '__main__': main()
