"Results across processes: the same figure and table from two interpreters, and a notebook killed while it saves."
import json
import os
import random
import subprocess
import sys
import time

from paper_repro.core.stored import read_result, verify_result
from small_checkout import environment, leftovers

MAKE = '''
import sys
import matplotlib; matplotlib.use('Agg')
import matplotlib.pyplot as plt, pandas as pd
from paper_repro.core.results import Result
out, value, forever = sys.argv[1], float(sys.argv[2]), len(sys.argv) > 3
while True:
    r = Result('demo', 'figure1', profile='quick', seed=1, device='cpu', out_dir=out)
    fig, ax = plt.subplots()
    for k in {'uniform', 'influence', 'loss'}: ax.plot([1, 2, 3], [value, len(k), 2], label='same')
    ax.set_title('$\\\\alpha$')
    r.add_figure(fig, caption='n = 3').add_table(pd.DataFrame(dict(x=[value]*20000)), show=False)
    r.add_claim('a', True, estimate=value, low=value, high=value)
    plt.close(fig)
    print(r.save().name, flush=True)
    if not forever: break
    value += 1
'''


def make(out, value, *more, hash_seed='0'):
    env = environment(out.parent, TMPDIR=None, PYTHONHASHSEED=hash_seed)
    return subprocess.Popen([sys.executable, '-c', MAKE, str(out), str(value), *more], env=env, cwd=out.parent,
                            stdout=subprocess.PIPE, text=True)


def test_two_processes_write_the_same_bytes(tmp_path):
    for name in ('a', 'b'): assert make(tmp_path/name, .5).wait() == 0
    a, b = (read_result(tmp_path/n/'demo/figure1/quick') for n in 'ab')
    assert a['files'] == b['files'] and a['content_sha256'] == b['content_sha256']
    assert set(a['files']) == {'figure.png', 'figure.svg', 'table.csv'}
    assert verify_result(tmp_path/'a/demo/figure1/quick') == []
    assert str(tmp_path) not in (tmp_path/'a/demo/figure1/quick/result.json').read_text()


def test_killed_while_saving_no_result_describes_other_files(tmp_path):
    folder = tmp_path/'out/demo/figure1/quick'
    for turn in range(2):
        p = make(tmp_path/'out', 10*turn, 'forever')
        for _ in range(2): assert p.stdout.readline() == 'quick\n'
        end = time.monotonic() + random.Random(turn).uniform(.05, .5)
        while time.monotonic() < end: # a reader beside the writer
            try: text = (folder/'result.json').read_text()
            except FileNotFoundError: continue
            json.loads(text)
        p.kill()
        p.wait()
        assert verify_result(folder) in ([], ['no result in quick: result.json is missing'])
    from paper_repro.core.files import sweep
    sweep(tmp_path)
    assert leftovers(tmp_path) == [] and os.listdir(tmp_path) == ['out']
