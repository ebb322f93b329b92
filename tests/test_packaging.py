"Requirements, imports, notebooks and generated files: what has to be true of the repository as a whole."
import ast
import json
import os
import re
import shutil
import subprocess
import sys
from configparser import ConfigParser
from importlib.metadata import packages_distributions, requires, version
from pathlib import Path

import nbformat
import pytest
import yaml

from conftest import ROOT
from paper_repro.batch.catalogue import read_item

PARSER = ConfigParser(delimiters=['='], interpolation=None)
PARSER.read(ROOT/'settings.ini', encoding='utf-8')
SETTINGS = PARSER['DEFAULT']
REQUIREMENTS, DEV = SETTINGS['requirements'].split(), SETTINGS['dev_requirements'].split()
PAPERS = sorted(p for p in (ROOT/'nbs/papers').glob('*/*.ipynb') if p.name[0] not in '._')
MODULES = sorted('.'.join(p.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__')
                 for p in (ROOT/'paper_repro').rglob('*.py') if p.name != '_modidx.py')
paper = pytest.mark.parametrize('path', PAPERS, ids=lambda p: f'{p.parent.name}/{p.stem}')


def name_of(requirement):
    "Normalised distribution name of a requirement string."
    return re.sub(r'[-_.]+', '-', re.match(r'[\w.-]+', requirement)[0]).lower()


def python(code):
    "Run `code` in a fresh interpreter and return what it prints as JSON."
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def tracked():
    "Files under version control; where there is no git, the files an unpacked archive holds."
    if (ROOT/'.git').exists() and shutil.which('git'):
        done = subprocess.run(['git', '-C', ROOT, '-c', f'safe.directory={ROOT}', 'ls-files', '-z'],
                              capture_output=True, check=True)
        return [p for name in done.stdout.decode().split('\0') if name and (p := ROOT/name).is_file()]
    skip = {'.venv', '__pycache__', '.ipynb_checkpoints', '.pytest_cache', 'smoke', 'cache', 'paper_repro.egg-info'}
    return [p for p in ROOT.rglob('*') if p.is_file() and not skip & set(p.relative_to(ROOT).parts)]


# requirements

def test_conda_environment_lists_what_settings_ini_lists():
    deps = yaml.safe_load((ROOT/'environment.yml').read_text())['dependencies']
    assert deps[-1]['pip'] == [*REQUIREMENTS, *DEV, '-e .']
    assert f"python={SETTINGS['min_python']}" in deps


def test_docker_requirements_are_what_settings_ini_lists():
    done = subprocess.run([sys.executable, ROOT/'tools/requirements.py', 'dev'],
                          capture_output=True, text=True, check=True)
    assert done.stdout.split() == REQUIREMENTS + DEV
    assert 'tools/requirements.py dev' in (ROOT/'Dockerfile').read_text()


def test_installed_package_declares_what_settings_ini_lists():
    def norm(r): return name_of(r), ','.join(sorted(re.findall(r'[<>=!~]=?\s*[\w.]+', r.split(';')[0])))
    declared = requires('paper_repro')
    assert sorted(norm(r) for r in declared if 'extra ==' not in r) == sorted(map(norm, REQUIREMENTS))
    assert sorted(norm(r) for r in declared if 'extra == "dev"' in r) == sorted(map(norm, DEV))


def test_pins_that_nbdev_needs():
    assert {'nbdev==2.4.14', 'execnb>=0.1.18,<0.2', 'ghapi>=1.1,<2'} <= set(DEV)
    assert 'fastcore>=1.12,<2' in REQUIREMENTS
    # else nbdev_clean deletes papermill's `parameters` tag
    assert 'tags' in SETTINGS['allowed_cell_metadata_keys'].split()


def imported(source):
    "Top-level names that Python source imports, at any depth."
    nodes = list(ast.walk(ast.parse(source)))
    names = {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
    names |= {n.module for n in nodes if isinstance(n, ast.ImportFrom) and n.module and not n.level}
    return {n.split('.')[0] for n in names}


def notebook_imports(path):
    "The same for the code cells of a notebook; cells that are not plain Python are passed over."
    out = set()
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == 'code':
            try: out |= imported(cell.source)
            except SyntaxError: continue
    return out


def test_requirements_are_what_is_imported():
    "Nothing is imported that is not listed, nothing is listed that nothing uses."
    library = set().union(*(imported(p.read_text()) for p in (ROOT/'paper_repro').rglob('*.py')))
    papers = set().union(set(), *map(notebook_imports, PAPERS))
    beside = set().union(*map(notebook_imports, (ROOT/'nbs').rglob('*.ipynb')))
    # cycler is matplotlib's own, split off; cv2 comes with albumentations
    distributions = {**packages_distributions(), 'cycler': ['matplotlib'], 'cv2': ['albumentations']}
    def dists(names):
        return {name_of(d) for n in names if n not in sys.stdlib_module_names for d in distributions.get(n, [n])}
    ours = {name_of(SETTINGS['lib_name'])}
    listed, dev = set(map(name_of, REQUIREMENTS)), set(map(name_of, DEV))
    # peers and engines, looked for when they are asked for
    extra = {name_of(r) for k in ('bench', 'ray') for r in SETTINGS[f'{k}_requirements'].split()}
    assert dists(library | papers) - ours <= listed | extra
    assert dists(beside) - ours <= listed | dev | extra
    # make lab, the kernel, make readme; fastcore.test in the notebooks
    commands = {'jupyterlab', 'ipykernel', 'nbconvert', 'fastcore'}
    assert listed <= dists(library | beside) | commands


# imports

def test_import_leaves_heavy_packages_alone():
    code = ('import importlib, json, sys\n'
            f'for m in {MODULES}: importlib.import_module(m)\n'
            'print(json.dumps(sorted({m.split(".")[0] for m in sys.modules})))')
    assert {'torchvision', 'sklearn', 'cvxpy', 'matplotlib', 'seaborn', 'jupyterlab'} & set(python(code)) == set()


def test_import_leaves_global_random_state_alone():
    code = ('import importlib, json, random\nimport numpy, torch\n'
            'def state():\n'
            '    return repr(random.getstate()), repr(numpy.random.get_state()), torch.get_rng_state().tolist()\n'
            'random.seed(1); numpy.random.seed(2); torch.manual_seed(3); before = state()\n'
            f'for m in {MODULES}: importlib.import_module(m)\n'
            'print(json.dumps([a == b for a, b in zip(before, state())]))')
    assert python(code) == [True, True, True]


def test_import_changes_no_default_of_torch():
    code = ('import importlib, json\nimport torch\n'
            'def state():\n'
            '    return [str(torch.get_default_dtype()), torch.get_num_threads(), torch.is_grad_enabled(),\n'
            '            torch.are_deterministic_algorithms_enabled(), torch.get_float32_matmul_precision()]\n'
            'before = state()\n'
            f'for m in {MODULES}: importlib.import_module(m)\n'
            'print(json.dumps([before, state()]))')
    before, after = python(code)
    assert before == after


def test_version_is_the_same_everywhere():
    import paper_repro
    assert SETTINGS['version'] == paper_repro.__version__ == version('paper_repro')


# paper notebooks

def test_there_are_paper_notebooks():
    assert PAPERS


def front_matter(nb):
    "The catalogue entry of a paper notebook: the YAML of its first cell."
    cell = nb.cells[0]
    assert cell.cell_type == 'raw', 'the first cell is the catalogue entry, a raw cell'
    found = re.fullmatch(r'---\n(.*)\n---', cell.source.strip(), re.S)
    assert found, 'the catalogue entry stands between two lines of three dashes'
    return yaml.safe_load(found[1])


@paper
def test_front_matter_is_complete(path):
    meta = front_matter(nbformat.read(path, as_version=4))
    assert {'title', 'paper', 'item', 'shows', 'reported', 'needs'} <= set(meta)
    assert (meta['paper'], meta['item']) == (path.parent.name, path.stem)
    assert all(isinstance(meta[k], str) and meta[k].strip() for k in ('title', 'shows'))
    assert isinstance(meta['needs'], dict) and 'data' in meta['needs'] and 'gpu' in meta['needs']
    for name, parameters in (read_item(path).meta.get('variants') or {}).items():
        assert re.fullmatch(r'[\w.-]+', str(name)) and isinstance(parameters, dict)


@paper
def test_one_parameters_cell_of_literals(path):
    nb = nbformat.read(path, as_version=4)
    cells = [c for c in nb.cells if 'parameters' in c.metadata.get('tags', [])]
    assert len(cells) == 1 and cells[0].cell_type == 'code'
    body = ast.parse(cells[0].source).body
    values = {t.id: ast.literal_eval(n.value) for n in body if isinstance(n, ast.Assign) for t in n.targets}
    assert len(values) == len(body), 'only assignments of literals'
    defaults = dict(profile='smoke', device='auto', data_root=None, out_dir='figures')
    assert {k: values.get(k, 'absent') for k in defaults} == defaults and isinstance(values.get('seed'), int)
    variants = read_item(path).meta.get('variants') or {}
    unknown = {k for v in variants.values() for k in v} - set(values) - {'needs', 'profiles'}
    assert not unknown, 'variants set parameters that the notebook has not'


@paper
def test_kernel_is_python3_and_no_output_is_committed(path):
    nb = nbformat.read(path, as_version=4)
    assert nb.metadata.kernelspec.name == 'python3'
    assert [i for i, c in enumerate(nb.cells) if c.cell_type == 'code' and (c.outputs or c.execution_count)] == []


# the repository

@pytest.mark.parametrize('check', ['export', 'clean', 'readme'])
def test_in_step(check):
    "Library, notebooks and README are in step; the message names the command that mends it."
    done = subprocess.run([sys.executable, ROOT/'tools/check.py', check], capture_output=True, text=True)
    if done.returncode: pytest.fail(done.stderr.strip()[-3000:], pytrace=False)


def index_hosts():
    "Package index hosts this machine is configured for, the public ones excepted."
    done = subprocess.run([sys.executable, '-m', 'pip', 'config', 'list'], capture_output=True, text=True)
    public = {'pypi.org', 'files.pythonhosted.org', 'download.pytorch.org', 'deb.debian.org'}
    return {h for h in re.findall(r'https?://(?:[^@/\s]*@)?([\w.-]+)', done.stdout)} - public


def test_no_path_or_host_of_a_machine_is_committed():
    # a name of one letter is an example
    machine = re.compile(r'(?<![\w.\-/}])/(?:root|home|Users|work|tmp|private/tmp|mnt)/[\w.]{2}')
    named = [str(ROOT), str(Path.home()), *index_hosts()]
    # a folder at the top of the disk is no telling name
    named = [n for n in named if n.count('/') != 1 and n != '/home/reader']
    bad = []
    for path in tracked():
        data = path.read_bytes()
        if b'\0' in data[:8192] or path == Path(__file__): continue
        for i, line in enumerate(data.decode('utf-8', 'replace').splitlines(), 1):
            # the user inside the image; where every kernel says its cells lie
            line = re.sub('/home/reader|/tmp/ipykernel_', '', line)
            if machine.search(line) or any(n in line for n in named):
                bad.append(f'{path.relative_to(ROOT)}:{i}: {line.strip()[:120]}')
    assert bad == []


def test_no_tracked_file_is_large():
    "Weights at most 8 MB, everything else at most 2 MB."
    sizes = {str(p.relative_to(ROOT)): p.stat().st_size for p in tracked()}
    assert {n: s for n, s in sizes.items() if s > (8e6 if n.startswith('data/weights/') else 2e6)} == {}


def test_licence_is_apache():
    text = (ROOT/'LICENSE').read_text()
    for part in ('Apache License', 'Version 2.0, January 2004', 'Copyright 2026 The paper_repro authors'):
        assert part in text


# the commands

@pytest.fixture
def make(tmp_path):
    """`make` in a copy of what the set-up needs, where no interpreter is found unless a test names one: nothing is ever
    installed for real."""
    for name in ('Makefile', 'settings.ini', 'setup.py', 'pyproject.toml'): shutil.copy(ROOT/name, tmp_path)
    shutil.copytree(ROOT/'tools', tmp_path/'tools')
    def run(*args, **env):
        env = dict(PATH=os.environ['PATH'], PYTHON='false', UV='no', **env)
        done = subprocess.run(['make', *args], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout + done.stderr
    run.folder = tmp_path
    return run


needs_make = pytest.mark.skipif(not shutil.which('make'), reason='make is not installed')


@needs_make
def test_make_alone_lists_the_targets(make):
    code, out = make()
    assert code == 0
    for target in ('reproduce', 'test', 'lab', 'export', 'clean', 'readme', 'hooks', 'docker', 'docker-test'):
        assert f'make {target} ' in out


@needs_make
def test_old_python_is_refused_with_a_sentence(make):
    old = make.folder/'oldpython'
    old.write_text('#!/bin/sh\nexit 1\n')
    old.chmod(0o755)
    code, out = make('install', f'PYTHON={old}')
    assert code != 0 and f'PYTHON={old} is not a Python 3.11 or newer.' in out
    assert not (make.folder/'.venv').exists()


@needs_make
def test_folder_that_is_no_environment_is_left_alone(make):
    (make.folder/'mine').mkdir()
    (make.folder/'mine/letter.txt').write_text('keep')
    code, out = make('install', 'VENV=mine', f'PYTHON={sys.executable}')
    assert code != 0 and 'neither empty nor a virtual environment' in out
    assert (make.folder/'mine/letter.txt').read_text() == 'keep'


@pytest.fixture
def stamped(make):
    "A made environment whose stamp holds, with stand-ins for pip and for the command."
    bin = make.folder/'.venv/bin'
    bin.mkdir(parents=True)
    (make.folder/'.venv/pyvenv.cfg').write_text('')
    (bin/'python').write_text(
        f'#!/bin/sh\ncase "$*" in *"pip --version"*) echo pip 0;; '
        f'*"pip install"*) echo "pip: $*" >> "{make.folder}/calls";; *) exec "{sys.executable}" "$@";; esac\n')
    (bin/'paper_repro').write_text(
        '#!/bin/sh\necho "called: $* data=${PAPER_REPRO_DATA:-}"\n[ "$1" = run ] && exit ${RUN_STATUS:-0}\nexit 0\n')
    for p in bin.iterdir(): p.chmod(0o755)
    code, out = make('install')
    assert code == 0 and 'Installed in' in out
    return make


@needs_make
def test_installs_once_and_again_when_settings_change(stamped):
    calls = stamped.folder/'calls'
    assert len(calls.read_text().splitlines()) == 1
    stamped('install')
    assert len(calls.read_text().splitlines()) == 1
    with open(stamped.folder/'settings.ini', 'a') as f: f.write('ray_requirements = ray\n')
    stamped('install')
    assert len(calls.read_text().splitlines()) == 2
    stamped('dev')
    stamped('dev')
    stamped('install')                                           # what dev installed holds the rest too
    assert [l.split()[-1] for l in calls.read_text().splitlines()] == ['.', '.', '.[dev]']


@needs_make
def test_reproduce_passes_its_settings_on(stamped):
    (stamped.folder/'sets').mkdir()
    code, out = stamped('reproduce', 'PROFILE=quick', 'DATA=sets', 'ITEMS=figure3 table1', 'JOBS=2')
    assert code == 0
    assert f'called: run figure3 table1 --profile quick --jobs 2 data={stamped.folder}/sets' in out


@needs_make
def test_reproduce_fails_when_an_item_failed(stamped):
    code, out = stamped('reproduce', RUN_STATUS='3')
    assert code != 0 and re.search(r'called: run --profile smoke --jobs [1-4] data=\n', out) and 'Error 3' in out


@needs_make
def test_reproduce_names_a_data_folder_that_is_absent(stamped):
    code, out = stamped('reproduce', 'DATA=nowhere')
    assert code != 0 and 'DATA=nowhere is not a folder.' in out and 'called:' not in out
