"""What the benchmarks share: one thread, cases in turn, medians and spread, the record of the environment, seeded data,
JSON.

Import it before numpy and torch: it sets the thread count through the environment (THREADS, 1 unless set)."""
import os

threads = int(os.environ.get('THREADS', 1))
for name in ('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS'): os.environ[name] = str(threads)

import statistics
import sys
import time
from pathlib import Path

root = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(root))
import torch

torch.set_num_threads(threads)


def synchronise():
    if torch.cuda.is_initialized(): torch.cuda.synchronize()


def in_turn(cases, rounds, warm_up=True):
    """Run the cases (name -> function) one after another, `rounds` times over; name -> wall and CPU seconds of each
    round. CPU seconds leave out the time a busy machine gave to others; on one thread of a quiet machine both agree."""
    if warm_up:
        for f in cases.values(): f()
    times = {name: dict(wall=[], cpu=[]) for name in cases}
    for _ in range(rounds):
        for name, f in cases.items():
            synchronise()
            wall, cpu = time.perf_counter(), time.process_time()
            f()
            synchronise()
            times[name]['wall'].append(time.perf_counter() - wall)
            times[name]['cpu'].append(time.process_time() - cpu)
    return times


def summary(times, scale=1.):
    "Median, smallest and largest of the rounds, each times `scale`, for wall and CPU seconds."
    show = lambda x: float(f'{x * scale:.4g}')
    return {kind: dict(median=show(statistics.median(t)), min=show(min(t)), max=show(max(t)))
            for kind, t in times.items()}


def ratio(peer, ours, kind='cpu'):
    """How many times slower the peer is: the median, smallest and largest quotient over the rounds.
    Both are summaries' raw times already scaled."""
    q = [a / b for a, b in zip(peer[kind], ours[kind])]
    return dict(median=round(statistics.median(q), 2), min=round(min(q), 2), max=round(max(q), 2))


def scaled(times, scale):
    return {kind: [x * scale for x in t] for kind, t in times.items()}


def features(n, d, separation, versions=1, rank=40, seed=0):
    """Seeded stand-in for pooled network features: a decaying spectrum of `rank` latent directions, two classes
    `separation` apart in two of them, a random linear map, noise, ReLU. With `versions` > 1, rows come as originals
    first, then the further versions image by image. Returns X (n, d) float64 and y (n,)."""
    g = torch.Generator().manual_seed(seed)
    n0 = n // versions
    y = (torch.rand(n0, generator=g) < .5).double()
    z = torch.randn(n0, rank, generator=g, dtype=torch.float64) * torch.logspace(.5, -1, rank, dtype=torch.float64)
    z[:, :2] += separation * (2 * y[:, None] - 1)
    moved = (torch.arange(versions) > 0)[:, None] # the original stays
    z = z[:, None] + .3 * moved * torch.randn(n0, versions, rank, generator=g, dtype=torch.float64)
    x = z @ torch.randn(rank, d, generator=g, dtype=torch.float64) / rank ** .5
    x = torch.relu(x + .3 * torch.randn(n0, versions, d, generator=g, dtype=torch.float64))
    return torch.cat([x[:, 0], x[:, 1:].reshape(-1, d)]), torch.cat([y, y.repeat_interleave(versions - 1)])


def load_features(path):
    "Real features instead: an .npz with X (n, d) and y (n,)."
    import numpy as np
    with np.load(path, allow_pickle=False) as f:
        return torch.as_tensor(f['X']).double(), torch.as_tensor(f['y']).double()


def write(name, results, device='cpu', **more):
    "Write benchmarks/results/<name>.json with the environment; `device` is where the work ran."
    from paper_repro.core.files import write_json
    from paper_repro.core.runtime import provenance
    load = [round(x, 2) for x in os.getloadavg()]
    environment = {**provenance(device), 'threads': threads, 'load_average_at_end': load}
    write_json(root/'benchmarks/results'/f'{name}.json',
               dict(benchmark=name, provenance=environment, results=results, **more))
