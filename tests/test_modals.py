"""MODALS as a whole: a member that diverges, a study that was stopped, random states left alone."""
import random
import numpy as np
import pytest
import torch
from paper_repro.modals.search import search
from paper_repro.modals.study import find_schedules, run_study
from paper_repro.modals.tasks import make_task
from paper_repro.modals.training import Training

@pytest.fixture
def task(): return make_task('iris', runs=2, epochs=4, bs=32)

def test_member_that_diverges_is_replaced_and_named(task, monkeypatch, caplog):
    step = Training._epoch
    def poisoned(self, policies):
        step(self, policies)
        if self.epoch == 2:
            with torch.no_grad(): self.model.head.weight[5] = float('nan')
    monkeypatch.setattr(Training, '_epoch', poisoned)
    found = search(task, seed=1, population=4, interval=2, adversarial=.01)
    assert found.scores[1, 1].isnan().tolist() == [True, False]       # member 5 is the second of the second search
    assert found.sources[1, 1, 0] != 5 and 4 <= found.sources[1, 1, 0] < 8
    assert found.scores[0].isfinite().all()
    assert 'members [5] have diverged' in caplog.text

def test_all_diverged_stops_with_a_sentence(task, monkeypatch):
    monkeypatch.setattr(Training, 'score', lambda self, index: torch.full((self.model.members,), float('nan')))
    with pytest.raises(RuntimeError, match='members have diverged'): search(task, population=4, interval=2)

def test_stopped_search_of_a_study_goes_on(task, tmp_path):
    whole = find_schedules(task, 0, tmp_path/'a', population=4, interval=1, adversarial=.01)
    lines = []
    def stop(line):
        lines.append(line)
        if len(lines) == 2: raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): find_schedules(task, 0, tmp_path/'b', population=4, interval=1, adversarial=.01, log=stop)
    assert [p.name.split('-')[0] for p in (tmp_path/'b').iterdir()] == ['searching']
    rest = []
    again = find_schedules(task, 0, tmp_path/'b', population=4, interval=1, adversarial=.01, log=rest.append)
    assert len(rest) == 2 and again.schedules.equal(whole.schedules) and again.scores.equal(whole.scores)
    assert [p.name.split('-')[0] for p in (tmp_path/'b').iterdir()] == ['searched']

def test_arm_is_trained_once_whatever_it_is_asked_with(task, tmp_path, monkeypatch):
    first = run_study(task, 's', ['none', 'mixup'], folder=tmp_path)
    monkeypatch.setattr(Training, 'run', lambda *a: pytest.fail('trained again'))
    assert run_study(task, 's', ['mixup'], folder=tmp_path)['mixup']['loss'].equal(first['mixup']['loss'])

def test_global_random_states_are_left_alone(task, tmp_path):
    states = lambda: (random.getstate(), repr(np.random.get_state()), torch.get_rng_state().tolist())
    before = states()
    found = find_schedules(task, 0, tmp_path, population=4, interval=2, adversarial=.01)
    run_study(task, 's', ['MODALS', 'mixup'], found.schedules, folder=tmp_path, adversarial=.01)
    assert states() == before

def test_test_rows_never_enter_a_search(task):
    for part in (*task.halves(0), *(task.rows(s, 0) for s in ('s', 'm', 'full'))):
        for r in range(task.runs): assert not set(part[r].tolist()) & set(task.test[r].tolist())
