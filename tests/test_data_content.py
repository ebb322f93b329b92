"""Tables, texts and signals: fetched from a publisher that misbehaves, verified by what they hold, known to the command
line and to the batch. All on small made files in the published forms."""
import io
import random
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from paper_repro.batch.catalogue import Item
from paper_repro.batch.data_commands import data_app
from paper_repro.batch.jobs import Job
from paper_repro.batch.key import data_digest, job_inputs
from paper_repro.batch.status import job_state
from paper_repro.data import known, readers, verified
from paper_repro.data.sequences import Sentences, encode, load_series, load_text, word_vectors
from paper_repro.data.tabular import load_table, stratified_split
from paper_repro.data.verified import content_digest
from paper_repro.modals.baselines import Smote, eda, mixup
from published import HOST, Answer, publisher

ROWS = ['M,0.5,0.4,0.1,0.5,0.2,0.1,0.15,8', 'F,0.35,0.2,0.09,0.2,0.09,0.04,0.07,9', 'I,0.3,0.2,0.1,0.1,0.1,0.1,0.1,11']
TREC = {'train_5500.label': 'NUM:dist How far ?\nLOC:city What is a sister\xf0city ?\n', 'TREC_10.label': 'DESC:def Why ?\n'}


def packed(files):
    "A zip archive, name -> text or bytes."
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w', zipfile.ZIP_DEFLATED) as z:
        for name, content in files.items(): z.writestr(name, content)
    return out.getvalue()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(verified.time, 'sleep', lambda s: None)   # waits between attempts
    with publisher(monkeypatch) as p: yield p


def enter(monkeypatch, registry, name, made, urls):
    "Let made content (files by their place) stand for the published one, and the publisher's address for the real one."
    source = registry[name]
    reader, files = source.layouts[-1][1], source.layouts[-1][0]
    with tempfile.TemporaryDirectory() as d:
        for f, content in made.items():
            (Path(d)/f).parent.mkdir(parents=True, exist_ok=True)
            (Path(d)/f).write_bytes(content)
        digest = content_digest(reader(*(Path(d)/f for f in files)))
    entries = tuple((f'{HOST}/{u}', cap, parts) for (_, cap, parts), u in zip(source.urls, urls))
    monkeypatch.setitem(registry, name, replace(source, digest=digest, urls=entries))
    return digest


@pytest.fixture
def abalone(monkeypatch, server):
    "Abalone of three rows, published as it should be."
    text = '\n'.join(ROWS).encode()
    enter(monkeypatch, readers.TABLES, 'abalone', {'abalone/abalone.data': text}, ['abalone.zip'])
    server.publish('abalone.zip', Answer(packed({'abalone.data': text, 'abalone.names': 'x', 'Index': 'y'})))
    return server


def files(root): return sorted(str(p.relative_to(root)) for p in root.rglob('*') if not p.is_dir())


def test_published_table_is_fetched_verified_and_read(abalone, tmp_path):
    assert known.fetch('abalone', tmp_path) == tmp_path/'abalone'
    assert files(tmp_path) == ['abalone/abalone.data'] and abalone.asked == ['/abalone.zip']
    table = load_table('abalone', tmp_path)
    assert table.original and table.y.tolist() == [0, 1, 2] and known.check('abalone', tmp_path) == []
    known.fetch('abalone', tmp_path)
    assert len(abalone.asked) == 1                                 # what is there is not asked for again


def test_download_that_breaks_off_is_tried_again_and_then_named(abalone, tmp_path):
    whole = abalone.answers['/abalone.zip'][0].content
    abalone.publish('abalone.zip', Answer(whole, sent=len(whole)//2))
    with pytest.raises(OSError, match=f'{HOST}/abalone.zip: not downloaded after 3 attempts'):
        known.fetch('abalone', tmp_path)
    assert len(abalone.asked) == 3 and files(tmp_path) == []
    abalone.publish('abalone.zip', Answer(whole, sent=10), Answer(status=503), Answer(whole))
    known.fetch('abalone', tmp_path)
    assert len(abalone.asked) == 6 and known.check('abalone', tmp_path) == []


def test_missing_page_is_not_asked_for_twice(abalone, tmp_path):
    abalone.publish('abalone.zip', Answer(status=404))
    with pytest.raises(OSError, match=f'{HOST}/abalone.zip: 404'): known.fetch('abalone', tmp_path)
    assert abalone.asked == ['/abalone.zip'] and files(tmp_path) == []


@pytest.mark.parametrize('content,message', [
    (packed({'abalone.data': '\n'.join(ROWS).replace('11', '12')}), 'is not the published data: SHA-256 of its content'),
    (packed({'abalone.data': 'M,1\n'}), 'line 1 has not 9 values'), (packed({'other': 'x'}), 'lacks a file'),
    (packed({'abalone.data': '0'*2_000_000}), 'more than the expected size'), (b'<html>', 'lacks a file')])
def test_download_that_holds_something_else_is_refused_and_not_kept(content, message, abalone, tmp_path):
    abalone.publish('abalone.zip', Answer(content))
    with pytest.raises(ValueError, match=message): known.fetch('abalone', tmp_path)
    assert files(tmp_path) == []


def test_download_that_does_not_end_is_cut(abalone, tmp_path):
    abalone.publish('abalone.zip', Answer(b'0'*1_500_000, length=False))
    with pytest.raises(OSError, match='more than the expected 1000000 bytes'): known.fetch('abalone', tmp_path)
    assert files(tmp_path) == []


def test_redirect_to_http_is_refused(abalone, tmp_path):
    abalone.publish('abalone.zip', Answer(status=302, headers={'Location': 'http://elsewhere.example/abalone.zip'}))
    with pytest.raises(OSError, match='something that is not https'): known.fetch('abalone', tmp_path)
    assert files(tmp_path) == []


def test_archive_cannot_write_outside_the_data_folder(abalone, tmp_path):
    text = '\n'.join(ROWS)
    abalone.publish('abalone.zip', Answer(packed({'../../abalone.data': text, '/etc/abalone.names': 'x'})))
    root = tmp_path/'a/b/data'
    known.fetch('abalone', root)
    assert files(tmp_path) == ['a/b/data/abalone/abalone.data']


def test_archive_that_lies_in_the_data_folder_needs_no_network(abalone, tmp_path):
    (tmp_path/'downloads').mkdir()
    (tmp_path/'downloads/abalone.zip').write_bytes(abalone.answers['/abalone.zip'][0].content)
    known.fetch('abalone', tmp_path)
    assert abalone.asked == [] and load_table('abalone', tmp_path).original


def test_altered_table_is_refused_by_the_loader_and_replaced_by_fetch(abalone, tmp_path):
    known.fetch('abalone', tmp_path)
    path = tmp_path/'abalone/abalone.data'
    path.write_text(path.read_text().replace('0.35', '0.36'))
    with pytest.raises(ValueError, match='is not the published data'): load_table('abalone', tmp_path)
    assert not load_table('abalone', tmp_path, verify=False).original
    known.fetch('abalone', tmp_path)
    assert load_table('abalone', tmp_path).original


def test_published_questions_are_fetched_as_plain_files(monkeypatch, server, tmp_path):
    made = {f'TREC/{k}': v.encode('latin-1') for k, v in TREC.items()}
    enter(monkeypatch, readers.TEXTS, 'trec6', made, list(TREC))
    for k, v in TREC.items(): server.publish(k, Answer(v.encode('latin-1')))
    known.fetch('trec6', tmp_path)
    texts = load_text('trec6', tmp_path)
    assert texts.original and texts.train.tokens[1][-2] == 'sisterðcity' and texts.dev is None
    assert files(tmp_path) == ['TREC/TREC_10.label', 'TREC/train_5500.label']


def recordings(seed=0):
    "Two persons of HAPT as text files, name -> content."
    rng, out = np.random.default_rng(seed), {}
    for exp, user in ((1, 1), (2, 3)):
        counts = rng.integers(-900, 900, (300, 6))*np.array(readers.HAR_UNITS)
        for kind, cols in (('acc', slice(0, 3)), ('gyro', slice(3, 6))):
            text = io.StringIO()
            np.savetxt(text, counts[:, cols], '%.9g')
            out[f'RawData/{kind}_exp{exp:02d}_user{user:02d}.txt'] = text.getvalue()
    out['RawData/labels.txt'] = '1 1 5 1 200\n1 1 7 201 300\n2 3 1 50 290\n'
    return out | {'Train/subject_id_train.txt': '1\n1\n'}


def test_published_recordings_are_fetched_from_an_archive_in_an_archive(monkeypatch, server, tmp_path):
    made = recordings()
    enter(monkeypatch, readers.SERIES, 'har', {f'HAPT/{k}': v.encode() for k, v in made.items()}, ['hapt.zip'])
    inner = packed({f'HAPT Data Set/{k}': v for k, v in made.items()} | {'HAPT Data Set/Test/subject_id_test.txt': '3'})
    server.publish('hapt.zip', Answer(packed({'HAPT Data Set.zip': inner, 'readme.txt': 'x'})))
    known.fetch('har', tmp_path)
    series = load_series('har', tmp_path)
    assert series.x.shape == (4, 128, 6) and series.train.tolist() == [True]*2 + [False]*2 and series.original
    assert files(tmp_path) == sorted(f'HAPT/{k}' for k in made)
    with pytest.raises(ValueError, match='is missing'):                       # a recording that is gone
        for p in (tmp_path/'HAPT/RawData').glob('*exp02*'): p.unlink()
        load_series('har', tmp_path, verify=False)


@pytest.mark.parametrize('name,place', [('arcene', 'tabular/arcene.npz'), ('har', 'har/hapt_raw.npz')])
@pytest.mark.parametrize('damage', [lambda c: c[:len(c)//2], lambda c: b'', lambda c: c[:200] + b'\xff'*50 + c[250:]],
                         ids=['cut', 'empty', 'flipped'])
def test_damaged_archive_of_numbers_is_one_clear_error(name, place, damage, tmp_path):
    path = tmp_path/place
    path.parent.mkdir()
    many = np.arange(400).reshape(2, 200)
    if name == 'arcene': np.savez(path, x_train=many, y_train=[1, -1], x_valid=many, y_valid=[1, -1])
    else: np.savez(path, delta=many.repeat(3, 0).astype(np.int16), scale=readers.HAR_UNITS, lengths=[200], exp_user=[[1, 1]],
                   labels=[[1, 1, 1, 1, 200]], train_users=[1])
    load = load_table if name == 'arcene' else load_series
    load(name, tmp_path, verify=False)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=name): load(name, tmp_path)


# ---- the command line

def run(*argv): return CliRunner().invoke(data_app, [str(a) for a in argv], env={'COLUMNS': '200'})


def test_commands_fetch_check_and_list_a_table(abalone, tmp_path):
    assert 'abalone        absent; paper_repro data fetch abalone' in run('list', '--data', tmp_path).output
    assert run('check', 'abalone', '--data', tmp_path).exit_code == 1
    r = run('fetch', 'abalone', '--data', tmp_path)
    assert (r.exit_code, r.output.strip()) == (0, f'abalone: {tmp_path/"abalone"}')
    assert 'abalone        present' in run('list', '--data', tmp_path).output
    r = run('check', 'abalone', '--data', tmp_path)
    assert (r.exit_code, r.output.strip()) == (0, 'abalone: original')
    (tmp_path/'abalone/abalone.data').write_text('\n'.join(ROWS[:2]))
    r = run('check', '--data', tmp_path)
    assert r.exit_code == 1 and 'is not the published data' in r.output


def test_failed_fetch_is_one_line_and_exit_code_1(abalone, tmp_path):
    abalone.publish('abalone.zip', Answer(status=404))
    r = run('fetch', 'abalone', '--data', tmp_path)
    assert r.exit_code == 1 and 'abalone not fetched' in r.output and 'Traceback' not in r.output


# ---- the batch

def job(*data, **more):
    return Job(Item('demo', 'one', 'one.ipynb', dict(needs=dict(data=list(data))), dict(profile='smoke', **more)), None, 'quick')


def test_job_that_lacks_a_table_says_how_to_get_it_and_is_ready_once_it_is_there(abalone, tmp_path):
    state, reason = job_state(job('iris', 'abalone'), tmp_path/'figures', data=tmp_path/'data')
    assert state == 'missing data' and 'Run: paper_repro data fetch abalone' in reason and 'iris' not in reason
    known.fetch('abalone', tmp_path/'data')
    assert job_state(job('iris', 'abalone'), tmp_path/'figures', data=tmp_path/'data') == ('not run', '')


@pytest.mark.parametrize('name,hint', [('sst2', 'data fetch sst2'), ('trec6', 'data fetch trec6'), ('har', 'data fetch har'),
                                       ('htru2', 'data fetch htru2'), ('arcene', 'data fetch arcene'), ('malware', 'github.com')])
def test_every_absent_data_set_is_missing_data(name, hint, tmp_path):
    state, reason = job_state(job('{dataset}', dataset=name), tmp_path/'figures', data=tmp_path)
    assert state == 'missing data' and hint in reason


def test_digest_of_a_table_is_of_its_content_and_notices_an_altered_value(abalone, tmp_path):
    absent = data_digest('abalone', tmp_path)
    known.fetch('abalone', tmp_path)
    assert data_digest('abalone', tmp_path) == absent == readers.TABLES['abalone'].digest
    assert job_inputs(job('abalone', 'breast_cancer'), data=tmp_path)['data'] == dict(abalone=absent, breast_cancer='embedded')
    (tmp_path/'tabular').mkdir()                                  # the same table in the other form
    (tmp_path/'tabular/abalone.csv').write_text('sex,a,b,c,d,e,f,g,rings\n' + '\n'.join(ROWS))
    assert data_digest('abalone', tmp_path) == absent
    (tmp_path/'tabular/abalone.csv').write_text('sex,a,b,c,d,e,f,g,rings\n' + '\n'.join(ROWS[:2]))
    assert data_digest('abalone', tmp_path) != absent


# ---- other promises

def test_loaders_and_baselines_leave_global_random_states_alone(tmp_path):
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    table = load_table('iris')
    stratified_split(table.y, .2)
    Smote(table.x, table.y)(table.x[:4], torch.arange(4), 0)
    mixup(table.x, 0)
    sentences = Sentences([['a', 'fine', 'film'], ['no']], torch.tensor([0, 1]))
    out, _ = eda(sentences, 0, copies=3)
    encode(out.tokens, word_vectors(sentences.tokens, root=tmp_path).vocab)
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before
