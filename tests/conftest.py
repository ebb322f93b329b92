"""Settings of every test: one thread a worker, no global configuration read from or written to the home folder, no
window system."""
import os
from pathlib import Path

import pytest

for name in ('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS'): os.environ.setdefault(name, '1')
os.environ.setdefault('MPLBACKEND', 'Agg')

ROOT = Path(__file__).parents[1]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    "Under `pytest -n 2` the tests of a file share a worker, and with it their fixtures; notebooks are spread."
    from xdist.scheduler import LoadScopeScheduling
    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid): return nodeid if 'test_notebooks' in nodeid else nodeid.split('::')[0]
    return ByFile(config, log)


@pytest.fixture(scope='session')
def root():
    "The checkout."
    return ROOT
