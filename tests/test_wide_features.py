"""More features than images, as for small NORB: 2304 features of 1000 images.
Synthetic features, non-negative as a network's are after its last ReLU."""
import warnings

import pytest
import torch

from paper_repro.subsampling.experiment import Policy, run_policies
from paper_repro.subsampling.pools import FrozenPool
from paper_repro.subsampling.scores import influence_scores, loo_exact, loss_scores
from paper_repro.train.logistic import fit_logistic

N, M, D = 1000, 4, 2304


def features(n, m, d=D, rank=300, seed=0):
    """Features of n images and m versions of each, originals first: a falling spectrum, one direction that tells the
    classes apart, versions near their image."""
    g = torch.Generator().manual_seed(seed)
    scale = torch.arange(1, rank + 1).double()**-.5
    basis = torch.randn(rank, d, generator=torch.Generator().manual_seed(99)).double() * 12/d**.5
    y = torch.arange(n) % 2
    z = torch.randn(n, rank, generator=g).double()*scale
    z[:, 0] += .8*(2*y - 1)
    z = torch.cat([z, (z[:, None] + .3*scale*torch.randn(n, m, rank, generator=g).double()).flatten(0, 1)])
    X = torch.relu(z @ basis + .2*torch.randn(len(z), d, generator=g).double())
    return X, torch.cat([y, y.repeat_interleave(m)])


def quiet(score, *args, **kwargs):
    "A score without the warning that the Hessian is singular."
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return score(*args, **kwargs)


@pytest.fixture(scope='module')
def pool(): return features(N, M)


@pytest.fixture(scope='module')
def originals(pool):
    "Features, labels and the fit of the originals alone."
    X, y = pool[0][:N], pool[1][:N]
    return X, y, fit_logistic(X, y)


def test_fit_of_fewer_rows_than_features_reaches_the_optimum_of_scikit_learn(originals):
    from sklearn.linear_model import LogisticRegression
    X, y, fit = originals
    ref = LogisticRegression(C=1., tol=1e-8, max_iter=10_000).fit(X.numpy(), y.numpy())
    def objective(w, b): return (.5*(w*w).sum() - torch.nn.functional.logsigmoid((2*y - 1)*(X @ w + b)).sum()).item()
    ours = objective(fit.coef, fit.intercept)
    theirs = objective(torch.from_numpy(ref.coef_[0]), torch.from_numpy(ref.intercept_)[0])
    assert ours <= theirs*(1 + 1e-12) and theirs - ours < 1e-5*theirs
    r = torch.sigmoid(X @ fit.coef + fit.intercept) - y
    assert (fit.coef + r @ X).norm() < 1e-8 and abs(r.sum()) < 1e-8


def test_influence_is_the_odds_of_being_wrong_where_rows_are_no_more_than_features_and_intercept(originals):
    X, y, fit = originals
    odds = torch.expm1(loss_scores(fit, X, y))                     # exp(loss) - 1
    with pytest.warns(UserWarning, match='singular to working precision'): score = influence_scores(fit, X, y)
    assert (score <= 0).all()
    # 1e-9: the damping of the released code in tiny gradients
    torch.testing.assert_close(score.abs(), odds, rtol=1e-4, atol=1e-9)
    torch.testing.assert_close(quiet(influence_scores, fit, X, y, eps=1e-14).abs(), odds, rtol=1e-6, atol=1e-13)
    assert score.abs().argsort(stable=True).equal(odds.argsort(stable=True))  # the same deterministic order


@pytest.mark.parametrize('d,leverage', [(N - 1, 1.), (N//2, (N//2 + 1)/N)], ids=['n = d + 1', 'n = 2d'])
def test_link_holds_up_to_n_equal_d_plus_1_and_leverages_sum_to_the_rank_beyond(d, leverage, originals):
    X, y, _ = originals
    X = X[:, :d]
    fit = fit_logistic(X, y)
    h = quiet(influence_scores, fit, X, y, eps=1e-14).abs() / torch.expm1(loss_scores(fit, X, y))
    assert abs(h.mean().item() - leverage) < 1e-4                  # the damping takes a little from rows of loss 1e-9
    assert (h.min() > .95) == (d == N - 1) and h.max() < 1 + 1e-6


def test_corrected_influence_is_the_exact_change_of_leaving_out(originals):
    X, y, _ = originals
    X, y = X[:200], y[:200]
    fit, exact = fit_logistic(X, y), loo_exact(X, y)
    assert torch.corrcoef(torch.stack([influence_scores(fit, X, y, 'corrected'), exact]))[0, 1] > .999
    for i in exact.topk(2).indices:                                # by refits, the rows that change most
        keep = torch.arange(200) != i
        refit = fit_logistic(X[keep], y[keep])
        change = loss_scores(refit, X[i:i + 1], y[i:i + 1]) - loss_scores(fit, X[i:i + 1], y[i:i + 1])
        assert abs(change - exact[i]) < 1e-6


def test_batch_over_the_augmented_pool_is_each_fit_alone_and_keeps_the_endpoint(pool):
    X, y = pool
    W = torch.zeros(8, len(X)).double()
    W[:, :N] = 1
    for w, b in zip(W, (1, 50, 100, 250, 500, 750, N, N)): w[N:].view(N, M)[:b] = 1    # b images augmented
    batch = fit_logistic(X, y, W)
    assert (batch.gradient_norm < 1e-8).all()
    assert (batch.coef[6] - batch.coef[7]).abs().max() < 1e-8      # all of them, twice
    rows = W[2] > 0
    alone = fit_logistic(X[rows], y[rows])                         # 1400 rows, in their row space
    assert (batch.coef[2] - alone.coef).abs().max() < 1e-7
    h = influence_scores(batch[6], X, y).abs() / torch.expm1(loss_scores(batch[6], X, y))
    assert abs(h.sum() - (D + 1)) < .1                    # 5000 rows: the rank of 2304 features and the intercept


def test_policies_run_on_wide_features():
    n, d = 60, 400
    (X, y), (Xt, yt) = features(n, 2, d, rank=80), features(40, 2, d, rank=80, seed=1)
    policies = {'random': Policy('uniform'), 'influence': Policy('deterministic', 'influence'),
                'loss': Policy('deterministic', 'loss')}
    curves = quiet(run_policies, FrozenPool(X, y, Xt, yt, n, 40), policies, (1, 20, n), 2, seed=0)
    assert (curves.at('influence', 20) == curves.at('loss', 20)).all()          # one order, see above
    assert len({a.item() for p in policies for a in curves.accuracy(p)[:, -1]}) == 1 # at b = n all are the whole pool
