"Processes that are killed, terminated or doubled: F1, F2, F3, F4 of the reliability promises."
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from paper_repro.batch.catalogue import catalogue
from paper_repro.batch.jobs import make_jobs
from paper_repro.batch.run import Batch
from paper_repro.batch.status import read_status, verify_run
from paper_repro.core.files import sha256, sweep, write_bytes
from small_checkout import contents, environment, kernels, leftovers, make_checkout, notebook, paper_repro, start

# works through 30 steps of .05 s, remembers them in a checkpoint below out_dir, and writes down each step it computes
STEPS = '''
import time
from pathlib import Path
from paper_repro.core.files import write_json
import json
place = Path(out_dir).parent/'state'
done = json.loads((place/'steps.json').read_text()) if (place/'steps.json').exists() else []
for i in range(len(done), 30):
    with open(place/'computed.txt', 'a') as f: print(i, file=f)
    time.sleep(.05)
    done.append(i)
    write_json(place/'steps.json', done)
'''


def small(root):
    "Two items of which one has two variants; one writes some megabytes."
    return make_checkout(root, a=notebook('a', "save('a', rows=60_000)"),
                         b=notebook('b', "save('b', value, variant=f'v{value}')",
                                    'variants: {v1: {value: 1}, v2: {value: 2}}', parameters=dict(value=0)))


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, 'waited in vain'
        time.sleep(.02)


def results(out):
    return {str(p.parent.relative_to(out)): p.parent for p in Path(out).rglob('run.json')}


def run_here(root):
    "Run all of `root` in this process; exit code and seconds."
    began = time.monotonic()
    batch = Batch(make_jobs(catalogue(root), 'smoke'), root/'figures', root=root, workers=2)
    return batch.run(), time.monotonic() - began


@pytest.fixture(scope='module')
def unbroken(tmp_path_factory):
    "Contents of an unbroken run, and how long it took."
    root = small(tmp_path_factory.mktemp('unbroken'))
    code, seconds = run_here(root)
    assert code == 0
    return contents(root/'figures'), seconds


@pytest.mark.parametrize('turn', range(10))
def test_batch_killed_at_a_random_moment_resumes_to_equal_results(turn, tmp_path, unbroken):
    expected, seconds = unbroken
    root = small(tmp_path)
    p = start(root, 'run', '--jobs', 2)
    wait_for(lambda: (root/'figures/.paper_repro.lock').exists())
    time.sleep(random.Random(f'F1 {turn}').uniform(0, .95)*seconds)
    os.kill(p.pid, signal.SIGKILL)
    p.wait()
    finished = {k: f for k, f in results(root/'figures').items() if read_status(f).get('status') == 'done'}
    for f in finished.values(): assert verify_run(f) == []
    before = {p: p.stat().st_mtime_ns for f in finished.values() for p in f.iterdir() if not p.name.endswith('.part')}
    assert run_here(root)[0] == 0
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert contents(root/'figures') == expected
    assert leftovers(root/'figures') == [] and os.listdir(root/'tmp') == [] and kernels(root) == []
    assert [read_status(f)['status'] for f in results(root/'figures').values()] == ['done']*3


WRITER = {
    'write_bytes': '''
from paper_repro.core.files import write_bytes
while True:
    for c in b'AB': write_bytes(path, bytes([c])*20_000_000)
''',
    'write_together': '''
from paper_repro.core.stored import write_together
while True:
    for c in b'AB': write_together(path.parent, {path.name: bytes([c])*20_000_000, 'last': bytes([c])}, last='last')
''',
    'save_tensors': '''
import torch
from paper_repro.core.files import save_tensors
while True:
    for c in (65., 66.): save_tensors(path, {'x': torch.full((5_000_000,), c)})
''',
}


@pytest.mark.parametrize('how', WRITER)
def test_killed_while_writing_leaves_the_old_or_the_new_file(how, tmp_path):
    from paper_repro.core.files import load_tensors
    path = tmp_path/'cache.safetensors'
    for turn in range(2 if how == 'save_tensors' else 4):
        code = f'from pathlib import Path\npath = Path({str(path)!r})\n{WRITER[how]}'
        p = subprocess.Popen([sys.executable, '-c', code], env=environment(tmp_path, TMPDIR=None))
        began = path.stat().st_mtime_ns if path.exists() else 0
        wait_for(lambda: path.exists() and path.stat().st_mtime_ns != began)
        time.sleep(random.Random(f'F2 {how} {turn}').uniform(0, .2))
        p.kill()
        p.wait()
        if how == 'save_tensors': assert load_tensors(path)[0]['x'].unique().tolist() in ([65.], [66.])
        elif path.exists(): assert sha256(path) in (sha256(b'A'*20_000_000), sha256(b'B'*20_000_000))
        if how == 'write_together' and (last := tmp_path/'last').exists():
            assert path.read_bytes()[:1] == last.read_bytes()
        sweep(tmp_path)
        assert leftovers(tmp_path) == []


def test_sweep_spares_the_temporary_file_of_a_living_process(tmp_path):
    write_bytes(tmp_path/f'.x.{os.getppid()}.abcdef.part', b'')
    write_bytes(tmp_path/f'.x.{2**22 + 1}.abcdef.part', b'')
    sweep(tmp_path)
    assert len(leftovers(tmp_path)) == 1


@pytest.mark.parametrize('number, code', [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signal_stops_the_batch_which_then_goes_on_from_its_checkpoint(number, code, tmp_path):
    root = make_checkout(tmp_path, a=notebook('a', "save('a')"),
                         long=notebook('long', [STEPS, "save('long')"], 'after: [a]'))
    (root/'state').mkdir()
    p = start(root, 'run')
    wait_for(lambda: (root/'state/steps.json').exists())
    os.kill(p.pid, number)
    out = p.communicate(timeout=30)[0]
    assert p.returncode == code, out
    assert kernels(root) == [] and leftovers(root/'figures') == [] and os.listdir(root/'tmp') == []
    assert read_status(root/'figures/demo/a/smoke')['status'] == 'done'
    assert read_status(root/'figures/demo/long/smoke')['status'] == 'interrupted'
    assert 'stopping the running notebooks' in out and 'interrupted' in out
    before = (root/'figures/demo/a/smoke/run.json').stat().st_mtime_ns
    code, out = paper_repro(root, 'run')
    assert code == 0 and '[1/2] demo/a smoke: up to date' in out, out
    assert (root/'figures/demo/a/smoke/run.json').stat().st_mtime_ns == before
    computed = [int(l) for l in (root/'state/computed.txt').read_text().split()]
    # at most the step that was cut is computed twice
    assert sorted(set(computed)) == list(range(30)) and len(computed) <= 31


def test_second_runner_stops_with_one_sentence_and_a_stale_lock_is_recognised(tmp_path):
    root = make_checkout(tmp_path, long=notebook('long', [STEPS, "save('long')"]))
    (root/'state').mkdir()
    first = start(root, 'run')
    wait_for(lambda: (root/'state/steps.json').exists())
    code, out = paper_repro(root, 'run')
    assert code == 1 and len(out.strip().splitlines()) == 1
    assert f'another run works on {root/"figures"} (process {first.pid} on ' in out
    assert '  running' in paper_repro(root, 'list', '--profile', 'smoke')[1]
    first.kill()
    first.wait()
    assert json.loads((root/'figures/.paper_repro.lock').read_text())['pid'] == first.pid # stale
    assert '  interrupted  its run was killed' in paper_repro(root, 'list', '--profile', 'smoke')[1]
    code, out = paper_repro(root, 'run')
    assert code == 0 and kernels(root) == [] and os.listdir(root/'tmp') == [], out


def test_time_limit_interrupts_and_the_same_command_goes_on(tmp_path):
    root = make_checkout(tmp_path, a=notebook('a', "save('a')", 'order: 1'),
                         hours=notebook('hours', "save('hours')",
                                        'order: 2\nneeds: {cost: {smoke: "2 h, estimated"}}'),
                         long=notebook('long', [STEPS, "save('long')"], 'order: 3'))
    (root/'state').mkdir()
    jobs, lines = make_jobs(catalogue(root), 'smoke'), []
    batch = Batch(jobs, root/'figures', root=root, max_minutes=60, say=lines.append)
    def end_the_hour():
        wait_for(lambda: (root/'state/steps.json').exists())
        batch.limit = time.monotonic() - batch.start
    threading.Thread(target=end_the_hour).start()
    assert batch.run() == 3, lines
    assert [r.status for r in batch.rows.values()] == ['done', 'not started', 'time limit']
    assert '[2/3] demo/hours smoke: not started: it would not end within --max-minutes' in lines
    assert read_status(root/'figures/demo/long/smoke')['status'] == 'time limit' and kernels(root) == []
    code, out = paper_repro(root, 'run', '--max-minutes', 180)
    assert code == 0 and '[1/3] demo/a smoke: up to date' in out, out
    computed = [int(l) for l in (root/'state/computed.txt').read_text().split()]
    assert sorted(set(computed)) == list(range(30)) and len(computed) <= 31


def test_an_item_longer_than_the_limit_is_started_first_or_not_at_all(tmp_path):
    root = make_checkout(tmp_path, hours=notebook('hours', '', 'needs: {cost: {smoke: "2 h, estimated"}}'),
                         quick=notebook('quick', '', 'needs: {cost: {smoke: "50 min, measured"}}'))
    hours, quick = make_jobs(catalogue(root), 'smoke')
    batch = Batch([hours, quick], root/'figures', root=root, max_minutes=60)
    batch.start = time.monotonic() - 5*60
    assert batch._fits(hours) and batch._fits(quick)
    batch.started_any = True
    assert not batch._fits(hours) and batch._fits(quick)
    batch.start -= 6*60
    assert not batch._fits(quick)
