"""P20: a training step (forward, loss, backward, optimizer) of a population of 16 on a CPU, trained as one against a plain
loop over 16 networks with an optimizer each, and against torch's `vmap` where it has a rule.

    python benchmarks/bench_population.py [--rounds 9] [--only series_given_back mlp series text cnn] [--members 16]
mlp: the network of MODALS on tables, 2 x 128, batch 32. series: LSTM 9 -> 128, windows of 32 steps, batch 128. text:
bidirectional LSTM, two layers of 64 a direction on vectors of 300, sentences of lengths as in SST-2, batch 100; the loop
runs packed sequences, or padded ones without lengths (which computes something else, for comparison). cnn: LeNet on
3x32x32, batch 100, where the population takes turns (`Members`). Rows of LSTM also hold what was tried instead: all
members' recurrence as one batched product a step with a hand-written backward pass. The process keeps freed memory
(`keep_memory`), except in the first row, series_given_back."""
import argparse

import _bench
import torch
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence

from paper_repro.models.stacked import Members, StackedLinear, StackedLSTM, StackedMLP
from paper_repro.train.population import keep_memory


def adam(module): return torch.optim.Adam(module.parameters(), 1e-3)


def loss_of(out, y):
    "Sum over the members of their mean cross-entropy."
    return F.cross_entropy(out.flatten(0, 1), y.flatten(), reduction='sum') / y.shape[1]


def stepped(forward, module, y):
    "A training step of a population that is one module."
    opt = adam(module)
    def step():
        opt.zero_grad()
        loss_of(forward(), y).backward()
        opt.step()
    return step


def looped(nets, forward, y):
    "A training step of each of many modules, one after the other."
    opts = [adam(n) for n in nets]
    def step():
        for k, (net, opt) in enumerate(zip(nets, opts)):
            opt.zero_grad()
            F.cross_entropy(forward(net, k), y[k]).backward()
            opt.step()
    return step


def vmapped(nets, x, y):
    "A training step with `vmap` over stacked parameters."
    params, _ = stack_module_state(nets)
    opt = torch.optim.Adam(list(params.values()), 1e-3)
    grads = vmap(grad(lambda p, x, y: F.cross_entropy(functional_call(nets[0], p, (x,)), y)))
    def step():
        for k, g in grads(params, x, y).items(): params[k].grad = g
        opt.step()
    return step


class Recurrence(torch.autograd.Function):
    "The LSTM's recurrence of all members from the gates' inputs (M, T, b, 4h): one batched product a step."
    @staticmethod
    def forward(ctx, gates, u):
        m, steps, b, _ = gates.shape
        h = u.shape[-1]
        act = gates.detach()
        c, tc, hs = (gates.new_empty(m, steps, b, h) for _ in range(3))
        for t in range(steps):
            a = act[:, t]
            if t: a.baddbmm_(hs[:, t-1], u.transpose(1, 2))
            a[..., :2*h].sigmoid_()
            a[..., 2*h:3*h].tanh_()
            a[..., 3*h:].sigmoid_()
            i, f, g, o = a.split(h, -1)
            torch.mul(i, g, out=c[:, t])
            if t: c[:, t].addcmul_(f, c[:, t-1])
            torch.tanh(c[:, t], out=tc[:, t])
            torch.mul(o, tc[:, t], out=hs[:, t])
        ctx.save_for_backward(act, c, tc, hs, u)
        return hs

    @staticmethod
    def backward(ctx, dhs):
        act, c, tc, hs, u = ctx.saved_tensors
        m, steps, b, _ = act.shape
        h, d, aten = u.shape[-1], torch.empty_like(act), torch.ops.aten
        dc, dh = dhs.new_zeros(m, b, h), dhs.new_zeros(m, b, h)
        for t in reversed(range(steps)):
            i, f, g, o = act[:, t].split(h, -1)
            di, df, dg, do = d[:, t].split(h, -1)
            dh.add_(dhs[:, t])
            torch.mul(dh, tc[:, t], out=do)
            dc.add_(aten.tanh_backward(dh.mul_(o), tc[:, t]))
            torch.mul(dc, g, out=di)
            torch.mul(dc, i, out=dg)
            torch.mul(dc, c[:, t-1] if t else torch.zeros_like(dc), out=df)
            both = d[:, t, :, :2*h]
            aten.sigmoid_backward.grad_input(both, act[:, t, :, :2*h], grad_input=both)
            aten.sigmoid_backward.grad_input(do, o, grad_input=do)
            aten.tanh_backward.grad_input(dg, g, grad_input=dg)
            dc.mul_(f)
            if t: torch.bmm(d[:, t], u, out=dh)
        du = d[:, 1:].reshape(m, -1, 4*h).transpose(1, 2) @ hs[:, :-1].reshape(m, -1, h)
        return d, du


class Batched(nn.Module):
    "A one-layer LSTM of all members by `Recurrence`; its last states."
    def __init__(self, lstm):
        super().__init__()
        for k, p in lstm.named_parameters(): self.register_parameter(k, nn.Parameter(p.detach().clone()))

    def forward(self, x):
        m, b, steps, i = x.shape
        flat, bias = x.transpose(1, 2).reshape(m, steps*b, i), (self.bias_ih_l0 + self.bias_hh_l0).unsqueeze(1)
        gates = torch.baddbmm(bias, flat, self.weight_ih_l0.transpose(1, 2)).view(m, steps, b, -1)
        return Recurrence.apply(gates, self.weight_hh_l0)[:, -1]


def mlp(M, g):
    x, y = torch.randn(M, 32, 30, generator=g), torch.randint(2, (M, 32), generator=g)
    net = StackedMLP(M, 30, (128, 128), 0, o=2)
    def plain(): return nn.Sequential(nn.Linear(30, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 2))
    nets = [plain() for _ in range(M)]
    return {'ours': stepped(lambda: net(x), net, y), 'loop': looped(nets, lambda n, k: n(x[k]), y),
            'vmap': vmapped([plain() for _ in range(M)], x, y)}, 10


class Last(nn.Module):
    "An LSTM's last states, and a linear layer."
    def __init__(self, i, h, n_classes, **kwargs):
        super().__init__()
        self.lstm = nn.LSTM(i, h, batch_first=True, **kwargs)
        self.head = nn.Linear(h*kwargs.get('num_layers', 1)*(1 + kwargs.get('bidirectional', False)), n_classes)

    def forward(self, x): return self.head(self.lstm(x)[1][0].transpose(0, 1).flatten(1))


def series(M, g):
    x, y = torch.randn(M, 128, 32, 9, generator=g), torch.randint(6, (M, 128), generator=g)
    def ours(make):
        both = nn.ModuleList([make(), StackedLinear(M, 128, 6, 0)])
        return stepped(lambda: both[1](both[0](x)), both, y)
    lstm = StackedLSTM(M, 9, 128, 0)
    assert torch.allclose(Batched(lstm)(x), lstm(x), atol=1e-5)
    return {'ours': ours(lambda: lstm), 'loop': looped([Last(9, 128, 6) for _ in range(M)], lambda n, k: n(x[k]), y),
            'ours, bf16': ours(lambda: StackedLSTM(M, 9, 128, 0, bf16=True)),
            'tried: batched step': ours(lambda: Batched(lstm))}, 1


def text(M, g):
    t = (torch.randn(M, 100, generator=g)*9 + 19).clamp(2, 52).long()
    x, y = torch.randn(M, 100, int(t.max()), 300, generator=g), torch.randint(2, (M, 100), generator=g)
    def ours(**kwargs):
        both = nn.ModuleList([StackedLSTM(M, 300, 64, 0, 2, True, **kwargs), StackedLinear(M, 256, 2, 0)])
        return stepped(lambda: both[1](both[0](x, t)), both, y)
    def nets(): return [Last(300, 64, 2, num_layers=2, bidirectional=True) for _ in range(M)]
    def packed(n, k): return n(pack_padded_sequence(x[k], t[k], batch_first=True, enforce_sorted=False))
    return {'ours': ours(), 'loop': looped(nets(), packed, y), 'ours, bf16': ours(bf16=True),
            'ours, rows in one group': ours(call=10**9),
            'loop, padded, no lengths': looped(nets(), lambda n, k: n(x[k]), y)}, 1


def cnn(M, g):
    x, y = torch.randn(M, 100, 3, 32, 32, generator=g), torch.randint(10, (M, 100), generator=g)
    def lenet():
        return nn.Sequential(nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
                             nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10))
    net = Members([lenet() for _ in range(M)])
    return {'ours': stepped(lambda: net(x), net, y), 'loop': looped([lenet() for _ in range(M)], lambda n, k: n(x[k]), y),
            'vmap': vmapped([lenet() for _ in range(M)], x, y)}, 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--rounds', type=int, default=9)
    parser.add_argument('--members', type=int, default=16)
    cases = dict(series_given_back=series, mlp=mlp, series=series, text=text, cnn=cnn)
    parser.add_argument('--only', nargs='*', default=list(cases), choices=list(cases))
    args = parser.parse_args()
    results = {}
    for name in args.only:
        kept = name != 'series_given_back' and keep_memory()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            steps, again = cases[name](args.members, torch.Generator().manual_seed(0))
            times = _bench.in_turn({k: lambda f=f: [f() for _ in range(again)] for k, f in steps.items()}, args.rounds)
        times = {k: _bench.scaled(t, 1/again) for k, t in times.items()}
        faster = {k: _bench.ratio(t, times['ours']) for k, t in times.items() if k != 'ours'}
        # a loop that does the same is no faster beyond the noise of the rounds
        results[name] = dict(memory_kept=kept, ms_a_step={k: _bench.summary(t, 1e3) for k, t in times.items()}, times_faster_than=faster,
                             goal='no slower than the loop: 0.95 or more', met=faster['loop']['median'] >= .95)
        print(name, results[name], flush=True)
    if set(args.only) == set(cases):
        _bench.write('bench_population', results, setting=dict(members=args.members), rounds=args.rounds)


if __name__ == '__main__': main()
