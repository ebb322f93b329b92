"""A comparison of policies that is killed: no worker is left behind, what was finished stays, the rest goes on."""
import os, signal, subprocess, sys, time
from pathlib import Path
import pytest
import torch
from paper_repro.core.files import checkout, load_tensors

SCRIPT = '''
import sys
from paper_repro.policies.arms import arm
from paper_repro.policies.runs import Recipe, run_all
if __name__ == '__main__':
    recipe = Recipe('wrn-10-1', epochs=int(sys.argv[2]), bs=25, lr=.05, stem_stride=2, bf16=False)
    run_all(arm, ['basic', 'RandAugment'], 1, recipe, dict(name='digits', n=100, n_test=100), workers=2,
            folder=sys.argv[1], log=print)
'''

def start(tmp_path, folder, epochs):
    (tmp_path/'compare.py').write_text(SCRIPT)
    return subprocess.Popen([sys.executable, tmp_path/'compare.py', folder, str(epochs)], cwd=checkout(),
                            env=os.environ | {'PYTHONPATH': str(checkout()), 'OMP_NUM_THREADS': '1'})

def children(pid):
    "Processes whose parent is `pid`, from /proc."
    out = set()
    for stat in Path('/proc').glob('[0-9]*/stat'):
        try: fields = stat.read_text().rpartition(')')[2].split()
        except OSError: continue
        if int(fields[1]) == pid: out.add(int(stat.parent.name))
    return out

def alive(pid):
    try: return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except OSError: return False

@pytest.mark.skipif(not Path('/proc/self/stat').exists(), reason='looks for processes in /proc')
def test_killed_comparison_leaves_no_worker_and_resumes_bit_equal(tmp_path):
    epochs = 12
    first = start(tmp_path, tmp_path/'killed', epochs)
    deadline = time.monotonic() + 90
    while not list((tmp_path/'killed').glob('comparing-*')) and time.monotonic() < deadline: time.sleep(.1)
    workers = children(first.pid)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert list((tmp_path/'killed').glob('comparing-*')), 'no run was in flight'
    deadline = time.monotonic() + 20
    while any(map(alive, workers)) and time.monotonic() < deadline: time.sleep(.1)
    assert not [p for p in workers if alive(p)]
    assert start(tmp_path, tmp_path/'killed', epochs).wait() == 0
    assert start(tmp_path, tmp_path/'whole', epochs).wait() == 0
    kept = {folder: sorted((tmp_path/folder).glob('compared-*')) for folder in ('killed', 'whole')}
    assert [p.name for p in kept['killed']] == [p.name for p in kept['whole']]
    assert len(kept['whole']) == 2
    assert not list((tmp_path/'killed').glob('comparing-*'))
    for a, b in zip(kept['killed'], kept['whole']):
        a, b = load_tensors(a)[0], load_tensors(b)[0]
        assert all(torch.equal(a[k], b[k]) for k in ('correct', 'loss', 'train_acc'))
