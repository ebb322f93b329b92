"""P21: CPU seconds that an import costs, each in a fresh process, the cases taking turns; JSON under
benchmarks/results/.

    python benchmarks/bench_import.py [--rounds 9]
The goal: every library module together at most 0.7 s above torch alone. Files are read once beforehand, so that no case
pays for a cold disk."""
import argparse
import os

os.environ['OMP_NUM_THREADS'] = '1'        # before torch: its record then says so too

import statistics
import subprocess
import sys
from pathlib import Path

root = Path(__file__).parents[1]
modules = sorted('.'.join(p.relative_to(root).with_suffix('').parts)
                 for p in (root/'paper_repro').glob('*/*.py') if p.name != '__init__.py')
cases = {
    'python': 'pass',
    'torch': 'import torch',
    'torch + torchvision': 'import torch, torchvision',
    'sklearn.linear_model': 'import sklearn.linear_model',
    'paper_repro': 'import paper_repro',
    'paper_repro, every module': 'import importlib\n' + '\n'.join(f'import {m}' for m in modules),
}
goal = 0.7


def cpu_seconds(code):
    "User and system time of a fresh interpreter that runs `code`, one thread. Raises `RuntimeError` when it fails."
    process = subprocess.Popen([sys.executable, '-c', code], cwd=root, stderr=subprocess.PIPE, text=True)
    message = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status: raise RuntimeError(message)
    return usage.ru_utime + usage.ru_stime


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--rounds', type=int, default=9, help='fresh processes of each case')
    args = parser.parse_args()
    for code in cases.values(): cpu_seconds(code)
    times = {name: [] for name in cases}
    for _ in range(args.rounds):
        for name, code in cases.items(): times[name].append(cpu_seconds(code))

    from paper_repro.core.files import write_json
    from paper_repro.core.runtime import provenance
    median = {name: statistics.median(t) for name, t in times.items()}
    over = median['paper_repro, every module'] - median['torch']
    result = dict(benchmark='P21 import', unit='CPU s', rounds=args.rounds, modules=modules,
                  provenance=provenance('cpu'),
                  cases={name: dict(median=round(median[name], 3), min=round(min(t), 3), max=round(max(t), 3))
                         for name, t in times.items()},
                  over_torch=round(over, 3), goal=f'over_torch <= {goal}', met=over <= goal)
    write_json(root/'benchmarks/results/bench_import.json', result)
    for name, t in times.items(): print(f'{name:28} {median[name]:6.2f} s   ({min(t):.2f} to {max(t):.2f})')
    print(f'every module above torch: {over:.2f} s (goal {goal} s)')


if __name__ == '__main__': main()
