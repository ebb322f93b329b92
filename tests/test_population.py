"""Populations trained as one and searched: what holds across processes, and with real networks and optimizers."""
import json
import signal
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from conftest import ROOT
from paper_repro.core.draws import draw, member_generators
from paper_repro.core.runtime import generator
from paper_repro.modals.policy import explore
from paper_repro.models.stacked import StackedLinear, StackedMLP
from paper_repro.train.engines import loop_engine, ray_engine, take_states
from paper_repro.train.population import clip_members, evolve, finite_members, pack, take, take_optimizer

M, P = 16, 16


def same(a, b): torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


def data(seed=0):
    g = generator(seed)
    x = torch.randn(200, 4, generator=g)
    return x, (x[:, 0] * x[:, 1] > 0).long()


class Search:
    "Two stacked networks, each with its optimizer; the first entry of a policy scales the weight of the loss."
    def __init__(self, seed=0, diverges=None):
        self.x, self.y = data()
        self.net, self.head = StackedMLP(M, 4, (8, 8), seed), StackedLinear(M, 8, 2, seed)
        both = nn.ModuleList([self.net, self.head])
        self.state = dict(both=both, opt=torch.optim.Adam(both.parameters(), 1e-2))
        self.diverges, self.before, self.after = diverges, [], []

    def advance(self, state, policies, generation):
        net, head = state['both']
        for step in range(3):
            gens = member_generators(range(M), 'step', generation, step)
            rows = (draw('uniform', (M, 10), gens) * 150).long()
            out = head(net(self.x[rows]))
            loss = F.cross_entropy(out.flatten(0, 1), self.y[rows].flatten(), reduction='none').view(M, -1).mean(1)
            if (generation, step) == (1, 1) and self.diverges is not None:
                loss = loss * torch.where(torch.arange(M) == self.diverges, torch.inf, 1.)
            state['opt'].zero_grad()
            (loss * (1 + policies[:, 0])).sum().backward()
            clip_members(state['both'], 5.)
            state['opt'].step()
        with torch.no_grad():
            hits = head(net(self.x[150:].expand(M, -1, -1))).argmax(-1) == self.y[150:]
        return state, torch.where(finite_members(state['both']), hits.double().mean(1), torch.nan)

    def take(self, state, index):
        self.before.append({k: v.clone() for k, v in pack(state).items()})
        take(state['both'], index)
        take_optimizer(state['opt'], index, state['both'])
        self.after.append({k: v.clone() for k, v in pack(state).items()})

    def run(self, generations=5, **kwargs):
        policies = torch.zeros(M, P, dtype=torch.int64)
        return evolve(self.state, policies, self.advance, self.take, explore, generations, **kwargs)


def test_the_bottom_quarter_has_its_sources_weights_and_moments_and_the_rest_is_untouched():
    search = Search()
    record = search.run()
    assert len(search.after) == 4                             # not after the last generation
    for sources, before, after in zip(record.sources, search.before, search.after):
        stay = sources == torch.arange(M)
        assert stay.sum() == 12
        assert len(set(sources[~stay].tolist()) & set((~stay).nonzero()[:, 0].tolist())) == 0
        for k, v in after.items():
            if v.ndim: same(v, before[k][sources])
            else: same(v, before[k])                          # the step count, common to all


def test_explored_policies_are_integers_from_0_to_10():
    policies = Search().run(8).policies
    assert policies.dtype == torch.int64
    assert policies.shape == (8, M, P)
    assert 0 <= policies.min() and 0 < policies.max() <= 10
    assert policies[0].max() == 0


def test_a_member_that_diverges_is_replaced_and_named(caplog):
    search = Search(diverges=6)
    with caplog.at_level('WARNING'): record = search.run()
    assert record.diverged == [[1, 6]]
    assert 'generation 1: members [6] have diverged' in caplog.text
    assert record.sources[1, 6] != 6
    assert record.scores[2:].isfinite().all()
    assert finite_members(record.state['both']).all()
    assert all(v.isfinite().all() for v in pack(record.state).values())    # the moments too


KILLED = '''
import os, signal, sys
sys.path.insert(0, {tests!r})
from test_population import Search
search, stop = Search(), int(sys.argv[2])
advance = search.advance
def fragile(state, policies, generation):
    print(generation, flush=True)
    out = advance(state, policies, generation)
    if generation == stop: os.kill(os.getpid(), signal.{signal})
    return out
search.advance = fragile
record = search.run(checkpoint=sys.argv[1])
import json
from paper_repro.core.files import tensors_sha256
from paper_repro.train.population import pack
print(json.dumps([record.to_dict(), tensors_sha256(pack(record.state))]))
'''


@pytest.mark.skipif(not hasattr(signal, 'SIGKILL'), reason='no SIGKILL here')
def test_a_killed_search_goes_on_bit_equal(tmp_path):
    code = KILLED.format(tests=str(ROOT/'tests'), signal='SIGKILL')
    def run(path, stop): return subprocess.run([sys.executable, '-c', code, path, str(stop)], cwd=ROOT, capture_output=True, text=True)
    unbroken = run(tmp_path/'a.safetensors', -1)
    assert unbroken.returncode == 0, unbroken.stderr
    broken = run(tmp_path/'b.safetensors', 2)
    assert broken.returncode == -signal.SIGKILL
    resumed = run(tmp_path/'b.safetensors', -1)
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout.splitlines()[:-1] == ['2', '3', '4']          # 0 and 1 were finished
    assert json.loads(resumed.stdout.splitlines()[-1]) == json.loads(unbroken.stdout.splitlines()[-1])


def test_a_population_of_one_is_plain_training():
    x, y = data()
    net = StackedMLP(1, 4, (16, 16), [3], o=2)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        plain = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2))
    opts = [torch.optim.Adam(m.parameters(), 1e-2) for m in (net, plain)]
    for step in range(20):
        rows = torch.randint(200, (10,), generator=generator(0, step))
        for out, m, opt in zip((net(x[None, rows])[0], plain(x[rows])), (net, plain), opts):
            opt.zero_grad()
            F.cross_entropy(out, y[rows]).backward()
            if m is net: clip_members(m, .3)
            else: nn.utils.clip_grad_norm_(m.parameters(), .3)
            opt.step()
    for a, b in zip(net.parameters(), plain.parameters()): torch.testing.assert_close(a[0], b, rtol=0, atol=1e-5)


def regress(state, policy, generation, member):
    "Five steps of a regression."
    g, goal = generator(5, generation, member), torch.tensor([1., -2, .5])
    for _ in range(5):
        x = torch.randn(16, 3, generator=g)
        w = state['w']
        state = dict(w=w - .02 * int(policy[0]) * 2 * x.T @ (x @ (w - goal)) / 16)
    return state, -float((state['w'] - goal).norm())


def test_ray_gives_what_the_loop_gives(monkeypatch):
    pytest.importorskip('ray')
    monkeypatch.setenv('PYTHONPATH', f"{ROOT/'tests'}:{ROOT}")          # of Ray's workers
    def search(advance):
        start = [dict(w=torch.zeros(3)) for _ in range(8)]
        return evolve(start, torch.arange(8).view(8, 1), advance, take_states, lambda p, g: (p + 1) % 9, 3)
    a = search(loop_engine(regress))
    with ray_engine(regress) as advance: b = search(advance)
    assert a.to_dict() == b.to_dict()
    for s, t in zip(a.state, b.state): same(s['w'], t['w'])
