"""P12 to P15: RandAugment with an own draw for every image, against torchvision, timm, albumentations and kornia image by image (P12, P13) and against
the batch calls that draw once for all images (P14); the operators themselves against torchvision's (P15).

    python benchmarks/bench_ops.py [--rounds 7] [--only P12 P13 P14 P15]
P13 and P14 need the extra `bench` (kornia, timm, albumentations==2.0.8); a peer that is absent is left out and named. Images are uint8 tensors for us
and torchvision's tensor calls, PIL images or arrays made before the clock for the others, and what a peer returns is left as it is. Ours draws
operator and sign for every image here and calls `apply_ops`; where `paper_repro.policies.fixed` is there, its RandAugment is timed as well."""
import argparse
import importlib.util
import itertools

import _bench
import torch
from PIL import Image

from paper_repro.ops.image import apply_op, apply_ops
from paper_repro.ops.spaces import SPACES

n, layers, level = 512, 2, 9
space = SPACES['randaugment']


def images():
    "Smooth random images: a quarter of them in a narrow range."
    x = torch.nn.functional.interpolate(torch.rand(n, 3, 9, 9, generator=torch.Generator().manual_seed(0)), 32, mode='bilinear')
    x[::4] = x[::4]*.5 + .2
    return (x*255).round().to(torch.uint8)


def ours(x, gen, check):
    "RandAugment: 14 operators, one level, a fair sign, every image its own draw."
    for _ in range(layers):
        ops = space.numbers()[torch.randint(len(space.ops), (len(x),), generator=gen)]
        sign = 1 - 2*torch.randint(2, (len(x),), generator=gen)
        x = apply_ops(x, ops, space.value(ops, torch.full((len(x),), level / 30), sign, check=check), check=check)
    return x


def our_cases(x):
    gens = [torch.Generator().manual_seed(i) for i in range(2)]
    cases = {'ours': lambda: ours(x, gens[0], True), 'ours, nothing checked': lambda: ours(x, gens[1], False)}
    if importlib.util.find_spec('paper_repro.policies') and importlib.util.find_spec('paper_repro.policies.fixed'):
        from paper_repro.policies.fixed import RandAugment
        policy = RandAugment(n=layers, m=level, space='randaugment', seed=0)
        cases['policies.fixed.RandAugment'] = lambda: policy(x)
    return cases


def every(call, items):
    def run():
        for i in items: call(i)
    return run


def pil(x): return [Image.fromarray(i.permute(1, 2, 0).numpy()) for i in x]


def timm_case(x):
    from timm.data.auto_augment import rand_augment_transform
    return every(rand_augment_transform(f'rand-m{level}-n{layers}-p1.0', dict(interpolation=Image.NEAREST)), pil(x))


def albumentations_case(x):
    import albumentations as A
    import cv2
    cv2.setNumThreads(1)
    m, near = level / 30, cv2.INTER_NEAREST
    jitter = lambda name: A.ColorJitter(**{**dict(brightness=(1, 1), contrast=(1, 1), saturation=(1, 1), hue=(0, 0)), name: (1 - .9*m, 1 + .9*m)}, p=1)
    warp = lambda **kw: A.Affine(**kw, interpolation=near, p=1)
    s, t = 30*m*.57, 150/331*32*m
    ops = [A.NoOp(p=1), warp(shear=dict(x=(-s, s), y=(0, 0))), warp(shear=dict(x=(0, 0), y=(-s, s))), warp(translate_px=dict(x=(-int(t), int(t)), y=(0, 0))),
           warp(translate_px=dict(x=(0, 0), y=(-int(t), int(t)))), A.Rotate((-30*m, 30*m), interpolation=near, p=1), jitter('brightness'), jitter('saturation'),
           jitter('contrast'), A.Sharpen(alpha=(.9*m, .9*m), p=1), A.Posterize(num_bits=7, p=1), A.Solarize(threshold_range=(1 - m, 1 - m), p=1),
           A.AutoContrast(p=1), A.Equalize(p=1)]
    some = A.SomeOf(ops, n=layers, replace=True, p=1)
    return every(lambda i: some(image=i), [i.permute(1, 2, 0).numpy().copy() for i in x])


def kornia_policy():
    import kornia.augmentation as K
    return K.auto.RandAugment(n=layers, m=level)


def report(cases, peers, rounds, goals, most=None):
    "Times of all cases in turn; how many times slower each peer is than ours."
    times = _bench.in_turn(cases, rounds)
    size = {name: (most or {}).get(name, n) for name in times}
    us = {name: _bench.scaled(t, 1 / size[name]) for name, t in times.items()}
    faster = {name: _bench.ratio(us[name], us['ours']) for name in peers if name in us}
    out = dict(us_an_image={name: _bench.summary(t, 1e6) for name, t in us.items()}, images=size, times_faster=faster, goals=goals)
    out['met'] = all(faster[name]['median'] >= goal for name, goal in goals.items() if name in faster)
    out['absent'] = sorted(set(peers) - set(us))
    return out


def versions():
    from importlib.metadata import version
    return {p: version(p) for p in ('kornia', 'timm', 'albumentations', 'torchvision', 'pillow') if importlib.util.find_spec(p.replace('pillow', 'PIL'))}


def settings(): return dict(images=n, size='3x32x32 uint8', layers=layers, level=f'{level} of 30', space='randaugment', of_ours='apply_ops, operators and signs drawn in the benchmark')


def p12(rounds):
    from torchvision.transforms import v2
    x, policy = images(), v2.RandAugment(layers, level)
    cases = {**our_cases(x), 'torchvision, PIL': every(policy, pil(x)), 'torchvision, tensor': every(policy, list(x))}
    return dict(setting=settings(), **report(cases, list(cases)[-2:], rounds, {'torchvision, PIL': 4, 'torchvision, tensor': 5}))


def optional(makers):
    "The cases whose package is installed."
    found = {}
    for name, (package, make) in makers.items():
        if importlib.util.find_spec(package): found[name] = make()
    return found


def p13(rounds):
    x = images()
    few = 64

    def kornia_each():
        policy, xf = kornia_policy(), [i[None].float()/255 for i in x[:few]]
        return every(policy, xf)
    makers = {'timm, PIL': ('timm', lambda: timm_case(x)), 'albumentations': ('albumentations', lambda: albumentations_case(x)), 'kornia, one image a call': ('kornia', kornia_each)}
    cases = {**our_cases(x), **optional(makers)}
    goals = {'timm, PIL': 2, 'albumentations': 1.8, 'kornia, one image a call': 25}
    return dict(setting=settings(), **report(cases, list(makers), rounds, goals, {'kornia, one image a call': few}))


def p14(rounds):
    "One draw for the whole batch differs in cost from call to call, so a case is ten calls."
    from torchvision.transforms import v2
    x, calls = images(), 10
    xf, policy = x.float()/255, v2.RandAugment(layers, level)
    again = lambda f: every(lambda _: f(), range(calls))
    makers = {'kornia, one draw': ('kornia', lambda: (lambda k: again(lambda: k(xf)))(kornia_policy())), 'torchvision, one draw': ('torchvision', lambda: again(lambda: policy(x)))}
    cases = {**{name: again(f) for name, f in our_cases(x).items()}, **optional(makers)}
    return dict(setting={**settings(), 'calls': calls}, **report(cases, list(makers), rounds, {'kornia, one draw': 1.5, 'torchvision, one draw': 1/1.5}, {name: n*calls for name in cases}))


def p15(rounds):
    "Every operator at every level and sign of RandAugment and of AutoAugment's Invert, against torchvision's own dispatch."
    from torchvision.transforms import InterpolationMode, v2
    from paper_repro.ops.operators import OPS
    x, out = images()[:64], {}
    for peer, s in ((v2.RandAugment(), SPACES['randaugment']), (v2.AutoAugment(), SPACES['autoaugment'])):
        for op, (magnitudes, signed) in peer._AUGMENTATION_SPACE.items():
            if op in out: continue
            levels = magnitudes(s.bins, 32, 32)
            worst, unequal, count = 0, 0, 0
            for i, sign in itertools.product(range(s.bins) if levels is not None else (0,), (1, -1) if signed else (1,)):
                m = 0. if levels is None else sign*float(levels[i])
                v = dict(Solarize=255*m).get(op, 1 + m if OPS[op].unit == 'factor' else int(m) if op[0] == 'T' else m)
                theirs = peer._apply_image_or_video_transform(x, op, m, InterpolationMode.NEAREST, peer._fill)
                off = (apply_op(x, op, v).int() - theirs.int()).abs()
                worst, unequal, count = max(worst, off.max().item()), unequal + (off > 0).sum().item(), count + off.numel()
            out[op] = dict(largest_difference=worst, unequal_share=unequal / count, values=count)
    equal = sorted(op for op, r in out.items() if r['largest_difference'] == 0)
    blends = {'Color', 'Sharpness'}
    met = all(r['largest_difference'] <= (op in blends) for op, r in out.items())
    return dict(setting=dict(images=len(x), interpolation='nearest'), operators=out, bit_equal=equal, goal='all within 1, all but Color and Sharpness bit-equal', met=met)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--only', nargs='*', default=['P12', 'P13', 'P14', 'P15'])
    args = parser.parse_args()
    for name in args.only:
        result = dict(P12=p12, P13=p13, P14=p14, P15=p15)[name](args.rounds)
        _bench.write(f'bench_ops_{name}', result, peers=versions())
        print(name, result, flush=True)


if __name__ == '__main__': main()
