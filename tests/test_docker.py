"What can be known about the image without building it; `make docker-test` builds it and runs the smoke batch inside."
import shutil
import subprocess

import pytest

from conftest import ROOT


def instructions(path=ROOT/'Dockerfile'):
    "The Dockerfile as (instruction, arguments), comments dropped and continued lines joined."
    lines = [l for l in path.read_text().splitlines() if l.strip() and not l.lstrip().startswith('#')]
    text = '\n'.join(lines).replace('\\\n', ' ')
    return [tuple(l.split(None, 1)) for l in text.splitlines()]


def position(*words):
    "Index of the one instruction that holds all `words`."
    found = [i for i, (k, v) in enumerate(instructions()) if all(w in f'{k} {v}' for w in words)]
    assert len(found) == 1, (words, found)
    return found[0]


def test_base_is_an_argument_with_a_default():
    assert instructions()[:2] == [('ARG', 'BASE=python:3.11-slim-bookworm'), ('FROM', '${BASE}')]


def test_requirements_come_from_settings_ini_before_the_sources():
    copied = position('COPY', 'settings.ini', 'tools/requirements.py')
    installed, sources = position('RUN', 'pip install'), position('COPY', '. .')
    assert copied < installed < sources
    text = instructions()[installed][1]
    assert 'requirements.py dev >' in text and '-r requirements.txt' in text


def test_no_package_is_named_in_the_dockerfile():
    for kind, args in instructions():
        if kind == 'RUN' and 'pip install' in args:
            words = args.split('pip install', 1)[1].split()
            assert [w for w in words if not w.startswith('-')] == ['requirements.txt']


def test_runs_as_an_ordinary_user_from_before_the_packages_on():
    users = [v for k, v in instructions() if k == 'USER']
    assert users == ['reader']
    assert position('USER', 'reader') < position('RUN', 'pip install')


def test_jupyterlab_starts_and_make_uses_the_environment_of_the_image():
    kind, args = instructions()[-1]
    assert kind == 'CMD' and args.startswith('["jupyter", "lab"')
    assert 'VENV=/opt/venv' in instructions()[position('ENV', 'VENV')][1]
    assert position('COPY', '. .') < position('RUN', 'make dev')


def test_nothing_that_only_newer_builders_know():
    text = (ROOT/'Dockerfile').read_text()
    assert '<<' not in text and '--link' not in text and '--mount' not in text


@pytest.mark.parametrize('name', ['.dockerignore', '.gitignore'])
def test_ignored_folders_are_anchored_at_the_root(name):
    rules = [l.strip() for l in (ROOT/name).read_text().splitlines() if l.strip() and not l.startswith('#')]
    assert '/data/*' in rules and '!/data/README.md' in rules
    for rule in rules:
        if rule.lstrip('!').rstrip('/*').split('/')[-1] in ('data', 'figures', 'build', 'dist', 'packed', '.venv'):
            assert rule.lstrip('!').startswith('/'), rule


def test_git_keeps_the_data_room_and_ignores_downloads(tmp_path):
    if not shutil.which('git'): pytest.skip('git is not installed')
    subprocess.run(['git', 'init', '-q', tmp_path], check=True)
    (tmp_path/'.gitignore').write_text((ROOT/'.gitignore').read_text())
    def ignored(path): return subprocess.run(['git', 'check-ignore', '-q', path], cwd=tmp_path).returncode == 0
    kept = ['nbs/data/10_images.ipynb', 'paper_repro/data/images.py', 'data/README.md', 'data/weights/net.safetensors',
            'figures/efficient_augmentation/figure3/quick/figure.png']
    gone = ['data/MNIST/raw/t10k-labels-idx1-ubyte', 'data/cache/x.npy', 'figures/index.html', '.venv/bin/python',
            'figures/efficient_augmentation/figure3/smoke/result.json']
    assert [p for p in kept if ignored(p)] == []
    assert [p for p in gone if not ignored(p)] == []


def test_docker_test_says_why_it_skips(tmp_path):
    "On a machine with neither an engine nor buildah it ends well, with the reason."
    for tool in ('dirname', 'id'): (tmp_path/tool).symlink_to(shutil.which(tool))
    done = subprocess.run(['/bin/sh', ROOT/'tools/docker_test.sh'], env=dict(PATH=str(tmp_path)), capture_output=True,
                          text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith('docker-test skipped: no Docker engine answers')
