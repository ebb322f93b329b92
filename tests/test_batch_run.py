"""The batch runner and its command on a small checkout: what fails, what is skipped, what is refused (F16, F35), what
is said."""
import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from paper_repro.batch.catalogue import catalogue, select
from paper_repro.batch.jobs import make_jobs
from paper_repro.batch.run import Batch
from paper_repro.batch.status import read_status, verify_run
from paper_repro.core.files import dump_json
from paper_repro.core.stored import digests
from small_checkout import cell, contents, kernels, make_checkout, notebook, once, paper_repro

NOTEBOOKS = dict(
    good=notebook('good', ["save('good', value)",
                           'import os\nprint(os.environ["OMP_NUM_THREADS"], os.getcwd(), profile)'],
                  parameters=dict(value=1)),
    raises=notebook('raises', ["x = 1", "raise ValueError('no such thing\\nand more')", "save('raises')"]),
    dies=notebook('dies', "import os\nos.kill(os.getpid(), 9)"),
    forgets=notebook('forgets', 'x = 1'),
    elsewhere=notebook('elsewhere', "save('good2')"),
    after=notebook('after', "save('after')", 'after: [raises]'),
)


def run(root, *names, profile='smoke', extra=None, **options):
    "Run in this process; exit code, rows by name, lines."
    lines = []
    jobs = make_jobs(select(catalogue(root), names), profile, extra)
    batch = Batch(jobs, root/'figures', root=root, say=lines.append, **options)
    return batch.run(), batch.rows, lines


@pytest.fixture(scope='module')
def ran(tmp_path_factory):
    "One batch over all of NOTEBOOKS with --keep-going, two at a time: root, exit code, (status, reason) by name, lines"
    def make(folder):
        code, rows, lines = run(make_checkout(folder, **NOTEBOOKS), keep_going=True, workers=2)
        return code, {k: (r.status, r.reason) for k, r in rows.items()}, lines
    folder, rest = once(tmp_path_factory, 'batch', make)
    return folder, *rest


def test_failures_do_not_stop_the_others(ran):
    root, code, rows, lines = ran
    assert code == 1
    assert {n.split('/')[1]: status for n, (status, reason) in rows.items()} == dict(
        good='done', raises='failed', dies='failed', forgets='failed', elsewhere='failed', after='not started')
    assert kernels(root) == [] and not (root/'figures/.paper_repro.lock').exists()


def test_failed_item_leaves_the_executed_notebook_with_its_traceback(ran):
    folder = ran[0]/'figures/demo/raises/smoke'
    nb = json.loads((folder/'failed.ipynb').read_text())
    assert any(o.get('ename') == 'ValueError' for c in nb['cells'] for o in c.get('outputs', []))
    assert read_status(folder)['error'] == 'ValueError: no such thing (cell 5)'
    assert 'and more' in (folder/'run.log').read_text() and not (folder/'notebook.ipynb').exists()
    end = ': ValueError: no such thing (cell 5) (see figures/demo/raises/smoke/failed.ipynb)'
    assert any(l.endswith(end) for l in ran[3])


def test_dead_kernel_is_a_failure_with_a_clear_line(ran):
    error = read_status(ran[0]/'figures/demo/dies/smoke')['error']
    assert error == "the notebook's kernel died: killed from outside, out of memory, or crashed"


def test_notebook_that_saves_nothing_or_elsewhere_has_failed(ran):
    for item in ('forgets', 'elsewhere'):
        error = read_status(ran[0]/f'figures/demo/{item}/smoke')['error']
        assert error == f'the notebook ended without saving a result at demo/{item}/smoke'


def test_item_waits_for_its_predecessor_and_is_not_started_when_that_failed(ran):
    assert ran[2]['demo/after'][1] == 'demo/raises comes first and is failed'


def test_executed_notebook_names_no_folder_of_this_machine(ran):
    root = ran[0]
    for name in ('notebook.ipynb', 'run.json', 'result.json'):
        text = (root/'figures/demo/good/smoke'/name).read_text()
        assert str(root) not in text and '/tmp' not in text and 'start_time' not in text
    cells = json.loads((root/'figures/demo/good/smoke/notebook.ipynb').read_text())['cells']
    assert cells[-1]['outputs'][0]['text'] == ['1 . smoke\n'] or cells[-1]['outputs'][0]['text'] == '1 . smoke\n'


def test_status_holds_key_inputs_time_and_memory(ran):
    s = read_status(ran[0]/'figures/demo/good/smoke')
    assert s['status'] == 'done' and len(s['key']) == 64 and s['threads'] == 1
    assert s['seconds'] > 0 and s['peak_memory_mib'] > 10
    assert s['inputs']['parameters'] == dict(profile='smoke', seed=0, value=1)
    assert 'paper_repro.core.stored' in s['inputs']['code']
    assert verify_run(ran[0]/'figures/demo/good/smoke') == []


def test_first_failure_stops_the_rest_without_keep_going(tmp_path):
    root = make_checkout(tmp_path, raises=NOTEBOOKS['raises'], z=notebook('z', "save('z')"))
    code, rows, _ = run(root)
    assert (code, rows['demo/raises'].status, rows['demo/z'].status) == (1, 'failed', 'not started')


def test_up_to_date_is_skipped_and_changes_are_seen(tmp_path):
    root = make_checkout(tmp_path, good=NOTEBOOKS['good'])
    assert run(root)[0] == 0
    first = contents(root/'figures', ('t.csv', 'notebook.ipynb'))
    began = time.process_time()                             # not wall time: the machine may be busy
    assert run(root)[1]['demo/good'].status == 'up to date' and time.process_time() - began < 1
    prose = json.loads(json.dumps(NOTEBOOKS['good']))
    prose['cells'].append(cell('markdown', 'More words.'))
    prose['cells'][-2]['source'] += ' # a comment'
    make_checkout(root, good=prose)
    assert run(root)[1]['demo/good'].status == 'up to date'
    assert run(root, force=True)[1]['demo/good'].status == 'done'
    again = contents(root/'figures', ('t.csv',))
    assert {k: v for k, v in first.items() if k in again} == again # the same seed: the same bytes
    assert run(root, extra=dict(value=2))[1]['demo/good'].status == 'done'
    assert contents(root/'figures', ('t.csv',)) != again
    moved = tmp_path/'elsewhere'
    shutil.copytree(root/'nbs', moved/'nbs')
    shutil.copytree(root/'figures', moved/'figures')
    make_checkout(moved)
    # no machine's paths or times are in the key
    assert run(moved, extra=dict(value=2))[1]['demo/good'].status == 'up to date'


def test_only_notebooks_of_the_catalogue_run(tmp_path):
    root = make_checkout(
        tmp_path, good=NOTEBOOKS['good'], shell=notebook('shell', '!touch ran'),
        stray=notebook('other', "open('ran', 'w')"), dropped=notebook('dropped', "open('ran', 'w')"))
    subprocess.run(['git', 'init', '-q', str(root)], check=True)
    added = 'nbs/papers/demo/good.ipynb', 'nbs/papers/demo/shell.ipynb'
    subprocess.run(['git', '-C', str(root), 'add', *added], check=True)
    code, rows, _ = run(root)
    assert code == 0 and list(rows) == ['demo/good'] and not (root/'ran').exists()
    code, out = paper_repro(root, 'list')
    untracked = 'demo/dropped: cannot run: not tracked by git; to run it: git add nbs/papers/demo/dropped.ipynb'
    assert code == 0 and untracked in out and 'demo/shell: cannot run: a cell runs a shell command' in out
    code, out = paper_repro(root, 'run', 'dropped')
    assert code == 2 and 'git add' in out and not (root/'ran').exists()


def test_outputs_that_lie_in_a_notebook_are_not_published(tmp_path):
    nb = json.loads(json.dumps(NOTEBOOKS['good']))
    foreign = {'text/html': '<script>foreign()</script>'}
    nb['cells'][-1]['outputs'] = [dict(output_type='display_data', metadata={}, data=foreign)]
    root = make_checkout(tmp_path, good=nb)
    assert paper_repro(root, 'run')[0] == 0
    assert not [p for p in (root/'figures').rglob('*') if p.is_file() and b'foreign' in p.read_bytes()]


def test_command_ends_with_a_table_and_the_report_and_lists_what_is_done(tmp_path):
    root = make_checkout(tmp_path, good=NOTEBOOKS['good'])
    code, out = paper_repro(root, 'run', 'good', '-p', 'value', '3')
    assert code == 0, out
    lines = out.splitlines()
    assert lines[0] == 'demo/good smoke: started' and lines[1].startswith('[1/1] demo/good smoke: done in ')
    assert 'demo/good  -        smoke    done    1 not tested' in out
    assert lines[-1] == f'Report: {root}/figures/index.html' and (root/'figures/index.html').is_file()
    assert 'stale  changed: parameters value' in paper_repro(root, 'list', '--profile', 'smoke')[1]
    assert json.loads((root/'figures/demo/good/smoke/result.json').read_text())['parameters'] == dict(value=3)


def test_verify_finds_results_edited_by_hand_and_inputs_that_changed(tmp_path):
    root = make_checkout(tmp_path, a=notebook('a', "save('a')"), b=notebook('b', "save('b')"))
    assert paper_repro(root, 'run', '--jobs', 2)[0] == 0
    assert paper_repro(root, 'verify') == (0, '2 results, 0 with problems\n')
    path = root/'figures/demo/a/smoke/result.json'
    text = path.read_text()
    path.write_text(text.replace('"estimate": 0.5', '"estimate": 0.55'))
    code, out = paper_repro(root, 'verify')
    assert code == 1 and 'demo/a/smoke: result.json was changed' in out and '2 results, 1 with problems' in out
    edited = json.loads(text)
    edited['claims'][0]['estimate'] = .55
    path.write_text(dump_json(edited | digests(edited))) # with its own digests made anew
    assert 'demo/a/smoke: result.json was changed after the run' in paper_repro(root, 'verify')[1]
    path.write_text(text)
    make_checkout(root, b=notebook('b', "save('b', 2)"))
    code, out = paper_repro(root, 'verify')
    assert code == 1 and 'demo/b/smoke: its inputs do not match: changed: code notebook' in out
    assert paper_repro(root, 'verify', '--digests-only')[0] == 0
    (root/'nbs/papers/demo/b.ipynb').unlink()
    assert 'demo/b/smoke: no notebook of the catalogue makes it' in paper_repro(root, 'verify')[1]
    (root/'figures/demo/a/smoke/t.csv').unlink()
    assert 'demo/a/smoke: t.csv is missing' in paper_repro(root, 'verify', 'a')[1]


def test_results_of_another_machine_come_home_in_one_file(tmp_path):
    there, here = (make_checkout(tmp_path/place, a=notebook('a', "save('a')")) for place in ('there', 'here'))
    assert paper_repro(there, 'run')[0] == 0
    code, out = paper_repro(there, 'pack', tmp_path/'home.tar.gz')
    assert code == 0 and '1 results, 4 files' in out
    code, out = paper_repro(here, 'merge', tmp_path/'home.tar.gz')
    assert code == 0 and 'demo/a/smoke: placed' in out
    assert run(here)[1]['demo/a'].status == 'up to date'
    assert paper_repro(here, 'verify')[0] == 0
    data = bytearray((tmp_path/'home.tar.gz').read_bytes())
    data[len(data)//2] ^= 1
    (tmp_path/'bad.tar.gz').write_bytes(data)
    code, out = paper_repro(here, 'merge', tmp_path/'bad.tar.gz')
    assert code == 1 and 'Traceback' not in out and len(out.strip().splitlines()) == 1


def test_help_and_list_do_not_import_torch(tmp_path):
    import sys
    root = make_checkout(tmp_path, good=NOTEBOOKS['good'])
    code = ("import sys\nfrom paper_repro.batch.cli import main\ntry: main(['list'])\nexcept SystemExit: pass\n"
            "print([m for m in ('torch', 'pandas', 'papermill', 'matplotlib') if m in sys.modules])")
    env = {'PYTHONPATH': str(Path(__file__).parents[1]), 'PATH': ''}
    out = subprocess.run([sys.executable, '-c', code], cwd=root, capture_output=True, text=True, env=env).stdout
    assert out.splitlines()[-1] == '[]', out
