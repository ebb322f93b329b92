"""Every library notebook runs from its first cell to its last, one test each; cells flagged `slow` or `gpu` are left
out, as in nbdev_test. Paper notebooks run in the smoke batch (they write results), index.ipynb in the check of the
README."""
import sys

import nbformat
import pytest
from nbdev.config import get_config
from nbdev.doclinks import nbglob
from nbdev.test import test_nb as run_notebook

from conftest import ROOT

SETTINGS = get_config(path=ROOT)
NOTEBOOKS = sorted(p.resolve() for p in nbglob(ROOT/'nbs', as_path=True))
LIBRARY = [p for p in NOTEBOOKS if 'papers' not in p.relative_to(ROOT/'nbs').parts and p.name != SETTINGS.readme_nb]


@pytest.mark.parametrize('notebook', LIBRARY, ids=lambda p: str(p.relative_to(ROOT/'nbs')))
def test_library_notebook_runs(notebook, monkeypatch, capfd, tmp_path):
    monkeypatch.chdir(notebook.parent)
    monkeypatch.setenv('IPYTHONDIR', str(tmp_path))
    monkeypatch.setenv('IN_TEST', '1')
    passed, _ = run_notebook(notebook, skip_flags=SETTINGS.tst_flags.split())
    if 'matplotlib.pyplot' in sys.modules: sys.modules['matplotlib.pyplot'].close('all')
    if not passed: pytest.fail(capfd.readouterr().err[-6000:], pytrace=False)


def test_no_library_notebook_is_left_out():
    exported = {p for p in (ROOT/'nbs').rglob('*.ipynb')
                if '.ipynb_checkpoints' not in p.parts and '#| default_exp' in p.read_text()}
    assert exported and exported <= set(LIBRARY)


def test_a_failing_notebook_is_seen(tmp_path, capfd, monkeypatch):
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("assert 1 == 2, 'seen by the test'")])
    nbformat.write(nb, tmp_path/'bad.ipynb')
    monkeypatch.setenv('IPYTHONDIR', str(tmp_path))
    passed, _ = run_notebook(tmp_path/'bad.ipynb')
    assert not passed and 'seen by the test' in capfd.readouterr().err
