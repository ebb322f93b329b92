"""P22: what the runner costs above the notebook's own work, against papermill alone on the same notebooks, and what
skipping costs.

    python benchmarks/bench_runner.py [--rounds 7]
Both run in this process, in turn, papermill imported before; `command` cases are fresh processes (`paper_repro run`
against `papermill`), imports included. Papermill alone means its defaults. Seconds are of one notebook; CPU seconds are
those of the runner, its kernel and what they start."""
import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

root = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(root), str(root/'tests')]
os.environ.update(OMP_NUM_THREADS='1', PYTHONPATH=str(root))

import papermill
from small_checkout import make_checkout, notebook

from paper_repro.batch.catalogue import catalogue
from paper_repro.batch.jobs import make_jobs
from paper_repro.batch.run import Batch
from paper_repro.core.files import write_json

KINDS = {'empty': 'pass', 'torch': 'import torch'}
MANY = 10 # up-to-date notebooks a round of skipping


def cpu():
    "CPU seconds of this process and of its children that have ended."
    usage = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(r.ru_utime + r.ru_stime for r in usage)


def run(here, jobs, **options):
    batch = Batch(jobs, here/'figures', root=here, say=lambda line: None, **options)
    if batch.run(): raise RuntimeError({k: r.reason for k, r in batch.rows.items()})


def alone(here, item):
    papermill.execute_notebook(str(here/f'nbs/papers/demo/{item}.ipynb'), str(here/'out.ipynb'),
                               parameters=dict(out_dir=str(here/'alone')), kernel_name='python3', progress_bar=False,
                               cwd=str(here))


def command(here, *argv):
    subprocess.run([sys.executable, '-c', argv[0], *argv[1:]], cwd=here, check=True, capture_output=True)


def measure(cases, rounds):
    "Wall and CPU seconds of each case, in turn."
    for f in cases.values(): f()
    times = {name: dict(wall=[], cpu=[]) for name in cases}
    for _ in range(rounds):
        for name, f in cases.items():
            wall, used = time.perf_counter(), cpu()
            f()
            times[name]['wall'].append(time.perf_counter() - wall)
            times[name]['cpu'].append(cpu() - used)
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--rounds', type=int, default=7)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        here = make_checkout(tmp, **{k: notebook(k, [code, f"save('{k}')"]) for k, code in KINDS.items()})
        many = make_checkout(Path(tmp)/'many', **{f'i{i}': notebook(f'i{i}', f"save('i{i}')") for i in range(MANY)})
        jobs = {j.item.item: j for j in make_jobs(catalogue(here), 'smoke')}
        skipped = make_jobs(catalogue(many), 'smoke')
        run(many, skipped)
        cases = {}
        for k in KINDS:
            cases[f'{k}, paper_repro'] = lambda k=k: run(here, [jobs[k]], force=True)
            cases[f'{k}, papermill'] = lambda k=k: alone(here, k)
        cases['command, paper_repro'] = lambda: command(
            here, 'from paper_repro.batch.cli import main; main()', 'run', 'empty', '--force')
        cases['command, papermill'] = lambda: command(
            here, 'from papermill.cli import papermill; papermill()', 'nbs/papers/demo/empty.ipynb', 'out.ipynb',
            '-p', 'out_dir', str(here/'alone'), '--no-progress-bar')
        cases['skip'] = lambda: run(many, skipped)
        times = measure(cases, args.rounds)
        shutil.rmtree(many)
    times['skip'] = {k: [t/MANY for t in v] for k, v in times['skip'].items()}
    show = lambda v: dict(median=round(statistics.median(v), 3), min=round(min(v), 3), max=round(max(v), 3))
    over = {k: {w: show([a - b for a, b in zip(times[f'{k}, paper_repro'][w], times[f'{k}, papermill'][w])])
                for w in ('wall', 'cpu')} for k in (*KINDS, 'command')}
    # CPU: a busy machine gives wall time to others
    met = (all(statistics.median(times[f'{k}, paper_repro']['cpu']) <= 8 for k in KINDS)
           and statistics.median(times['skip']['wall']) < 1)

    from paper_repro.core.runtime import provenance
    result = dict(benchmark='P22 runner', unit='s a notebook', rounds=args.rounds,
                  cases={k: {w: show(v) for w, v in t.items()} for k, t in times.items()}, over_papermill=over,
                  provenance=provenance('cpu'), load_average_at_end=[round(x, 2) for x in os.getloadavg()],
                  goal='<= 8 s a notebook; up-to-date notebooks skipped in < 1 s each', met=bool(met))
    write_json(root/'benchmarks/results/bench_runner.json', result)
    print(json.dumps({k: result[k] for k in ('cases', 'over_papermill', 'met')}, indent=1))


if __name__ == '__main__': main()
