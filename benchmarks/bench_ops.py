"""P12 to P15: RandAugment with an own draw for every image, against torchvision, timm, albumentations and kornia image
by image (P12, P13) and against batch calls that draw once for all images (P14); operators against torchvision's (P15).

    python benchmarks/bench_ops.py [--rounds 7] [--only P12 P13 P14 P15]
P13 and P14 need the extra `bench` (kornia, timm, albumentations); a peer that is absent is left out and named. Images
are uint8 tensors for us and torchvision's tensor calls, PIL images or arrays made before the clock for the others; what
a peer returns is left as it is."""
import argparse
import importlib.util
import itertools
import math

import _bench
import torch
from PIL import Image

from paper_repro.ops.image import apply_op
from paper_repro.ops.operators import OPS
from paper_repro.ops.spaces import SPACES
from paper_repro.policies.fixed import RandAugment

n, layers, level = 512, 2, 9


def images():
    "Smooth random images: a quarter of them in a narrow range."
    coarse = torch.rand(n, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    x = torch.nn.functional.interpolate(coarse, 32, mode='bilinear')
    x[::4] = x[::4]*.5 + .2
    return (x*255).round().to(torch.uint8)


def our_cases(x):
    policy = RandAugment(n=layers, m=level, space='randaugment', seed=0)
    return {'ours': lambda: policy(x)}


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
    m = level / 30
    slope, shift, up = math.degrees(math.atan(.3*m)), int(150/331*32*m), .9*m

    def jitter(name):
        still = dict(brightness=(1, 1), contrast=(1, 1), saturation=(1, 1), hue=(0, 0))
        return A.ColorJitter(**{**still, name: (1 - up, 1 + up)}, p=1)

    def warp(**kw): return A.Affine(**kw, interpolation=cv2.INTER_NEAREST, p=1)
    ops = [A.NoOp(p=1), warp(shear=dict(x=(-slope, slope), y=(0, 0))), warp(shear=dict(x=(0, 0), y=(-slope, slope))),
           warp(translate_px=dict(x=(-shift, shift), y=(0, 0))), warp(translate_px=dict(x=(0, 0), y=(-shift, shift))),
           A.Rotate((-30*m, 30*m), interpolation=cv2.INTER_NEAREST, p=1), jitter('brightness'), jitter('saturation'),
           jitter('contrast'), A.Sharpen(alpha=(up, up), p=1), A.Posterize(num_bits=7, p=1),
           A.Solarize(threshold_range=(1 - m, 1 - m), p=1), A.AutoContrast(p=1), A.Equalize(p=1)]
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
    out = dict(us_an_image={name: _bench.summary(t, 1e6) for name, t in us.items()}, images=size, times_faster=faster,
               goals=goals)
    out['met'] = all(faster[name]['median'] >= goal for name, goal in goals.items() if name in faster)
    out['absent'] = sorted(set(peers) - set(us))
    return out


def versions():
    from importlib.metadata import version
    packages = {n: n for n in ('kornia', 'timm', 'albumentations', 'torchvision')} | {'PIL': 'pillow'}
    return {p: version(p) for module, p in packages.items() if importlib.util.find_spec(module)}


def settings():
    return dict(images=n, size='3x32x32 uint8', layers=layers, level=f'{level} of 30', ours='policies RandAugment')


def p12(rounds):
    from torchvision.transforms import v2
    x, policy = images(), v2.RandAugment(layers, level)
    cases = {**our_cases(x), 'torchvision, PIL': every(policy, pil(x)), 'torchvision, tensor': every(policy, list(x))}
    goals = {'torchvision, PIL': 4, 'torchvision, tensor': 5}
    return dict(setting=settings(), **report(cases, list(goals), rounds, goals))


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
    makers = {'timm, PIL': ('timm', lambda: timm_case(x)),
              'albumentations': ('albumentations', lambda: albumentations_case(x)),
              'kornia, one image a call': ('kornia', kornia_each)}
    cases = {**our_cases(x), **optional(makers)}
    goals = {'timm, PIL': 2, 'albumentations': 1.8, 'kornia, one image a call': 25}
    return dict(setting=settings(), **report(cases, list(makers), rounds, goals, {'kornia, one image a call': few}))


def p14(rounds):
    "One draw for the whole batch differs in cost from call to call, so a case is ten calls."
    from torchvision.transforms import v2
    x, calls = images(), 10
    xf, policy = x.float()/255, v2.RandAugment(layers, level)

    def again(f): return every(lambda _: f(), range(calls))

    def kornia_batch():
        policy = kornia_policy()
        return again(lambda: policy(xf))
    makers = {'kornia, one draw': ('kornia', kornia_batch),
              'torchvision, one draw': ('torchvision', lambda: again(lambda: policy(x)))}
    cases = {**{name: again(f) for name, f in our_cases(x).items()}, **optional(makers)}
    goals = {'kornia, one draw': 1.5, 'torchvision, one draw': 1/1.5}
    found = report(cases, list(makers), rounds, goals, {name: n*calls for name in cases})
    return dict(setting={**settings(), 'calls': calls}, **found)


def p15(rounds):
    "Every operator at every level and sign of RandAugment, and Invert, against torchvision's own dispatch."
    from torchvision.transforms import InterpolationMode, v2
    x, out = images()[:64], {}
    for peer, s in ((v2.RandAugment(), SPACES['randaugment']), (v2.AutoAugment(), SPACES['autoaugment'])):
        for op, (magnitudes, signed) in peer._AUGMENTATION_SPACE.items():
            if op in out: continue
            levels = magnitudes(s.bins, 32, 32)
            worst, unequal, count = 0, 0, 0
            steps = range(s.bins) if levels is not None else (0,)
            for i, sign in itertools.product(steps, (1, -1) if signed else (1,)):
                m = 0. if levels is None else sign*float(levels[i])
                v = dict(Solarize=255*m).get(op, 1 + m if OPS[op].unit == 'factor' else int(m) if op[0] == 'T' else m)
                theirs = peer._apply_image_or_video_transform(x, op, m, InterpolationMode.NEAREST, peer._fill)
                off = (apply_op(x, op, v).int() - theirs.int()).abs()
                worst = max(worst, off.max().item())
                unequal += (off > 0).sum().item()
                count += off.numel()
            out[op] = dict(largest_difference=worst, unequal_share=unequal / count, values=count)
    equal = sorted(op for op, r in out.items() if r['largest_difference'] == 0)
    blends = {'Color', 'Sharpness'}
    met = all(r['largest_difference'] <= (op in blends) for op, r in out.items())
    return dict(setting=dict(images=len(x), interpolation='nearest'), operators=out, bit_equal=equal,
                goal='all within 1, all but Color and Sharpness bit-equal', met=met)


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
