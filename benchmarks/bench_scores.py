"""P3, P4: influence scores in closed form against automatic differentiation. P6: how well each score ranks the exact
leave-one-out change.

    python benchmarks/bench_scores.py [--rounds 5] [--only P3 P6] [--features FILE.npz]
The authors' method takes one reverse pass a Hessian row, one gradient a sample and a dense inverse; `torch.func`
vectorises both and is the stronger peer."""
import argparse

import _bench
import torch
from torch.nn import functional as F

from paper_repro.subsampling.scores import influence_matrix, influence_scores, loo_exact, loss_scores
from paper_repro.train.logistic import fit_logistic

eps = 1e-10


def sample_loss(theta, x, y):
    return F.softplus(-(2 * y - 1) * (x @ theta[:-1] + theta[-1])) + eps * (theta[:-1] * theta[:-1]).sum()


def total_loss(theta, X, y):
    return F.softplus(-(2 * y - 1) * (X @ theta[:-1] + theta[-1])).sum() + eps * (theta[:-1] * theta[:-1]).sum()


def by_autograd(theta, X, y):
    "The authors' method."
    H = torch.autograd.functional.hessian(lambda t: total_loss(t, X, y), theta)
    t = theta.clone().requires_grad_()
    g = torch.stack([torch.autograd.grad(sample_loss(t, a, b), t)[0] for a, b in zip(X, y)])
    return -(g @ torch.linalg.inv(H) * g).sum(1)


def by_functional(theta, X, y):
    "The same with vectorised transforms."
    H = torch.func.hessian(total_loss)(theta, X, y)
    g = torch.func.vmap(torch.func.grad(sample_loss), (None, 0, 0))(theta, X, y)
    return -(torch.linalg.solve(H, g.T).T * g).sum(1)


def speed(n, d, goal, rounds):
    X, y = _bench.features(n, d, 1.)
    fit = fit_logistic(X, y)
    theta = torch.cat([fit.coef, fit.intercept[None]])
    cases = {'ours': lambda: influence_scores(fit, X, y), 'autograd': lambda: by_autograd(theta, X, y),
             'torch.func': lambda: by_functional(theta, X, y)}
    times = _bench.in_turn(cases, rounds)
    ours, rel = cases['ours'](), lambda s: float(f'{((s - cases["ours"]()).abs() / s.abs()).max().item():.2e}')
    out = dict(setting=dict(n=n, d=d, C=1., kind='authors'), rounds=rounds, goal=goal, sum_of_ours=ours.sum().item(),
               ours_ms=_bench.summary(times['ours'], 1e3), peers={})
    for k in ('autograd', 'torch.func'):
        out['peers'][k] = dict(ms=_bench.summary(times[k], 1e3), times_slower=_bench.ratio(times[k], times['ours']),
                               largest_relative_difference=rel(cases[k]()))
    out['met'] = out['peers']['autograd']['times_slower']['median'] >= goal
    return out


def gaussian(n, d, scale=.2, decay=0., seed=0):
    "Gaussian columns of standard deviation `scale`, falling to `scale` 10^-decay, labels by a random hyperplane."
    g = torch.Generator().manual_seed(seed)
    X = torch.randn(n, d, generator=g, dtype=torch.float64) * torch.logspace(0, -decay, d, dtype=torch.float64)
    return scale * X, (X @ torch.randn(d, generator=g, dtype=torch.float64) > 0).double()


def plain_influence(fit, X, y, X_test, y_test):
    "First order with the ridge of the fit, no leverage correction: own loss, and total loss of the test rows."
    A, T = (torch.cat([a, torch.ones(len(a), 1)], 1).double() for a in (X, X_test))
    p, q = fit.predict_proba(X), fit.predict_proba(X_test)
    H = fit.C * A.T * (p * (1 - p)) @ A
    H.diagonal()[:-1] += 1
    g, t = (p - y)[:, None] * A, (q - y_test) @ T
    S = torch.linalg.solve(H, g.T).T
    return fit.C * (S * g).sum(1), fit.C * S @ t


def quality(n, C, data, m=1000, tol=1e-11):
    """The exact changes are refits to a gradient of `tol`: at 1e-8 their noise would drown the smallest effects on the
    test loss."""
    from scipy.stats import spearmanr
    X, y = data
    X, y, X_test, y_test = X[:n], y[:n], X[n:n + m], y[n:n + m]
    fit, exact = fit_logistic(X, y, C=C, tol=tol), loo_exact(X, y, C, tol=tol)
    refits = fit_logistic(X, y, 1 - torch.eye(n), C, init=fit, tol=tol)
    base = loss_scores(fit, X_test, y_test).sum()
    total = torch.stack([loss_scores(refits[i], X_test, y_test).sum() for i in range(n)])
    own, test = plain_influence(fit, X, y, X_test, y_test)
    corrected = influence_scores(fit, X, y, 'corrected')
    totals = influence_matrix(fit, X, y, X_test, y_test).sum(1)
    authors = influence_matrix(fit, X, y, X_test, y_test, 'authors').sum(1).neg()
    scores = {'corrected': (corrected, totals), 'plain, with the ridge': (own, test),
              'authors': (influence_scores(fit, X, y).abs(), authors),
              'training loss': (loss_scores(fit, X, y), None)}
    rank = lambda a, b: None if a is None else round(float(spearmanr(a, b)[0]), 6)
    quotient = corrected / exact
    difference = (loss_scores(refits, X, y).diagonal() - loss_scores(fit, X, y) - exact).abs().max().item()
    out = dict(setting=dict(n=n, d=X.shape[1], C=C, test_rows=m, train_accuracy=fit.accuracy(X, y).item(),
                            test_accuracy=fit.accuracy(X_test, y_test).item()),
               spearman={k: dict(own_loss=rank(a, exact), test_loss=rank(b, total - base))
                         for k, (a, b) in scores.items()},
               corrected_over_exact=dict(
                   median=round(quotient.median().item(), 4),
                   **{f'quantile {q}': round(quotient.quantile(q).item(), 4) for q in (.05, .95)}),
               loo_against_batch_fits=float(f'{difference:.2e}'), goal=dict(own_loss=.999, test_loss=.99))
    out['met'] = {k: out['spearman']['corrected'][k] >= v for k, v in out['goal'].items()}
    return out


def p3(a): return speed(2000, 64, 20, a.rounds)
def p4(a): return speed(1000, 256, 6, a.rounds)
def p6(a):
    if a.data: return quality(1000, 10., a.data, m=len(a.data[0]) - 1000)
    sets = {'ReLU features, separable': _bench.features(2000, 256, 4.),
            'ReLU features, overlapping': _bench.features(2000, 256, 1.),
            'Gaussian, separable': gaussian(2000, 256),
            'Gaussian with decaying spectrum, separable': gaussian(2000, 256, decay=1.5)}
    return {f'{k}, C = {C:g}': quality(1000, C, data) for k, data in sets.items() for C in (10., 1.)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--only', nargs='*', default=['P3', 'P4', 'P6'])
    parser.add_argument('--features', help='an .npz with X and y (first 1000 rows train, the rest test) for P6 instead '
                                           'of the synthetic rows')
    args = parser.parse_args()
    args.data = _bench.load_features(args.features) if args.features else None
    for name in args.only:
        result = dict(P3=p3, P4=p4, P6=p6)[name](args)
        _bench.write(f'bench_scores_{name}' + ('_file' if args.features and name == 'P6' else ''), result)
        print(name, result, flush=True)


if __name__ == '__main__': main()
