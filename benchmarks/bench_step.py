"""G5: share of a training step (augmentation, forward, loss, backward, SGD) that goes to augmentation: ResNet-18 with
a 3x3 first convolution and no pooling after it, bf16 channels-last, batch 512, on a GPU; our policies, which draw for
every image, against kornia's batch call, which draws once for all of them.

    python benchmarks/bench_step.py [--device auto] [--batch 512] [--rounds 9] [--steps 20] [--network resnet18]
                                    [--compile]
On a CPU the defaults are small (batch 32, one step, float32) and prove that it runs: the goal is one of a GPU, so `met`
is then null and the results have a name of their own. Another network is a name of `models.wide`, e.g. wrn-28-10.
kornia is in the extra `bench`; where it is absent it is left out and named. Images are uint8 and on the device before
the clock; kornia takes floats, and its conversion is then part of its call rather than of the step. `--compile`
compiles the network, which makes the step shorter and the share larger. `share_of_step` is what a step takes longer
with augmentation than without, over all it takes, round by round. `alone_over_step` has above the line the time of the
augmentation called alone, which overlaps with nothing."""
import argparse
import importlib.util
import statistics

import _bench
import torch
from torch import nn
from torch.nn import functional as F

from paper_repro.core.runtime import pick_device
from paper_repro.models.wide import build_network
from paper_repro.policies.blocks import CropFlip, Cutout
from paper_repro.policies.fixed import policy

goal, level = .10, 9


def network(name, classes=10):
    "ResNet-18 for 32x32, or one of `models.wide`."
    if name != 'resnet18': return build_network(name, classes, 0)
    from torchvision.models import resnet18
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = resnet18(num_classes=classes)
        net.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    net.maxpool = nn.Identity()
    return net


def augmentations(seed=0):
    "Name -> function of uint8 images; those of kornia give floats."
    found = {'ours, RandAugment': policy('randaugment', seed=seed),
             'ours, TrivialAugment wide': policy('trivialaugment_wide', seed=seed),
             'ours, AutoAugment': policy('autoaugment_cifar10', seed=seed),
             'ours, crop, flip, RandAugment, Cutout':
                 nn.Sequential(CropFlip(seed=seed), policy('randaugment', seed=seed), Cutout(seed=seed))}
    if importlib.util.find_spec('kornia'):
        import kornia.augmentation as K
        theirs = K.auto.RandAugment(n=2, m=level)
        found['kornia, RandAugment, one draw'] = lambda x: theirs(x.float() / 255)
    return found


class Step:
    "A training step of one network; all cases share its weights."
    def __init__(self, name, dev, bf16, compiled):
        self.net = network(name).to(dev, memory_format=torch.channels_last).train()
        self.forward = torch.compile(self.net) if compiled else self.net
        self.opt = torch.optim.SGD(self.net.parameters(), .01, .9, weight_decay=5e-4, nesterov=True)
        self.dev, self.bf16 = dev, bf16
        self.mean = torch.tensor([.4914, .4822, .4465], device=dev).view(-1, 1, 1)

    def __call__(self, x, y):
        if x.dtype == torch.uint8: x = x.float() / 255
        x = (x - self.mean).contiguous(memory_format=torch.channels_last)
        self.opt.zero_grad()
        with torch.autocast(self.dev.type, torch.bfloat16, enabled=self.bf16):
            loss = F.cross_entropy(self.forward(x), y)
        loss.backward()
        self.opt.step()


def images(n, dev):
    "Smooth random images: a quarter of them in a narrow range."
    g = torch.Generator().manual_seed(0)
    x = F.interpolate(torch.rand(n, 3, 9, 9, generator=g), 32, mode='bilinear')
    x[::4] = x[::4]*.5 + .2
    return (x*255).round().to(torch.uint8).to(dev), torch.randint(10, (n,), generator=g).to(dev)


def spread(q): return {f.__name__: round(f(q), 4) for f in (statistics.median, min, max)}


def share(with_it, without, kind):
    "What a step with augmentation takes longer than one without, over all it takes; a value a round."
    return spread([(a - b) / a for a, b in zip(with_it[kind], without[kind])])


def quotient(a, b, kind): return spread([x / y for x, y in zip(a[kind], b[kind])])


def measure(args, dev):
    x, y = images(args.batch, dev)
    step, augments = Step(args.network, dev, args.bf16, args.compile), augmentations()

    def again(f): return lambda: [f() for _ in range(args.steps)]
    cases = {'step': again(lambda: step(x, y))}
    for k, f in augments.items():
        cases[f'step, {k}'] = again(lambda f=f: step(f(x), y))
        cases[k] = again(lambda f=f: f(x))
    with torch.random.fork_rng(devices=[dev] if dev.type == 'cuda' else []):
        torch.manual_seed(0)
        for f in augments.values(): step(f(x), y)                   # set-up, and compilation for each kind of input
        times = {k: _bench.scaled(t, 1 / args.steps) for k, t in _bench.in_turn(cases, args.rounds).items()}
    kind = 'cpu' if dev.type == 'cpu' else 'wall'
    added = {k: share(times[f'step, {k}'], times['step'], kind) for k in augments}
    alone = {k: quotient(times[k], times[f'step, {k}'], kind) for k in augments}
    ours = [k for k in augments if k.startswith('ours')]
    tested = dev.type == 'cuda' and args.batch == 512 and args.network == 'resnet18'
    result = dict(clock=kind, ms={k: _bench.summary(t, 1e3) for k, t in times.items()}, share_of_step=added,
                  alone_over_step=alone, goal=f'share at most {goal:g} on a data-centre GPU, ResNet-18, batch 512',
                  met=max(added[k]['median'] for k in ours) <= goal if tested else None)
    theirs = 'kornia, RandAugment, one draw'
    if theirs in augments: result['kornia_over_ours'] = _bench.ratio(times[theirs], times['ours, RandAugment'], kind)
    else: result['absent'] = ['kornia']
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--device', default='auto')
    parser.add_argument('--network', default='resnet18')
    parser.add_argument('--compile', action='store_true')
    for k in ('batch', 'rounds', 'steps'): parser.add_argument(f'--{k}', type=int)
    args = parser.parse_args()
    dev = pick_device(args.device)
    args.bf16 = dev.type == 'cuda'
    for k, (gpu, cpu) in dict(batch=(512, 32), rounds=(9, 3), steps=(20, 1)).items():
        if getattr(args, k) is None: setattr(args, k, gpu if args.bf16 else cpu)
    result = measure(args, dev)
    setting = dict(network=args.network, batch=args.batch, images='3x32x32 uint8, on the device', bf16=args.bf16,
                   compiled=args.compile, steps=args.steps, rounds=args.rounds,
                   randaugment=f'2 operators, level {level} of 30')
    parts = ['G5' if dev.type == 'cuda' else dev.type, args.network if args.network != 'resnet18' else '',
             'compiled' if args.compile else '']
    name = '_'.join(['bench_step', *filter(None, parts)])
    _bench.write(name, result, device=dev, setting=setting)
    print(name, setting, result, sep='\n', flush=True)


if __name__ == '__main__': main()
