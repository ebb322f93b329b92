"""P1, P2: exact leave-one-out for all points. P7, P8: many reweighted logistic regressions at once. Ours against
scikit-learn and torch, one thread.

    python benchmarks/bench_logistic.py [--rounds 5] [--only P1 P7] [--features FILE.npz]
Peers that need one fit a point are timed on an evenly spaced sample of the fits and scaled up; the sample size is in
the JSON. Every row also says how far above the optimum each solver stopped (the optimum is ours at 1e-10), so that
times compare at a known objective."""
import argparse
import warnings

import _bench
import torch
from torch.nn import functional as F

from paper_repro.subsampling.scores import loo_exact, loss_scores
from paper_repro.train.logistic import fit_logistic


def sklearn_fit(X, y, C, solver='lbfgs', start=None, weight=None):
    from sklearn.linear_model import LogisticRegression
    model = LogisticRegression(C=C, tol=1e-7, max_iter=10000, solver=solver, warm_start=start is not None)
    if start is not None: model.coef_, model.intercept_, model.classes_ = start[0].copy(), start[1].copy(), [0, 1]
    model.fit(X, y, weight)
    return torch.as_tensor(model.coef_[0]), torch.as_tensor(model.intercept_[0])


def torch_fit(X, y, C):
    "Stopped by the same rule as scikit-learn's lbfgs: the largest entry of the gradient over C n at most 1e-7."
    w = torch.zeros(X.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    s = 2 * y - 1
    opt = torch.optim.LBFGS([w], lr=1, max_iter=10000, tolerance_grad=1e-7 * C * len(X), tolerance_change=0,
                            history_size=10, line_search_fn='strong_wolfe')
    def closure():
        opt.zero_grad()
        f = .5 * w[:-1] @ w[:-1] + C * F.softplus(-s * (X @ w[:-1] + w[-1])).sum()
        f.backward()
        return f
    opt.step(closure)
    return w.detach()[:-1], w.detach()[-1]


def objective(w, b, X, y, u):
    "Of one problem, with u = C v."
    return .5 * (w * w).sum() - (u * F.logsigmoid((2 * y - 1) * (X @ w + b))).sum()


def excess(fits, best, X, y, U):
    "Largest relative excess of the objective over the optimum."
    gap = [(objective(w, b, X, y, u) / objective(best.coef[i], best.intercept[i], X, y, u) - 1).item()
           for i, ((w, b), u) in enumerate(zip(fits, U))]
    return float(f'{max(gap):.2e}')


def leave_one_out(name, n, d, C, separation, goal, rounds, sample=25, data=None):
    X, y = data or _bench.features(n, d, separation)
    n, d = X.shape
    Xn, yn, rows = X.numpy(), y.numpy(), torch.linspace(0, n - 1, sample).long().tolist()
    full = sklearn_fit(Xn, yn, C)
    start, keep = (full[0].numpy()[None], full[1].numpy()[None]), [torch.arange(n) != i for i in rows]
    sets = [(X[k].numpy(), y[k].numpy()) for k in keep]
    cases = {'ours, all n': lambda: loo_exact(X, y, C), 'sklearn cold': lambda: [sklearn_fit(*s, C) for s in sets],
             'sklearn warm': lambda: [sklearn_fit(*s, C, start=start) for s in sets]}
    times = _bench.in_turn(cases, rounds)
    V = torch.stack([k.double() for k in keep])
    best = fit_logistic(X, y, V, C, tol=1e-10)
    exact = loss_scores(best, X, y)[range(sample), rows] - loss_scores(fit_logistic(X, y, C=C, tol=1e-10), X, y)[rows]
    ours = times['ours, all n']
    cold, warm = (_bench.scaled(times[k], n / sample) for k in ('sklearn cold', 'sklearn warm'))
    error = (loo_exact(X, y, C)[rows] - exact).abs().max().item()
    return dict(setting=dict(n=n, d=d, C=C, separation=separation, data='file' if data else 'synthetic',
                             accuracy=fit_logistic(X, y, C=C).accuracy(X, y).item()),
                ours_s=_bench.summary(ours), sklearn_cold_s=_bench.summary(cold), sklearn_warm_s=_bench.summary(warm),
                peers_note=f'{sample} of {n} refits timed, scaled up', gradient_tolerance=1e-8, rounds=rounds,
                largest_error_of_ours=float(f'{error:.2e}'), largest_exact=exact.max().item(),
                excess_sklearn_cold=excess(cases['sklearn cold'](), best, X, y, C * V),
                excess_sklearn_warm=excess(cases['sklearn warm'](), best, X, y, C * V),
                times_faster_than_cold=_bench.ratio(cold, ours), times_faster_than_warm=_bench.ratio(warm, ours),
                goal=goal, met=dict(cold=_bench.ratio(cold, ours)['median'] >= goal['cold'],
                                    warm=_bench.ratio(warm, ours)['median'] >= goal['warm']))


def paper_weights(n, m, B, seed=1):
    "Originals and all versions of a random subset, the paper's budgets in turn; layout as in `subsampling.policies`."
    from paper_repro.subsampling.policies import order, selection_weights
    budgets = [1, 10, 50, 100, 250, 500, 750, 1000]
    W = selection_weights(order('uniform', torch.ones(n), -(-B // 8), seed), budgets, n, m)
    return W.reshape(-1, n * (1 + m))[:B]


def half_subsets(n, B, seed=1):
    return (torch.rand(B, n, generator=torch.Generator().manual_seed(seed)) < .5).double()


def many_fits(name, X, y, W, C, peers, goal, rounds, sample, setting):
    B, pick = len(W), torch.linspace(0, len(W) - 1, sample).long().tolist()
    sets = [(X[W[i] > 0], y[W[i] > 0]) for i in pick]
    arrays = [(a.numpy(), b.numpy()) for a, b in sets]
    runs = {'lbfgs': lambda: [sklearn_fit(*s, C) for s in arrays],
            'newton-cholesky': lambda: [sklearn_fit(*s, C, 'newton-cholesky') for s in arrays],
            'torch.optim.LBFGS': lambda: [torch_fit(*s, C) for s in sets]}
    cases = {'ours': lambda: fit_logistic(X, y, W, C), **{k: runs[k] for k in peers}}
    times = _bench.in_turn(cases, rounds)
    best = fit_logistic(X, y, W, C, tol=1e-10)
    ours, got = _bench.scaled(times['ours'], 1 / B), fit_logistic(X, y, W, C)
    out = dict(setting=dict(setting, B=B, C=C, n=len(X), d=X.shape[1],
                            mean_rows_in_use=int((W > 0).sum(1).double().mean())), rounds=rounds,
               peers_note=f'{sample} of {B} fits timed, on the rows in use', ours_ms_a_fit=_bench.summary(ours, 1e3),
               excess_ours=excess(zip(got.coef, got.intercept), best, X, y, C * W),
               largest_gradient=float(f'{got.gradient_norm.max().item():.2e}'), peers={}, goal=goal)
    for k in peers:
        peer = _bench.scaled(times[k], 1 / sample)
        out['peers'][k] = dict(ms_a_fit=_bench.summary(peer, 1e3), times_slower=_bench.ratio(peer, ours),
                               excess=excess(runs[k](), best[torch.tensor(pick)], X, y, C * W[pick]))
    out['met'] = min(p['times_slower']['median'] for p in out['peers'].values()) >= goal
    return out


def p1(a): return leave_one_out('P1', 1000, 256, 10., 4., dict(cold=30, warm=5), a.rounds, data=a.data)
def p2(a): return leave_one_out('P2', 2000, 64, 1., 1., dict(cold=60, warm=30), a.rounds)
def p7(a):
    out = {}
    for label, separation in (('overlapping classes', 1.), ('nearly separable classes', 3.)):
        X, y = _bench.features(5000, 256, separation, versions=5)
        out[label] = many_fits('P7', X, y, paper_weights(1000, 4, 40), 10., ['lbfgs'], 3, a.rounds, 16,
                               dict(weights='paper budgets', separation=separation))
    X, y = _bench.features(5000, 256, 1., versions=5)
    for B in (1, 8, 16):
        out[f'B = {B}'] = many_fits('P7', X, y, paper_weights(1000, 4, B), 10., ['lbfgs'], 1, a.rounds, min(B, 8),
                                    dict(weights='paper budgets', separation=1.))
    return out
def p8(a):
    X, y = _bench.features(10000, 256, 1.)
    peers = ['lbfgs', 'newton-cholesky', 'torch.optim.LBFGS']
    return many_fits('P8', X, y, half_subsets(10000, 50), 1., peers, 4, a.rounds, 8,
                     dict(weights='random halves', separation=1.))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--only', nargs='*', default=['P1', 'P2', 'P7', 'P8'])
    parser.add_argument('--features', help='an .npz with X and y for P1 instead of the synthetic rows')
    args = parser.parse_args()
    args.data = _bench.load_features(args.features) if args.features else None
    warnings.filterwarnings('ignore', module='sklearn')
    for name in args.only:
        result = dict(P1=p1, P2=p2, P7=p7, P8=p8)[name](args)
        _bench.write(f'bench_logistic_{name}' + ('_file' if args.features and name == 'P1' else ''), result)
        print(name, result, flush=True)


if __name__ == '__main__': main()
