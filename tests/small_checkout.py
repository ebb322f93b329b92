"""A checkout of a few tiny notebooks for the tests of the batch runner.
They save results through the library's functions that need no torch, so that a kernel starts fast."""
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import psutil

from paper_repro.core.files import sha256

STANDARD = {'profile': 'smoke', 'seed': 0, 'device': 'auto', 'data_root': None, 'out_dir': 'figures'}

# what a paper notebook does at its end, with a table of `rows` lines computed from seed and value
SAVE = '''
from paper_repro.core.files import dump_json, sha256
from paper_repro.core.stored import digests, result_folder, write_together
from paper_repro.core.verdicts import make_claim
import random
def save(item, value=0, rows=10, variant=None):
    rng = random.Random(f'{item} {seed} {value}')
    csv = ('n,x\\n' + ''.join(f'{i},{rng.random()}\\n' for i in range(rows))).encode()
    r = dict(schema=1, paper='demo', item=item, variant=variant, profile=profile, seed=seed, reported=None, data=[],
             parameters=dict(value=value), weights={}, notes=[], figures=[], provenance={}, run={},
             tables=[dict(name='t', caption='', csv='t.csv', rows=rows, columns=2, show=None)],
             claims=[make_claim('x < 1', True, profile, .5, .4, .6, n=rows)],
             files={'t.csv': dict(sha256=sha256(csv), bytes=len(csv))})
    files = {'t.csv': csv, 'result.json': dump_json(r | digests(r)).encode()}
    write_together(result_folder(out_dir, 'demo', item, variant, profile), files, last='result.json')
'''


def cell(kind, source, **metadata):
    more = dict(outputs=[], execution_count=None) if kind == 'code' else {}
    return dict(cell_type=kind, source=source, metadata=metadata, id=sha256([kind, source])[:8], **more)


def notebook(item, code, meta='', paper='demo', parameters=None):
    "A paper notebook: front matter, parameters, SAVE, then one cell for each string of `code`."
    codes = [code] if isinstance(code, str) else code
    standard = '\n'.join(f'{k} = {v!r}' for k, v in {**STANDARD, **(parameters or {})}.items())
    cells = [cell('raw', f'---\ntitle: {item}\npaper: {paper}\nitem: {item}\n{meta}\n---'),
             cell('code', standard, tags=['parameters']), *(cell('code', c) for c in [SAVE, *codes])]
    kernel = dict(name='python3', display_name='python3', language='python')
    return dict(cells=cells, metadata=dict(kernelspec=kernel), nbformat=4, nbformat_minor=5)


def make_checkout(root, **notebooks):
    "Write `item=notebook` into a new checkout and return its root."
    root = Path(root)
    papers = root/'nbs/papers/demo'
    papers.mkdir(parents=True, exist_ok=True)
    (root/'settings.ini').write_text('lib_name = paper_repro\n')
    (root/'tmp').mkdir(exist_ok=True)
    for item, nb in notebooks.items(): (papers/f'{item}.ipynb').write_text(json.dumps(nb))
    return root


def environment(root, **env):
    """The environment of a command in `root`: its own folder of temporary files, so that its kernels are found by their
    command line."""
    here = Path(__file__).parents[1]
    full = {**os.environ, 'TMPDIR': str(Path(root)/'tmp'), 'PYTHONPATH': str(here), 'OMP_NUM_THREADS': '1', **env}
    full.pop('PAPER_REPRO_DATA', None)
    return {k: v for k, v in full.items() if v is not None}


def start(root, *args, **env):
    "Start `paper_repro` in `root` and return the process."
    command = [sys.executable, '-c', 'from paper_repro.batch.cli import main; main()', *map(str, args)]
    return subprocess.Popen(command, cwd=root, env=environment(root, **env), stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, start_new_session=True)


def paper_repro(root, *args, timeout=120, **env):
    "Run `paper_repro` in `root`; exit code and what it printed."
    p = start(root, *args, **env)
    try: out = p.communicate(timeout=timeout)[0]
    finally:
        if p.poll() is None: p.kill()
    return p.returncode, out


def kernels(root):
    "Processes that run a notebook of `root`."
    out = []
    for p in psutil.process_iter(['cmdline']):
        line = p.info['cmdline'] or []
        ours = any(a.startswith(f'{root}/tmp/') or '/pr-' in a and _of(p, root) for a in line)
        if ours and any('ipykernel' in a for a in line): out.append(p)
    return out


def own_kernels():
    "Kernels that this process started, whatever else runs in the checkout."
    out = []
    for p in psutil.Process().children(recursive=True):
        try:
            if any('ipykernel' in a for a in p.cmdline()): out.append(p)
        except psutil.Error: continue
    return out


def _of(process, root):
    "Does the process work in `root`? (A long TMPDIR is replaced by /tmp.)"
    try: return Path(process.cwd()) == Path(root)
    except psutil.Error: return False


def leftovers(out_dir):
    "Temporary files and locks below a folder of results."
    return sorted(str(p) for p in Path(out_dir).rglob('*') if p.name.endswith('.part') or p.name == '.paper_repro.lock')


def contents(out_dir, names=('t.csv',)):
    "Relative path -> bytes of the files of that name, and the digest of what must not depend on the run."
    out = {str(p.relative_to(out_dir)): p.read_bytes() for p in Path(out_dir).rglob('*') if p.name in names}
    out |= {str(p.relative_to(out_dir)): json.loads(p.read_text())['content_sha256']
            for p in Path(out_dir).rglob('result.json')}
    return out


def once(tmp_path_factory, name, make):
    """Call `make(folder)` once for all workers of a parallel test run; every worker gets the folder and what it
    returned, as JSON gives it back. A failure is raised in each of them."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get('PYTEST_XDIST_WORKER') else base)/name
    folder.mkdir(exist_ok=True)
    with open(folder/'lock', 'w') as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        done = folder/'done.json'
        if not done.exists(): done.write_text(json.dumps(make(folder)))
        return folder, json.loads(done.read_text())
