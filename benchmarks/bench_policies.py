"""P12 to P14 with the policy itself: RandAugment of `paper_repro.policies.fixed`, an own draw for every image, against
torchvision, timm, albumentations and kornia image by image (P12, P13), and against the batch calls that draw once for
all images (P14). All: images a second of every fixed policy.

    python benchmarks/bench_policies.py [--rounds 9] [--only P12 P13 P14 all]
P13 and P14 need the extra `bench` (kornia, timm, albumentations==2.0.8); a peer that is absent is left out and named.
Images are uint8 tensors for us and for torchvision's tensor calls, PIL images, arrays or floats made before the clock
for the others. A call of the batch with one draw is repeated, as its cost hangs on the operators it draws."""
import argparse

import _bench
import torch

from paper_repro.policies.fixed import POLICIES, RandAugment, policy
from paper_repro.policies.peers import present, randaugment_peers

n, layers, level, again = 512, 2, 9, 8
GOALS = {'P12': {'torchvision, PIL': 4, 'torchvision, tensor': 5},
         'P13': {'timm, PIL': 2, 'albumentations': 1.8, 'kornia, each': 25},
         'P14': {'kornia, one draw': 1.5, 'torchvision, one draw': 1/1.5}}


def images():
    "Smooth random images: a quarter of them in a narrow range."
    small = torch.rand(n, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    x = torch.nn.functional.interpolate(small, 32, mode='bilinear')
    x[::4] = x[::4]*.5 + .2
    return (x*255).round().to(torch.uint8)


def timed(cases, rounds):
    "Seconds an image of every case (label -> images a call, function), run in turn."
    with torch.random.fork_rng():
        torch.manual_seed(0)
        times = _bench.in_turn({k: call for k, (_, call) in cases.items()}, rounds)
    return {k: _bench.scaled(t, 1/cases[k][0]) for k, t in times.items()}


def peers(name, rounds):
    x = images()
    ours = RandAugment(layers, level, seed=0)
    found = randaugment_peers(x, layers, level, few=32, draws=40)
    cases = {'ours': (again*n, lambda: [ours(x) for _ in range(again)])}
    cases |= {k: v for k, v in found.items() if k in GOALS[name]}
    times = timed(cases, rounds)
    faster = {k: _bench.ratio(t, times['ours']) for k, t in times.items() if k != 'ours'}
    return dict(
        setting=dict(images=n, size='3x32x32 uint8', operators=layers, level=f'{level} of 30', space='randaugment',
                     images_a_case={k: v[0] for k, v in cases.items()}),
        rounds=rounds, us_an_image={k: _bench.summary(t, 1e6) for k, t in times.items()}, times_faster=faster,
        goals={k: round(g, 3) for k, g in GOALS[name].items()}, absent=sorted(set(GOALS[name]) - set(found)),
        met=bool(faster) and all(r['median'] >= GOALS[name][k] for k, r in faster.items()))


def everyone(rounds):
    x = images()
    made = {k: policy(k, seed=0) for k in POLICIES}
    times = timed({k: (again*n, lambda p=p: [p(x) for _ in range(again)]) for k, p in made.items()}, rounds)
    return dict(setting=dict(images=n, size='3x32x32 uint8'), rounds=rounds,
                us_an_image={k: _bench.summary(t, 1e6) for k, t in times.items()})


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--rounds', type=int, default=9)
    parser.add_argument('--only', nargs='*', default=[*GOALS, 'all'])
    args = parser.parse_args()
    for name in args.only:
        result = everyone(args.rounds) if name == 'all' else peers(name, args.rounds)
        _bench.write(f'bench_policies_{name}', result, peers=present())
        print(name, result, flush=True)


if __name__ == '__main__': main()
