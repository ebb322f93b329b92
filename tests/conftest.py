"Settings of every test: one thread a worker, no global configuration read from or written to the home folder, no window system."
import os
from pathlib import Path

import pytest

for name in ('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS'): os.environ.setdefault(name, '1')
os.environ.setdefault('MPLBACKEND', 'Agg')

ROOT = Path(__file__).parents[1]


@pytest.hookimpl(tryfirst=True)         # before xdist reads the groups
def pytest_collection_modifyitems(items):
    "Under `pytest -n 2 --dist loadgroup` the tests of a file share a worker, and with it their fixtures; notebooks are spread."
    for item in items:
        if item.path.name != 'test_notebooks.py' and not item.get_closest_marker('xdist_group'):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


@pytest.fixture(scope='session')
def root():
    "The checkout."
    return ROOT
