"""P18: frozen ResNet-56 v2 features, float32 contiguous against bf16 channels-last. P19: the CIFAR example end to end
from trained weights.

    python benchmarks/bench_features.py [--rounds 5] [--only P18 P19]
P19 runs the three transforms with all twelve configurations of the released scripts (influence), 5 rounds, features
recomputed; it needs CIFAR-10 (PAPER_REPRO_DATA) and data/weights. THREADS sets the thread count (P18: 1; P19: 2 is the
goal's setting)."""
import argparse
import tempfile
import time

import _bench
import torch

from paper_repro.data.images import load_images
from paper_repro.models.resnet import extract_features, load_pretrained, resnet56v2
from paper_repro.subsampling.experiment import main_run, run_policies
from paper_repro.subsampling.pools import frozen_pool


@torch.no_grad()
def peer_features(net, x):
    "float32, contiguous memory, the same batches."
    net = net.to(memory_format=torch.contiguous_format).eval()
    return torch.cat([net.features(b.float() / 255) for b in x.split(256)])


def p18(rounds, n=512):
    try: net, weights = load_pretrained('cifar10_resnet56v2')[0], 'trained'
    except FileNotFoundError: net, weights = resnet56v2(), 'initial'
    try: x = load_images('cifar10', classes=(0, 1), train_size=n).x_train
    except FileNotFoundError:
        x = torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    cases = {'float32 NCHW': lambda: peer_features(net, x), 'float32 channels-last': lambda: extract_features(net, x),
             'bf16 channels-last': lambda: extract_features(net, x, dtype=torch.bfloat16)}
    times = _bench.in_turn(cases, rounds)
    ref = cases['float32 NCHW']()
    out = dict(setting=dict(images=n, weights=weights, batch=256), rounds=rounds, goal='>= 3x, error <= 1 %', ways={})
    for k, f in cases.items():
        speed = sorted(n / t for t in times[k]['cpu'])
        out['ways'][k] = dict(images_per_cpu_second=round(speed[len(speed) // 2], 1),
                              times_faster=_bench.ratio(times['float32 NCHW'], times[k]),
                              relative_error=float(f'{((f() - ref).norm() / ref.norm()).item():.2e}'))
    b = out['ways']['bf16 channels-last']
    out['met'] = b['times_faster']['median'] >= 3 and b['relative_error'] <= .01
    return out


def p19(rounds):
    net, _, sha = load_pretrained('cifar10_resnet56v2')
    images, parts = load_images('cifar10', classes=(0, 1), train_size=1000), {}
    start, cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as cold:
        for transform in ('translate', 'rotate', 'crop'):
            t = time.perf_counter()
            pool = frozen_pool(images, transform, net, sha, folder=cold)
            parts[f'{transform}, features'] = round(time.perf_counter() - t, 1)
            t = time.perf_counter()
            run_policies(pool, main_run(), rounds=5, vsv=True, folder=cold)
            parts[f'{transform}, policies'] = round(time.perf_counter() - t, 1)
    seconds = time.perf_counter() - start
    return dict(setting=dict(n=1000, transforms=3, configurations=12, rounds=5, dtype='float32'),
                seconds=round(seconds, 1), cpu_seconds=round(time.process_time() - cpu, 1), parts=parts,
                goal='<= 300 s on 2 cores', peer='authors\' README: about an hour or less', met=seconds <= 300)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--only', nargs='*', default=['P18', 'P19'])
    args = parser.parse_args()
    for name, run in (('P18', p18), ('P19', p19)):
        if name not in args.only: continue
        try: out = run(args.rounds)
        except FileNotFoundError as e:
            print(f'{name} skipped: {e}')
            continue
        _bench.write(f'bench_features_{name}', out)
        print(name, out)


if __name__ == '__main__': main()
