"""Every paper notebook of the checkout at the smoke profile, once, into a temporary folder; then what it left, the
second run, and the report."""
import json
import os
import time
from types import SimpleNamespace

import psutil
import pytest

from conftest import ROOT
from paper_repro.batch.catalogue import catalogue
from paper_repro.batch.jobs import make_jobs
from paper_repro.batch.report import build_report
from paper_repro.batch.run import Batch
from paper_repro.batch.status import LOCK, read_status, verify_run
from paper_repro.core.stored import read_result
from small_checkout import once, own_kernels

ITEMS = catalogue(ROOT)
JOBS = make_jobs(ITEMS, 'smoke')
LIMIT = 60 # seconds an item may take on two cores; more is allowed for here, where the machine may be busy


@pytest.fixture(scope='module')
def batch(tmp_path_factory):
    "The whole smoke batch: `out_dir`, exit code, and what became of each job (status, reason, seconds)."
    if not JOBS: pytest.skip('this checkout has no paper notebooks')
    def run(folder):
        b = Batch(JOBS, folder/'figures', root=ROOT, data=folder/'data', workers=2, keep_going=True,
                  say=lambda line: None)
        code, rows = b.run(), {k: [r.status, r.reason, r.seconds] for k, r in b.rows.items()}
        return dict(code=code, rows=rows, kernels=len(psutil.wait_procs(own_kernels(), timeout=20)[1]))
    folder, ran = once(tmp_path_factory, 'smoke', run)
    return SimpleNamespace(out_dir=folder/'figures', data=folder/'data', **ran)


def test_every_paper_notebook_is_in_the_catalogue():
    problems = [f'{i.name}: {"; ".join(i.problems)}' for i in ITEMS
                if i.problems and 'not tracked by git' not in i.problems[-1]]
    assert problems == []


@pytest.mark.parametrize('job', JOBS, ids=lambda j: j.name)
def test_item_is_done_and_its_result_whole(job, batch):
    (status, reason, seconds), folder = batch.rows[job.name], job.folder(batch.out_dir)
    assert status == 'done', reason
    assert verify_run(folder) == []
    r = read_result(folder)
    assert r['figures'] or r['tables']
    assert all(f['caption'] for f in r['figures'] + r['tables']), 'a caption says n, the profile and what the bars mean'
    assert r['claims'] and {c['verdict'] for c in r['claims']} == {'not tested at this profile'}
    assert r['data'] and r['seed'] == 0
    asked = job.item.paper, job.item.item, job.variant, 'smoke'
    assert (r['paper'], r['item'], r['variant'], r['profile']) == asked
    assert seconds < 3*LIMIT


@pytest.mark.parametrize('job', JOBS, ids=lambda j: j.name)
def test_result_names_no_folder_of_this_machine(job, batch):
    for p in job.folder(batch.out_dir).iterdir():
        text = p.read_bytes()
        if p.suffix == '.ipynb': text = json.dumps([c for c in json.loads(p.read_text())['cells']]).encode()
        data = os.environ.get('PAPER_REPRO_DATA') or str(ROOT)
        for place in {str(ROOT), str(batch.out_dir), data, os.path.expanduser('~')} - {'/'}:
            assert place.encode() not in text, (p.name, place)


def test_batch_ends_clean(batch):
    assert batch.code == 0 and batch.kernels == 0
    assert not (batch.out_dir/LOCK).exists() and not [p for p in batch.out_dir.rglob('*.part')]


def test_second_run_skips_everything_within_a_second_an_item(batch):
    before = {p: p.stat().st_mtime_ns for p in batch.out_dir.rglob('*') if p.is_file()}
    began = time.process_time()
    again = Batch(JOBS, batch.out_dir, root=ROOT, data=batch.data, workers=2, say=lambda line: None)
    assert again.run() == 0 and {r.status for r in again.rows.values()} == {'up to date'}
    assert time.process_time() - began < len(JOBS)
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_report_shows_every_item_with_its_figures_and_no_claim_as_reproduced(batch):
    page = build_report(batch.out_dir, ROOT).read_text()
    for job in JOBS:
        folder = job.folder(batch.out_dir)
        base = folder.relative_to(batch.out_dir).as_posix()
        for f in read_result(folder)['figures']: assert f'src="{base}/{f["png"]}"' in page
    assert '>reproduced</span>' not in page and str(ROOT) not in page and '>failed</span>' not in page


def test_same_seed_gives_the_same_bytes(batch, tmp_path):
    "One item again, in a folder of its own: with empty caches; figures and tables bit for bit."
    job = min(JOBS, key=lambda j: batch.rows[j.name][2] or 1e9)
    once_more = Batch([job], tmp_path/'figures', root=ROOT, data=tmp_path/'data', workers=2, say=lambda line: None)
    assert once_more.run() == 0
    a, b = job.folder(batch.out_dir), job.folder(tmp_path/'figures')
    ra, rb = read_result(a), read_result(b)
    assert ra['files'] == rb['files'] and ra['content_sha256'] == rb['content_sha256']
    assert read_status(a)['key'] == read_status(b)['key']
