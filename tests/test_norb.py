"""small NORB from its published form to a pool: made files in the published format, served as the publisher would;
damaged ones; what the command line says where they are absent."""
import struct

import numpy as np
import pytest
import torch

from paper_repro.data import sources
from paper_repro.data.images import load_images
from paper_repro.data.norb import SPLITS, matrix_bytes
from paper_repro.data.sources import DATASETS, fetch
from published import HOST, Answer, data_set, gz, publisher

N = 30   # pairs of images a split


def matrices(seed=0):
    "Six made files, name -> array: noise that differs by image and camera, classes in turn."
    rng, out = np.random.default_rng(seed), {}
    for base in SPLITS.values():
        out[f'{base}-dat.mat'] = rng.integers(0, 256, (N, 2, 96, 96), dtype=np.uint8)
        out[f'{base}-cat.mat'] = np.arange(N, dtype=np.int32) % 5
        out[f'{base}-info.mat'] = rng.integers(0, 6, (N, 4), dtype=np.int32)
    return out


def place(monkeypatch, root, contents):
    "Put files (name -> bytes) where small NORB belongs, as if their sums were the published ones."
    (root/'smallnorb').mkdir(parents=True, exist_ok=True)
    for f, c in contents.items(): (root/'smallnorb'/f).write_bytes(c)
    data_set(monkeypatch, contents, {}, 'norb')


def test_published_files_are_fetched_and_read_as_images_of_the_first_camera(monkeypatch, tmp_path):
    made = matrices()
    contents = {f: matrix_bytes(a) for f, a in made.items()}
    with publisher(monkeypatch) as server:
        urls = data_set(monkeypatch, contents, {f'{f}.gz': gz(c) for f, c in contents.items()}, 'norb')
        for f, c in contents.items(): server.publish(f'{f}.gz', Answer(gz(c)))
        assert all(u.startswith(HOST) for u in urls)
        assert fetch('norb', tmp_path) == tmp_path/'smallnorb' and len(server.asked) == 6
    images = load_images('norb', tmp_path, classes=(0, 1), train_size=10)
    rows = [i for i in range(N) if i % 5 < 2]
    assert images.x_train.dtype == torch.uint8
    assert images.x_train.shape == (10, 1, 96, 96) and images.x_test.shape == (12, 1, 96, 96)
    assert images.x_train[:, 0].numpy().tolist() == made[f'{SPLITS["train"]}-dat.mat'][rows[:10], 0].tolist()
    assert images.x_test[:, 0].numpy().tolist() == made[f'{SPLITS["test"]}-dat.mat'][rows, 0].tolist()
    assert images.counts == [5, 5] and images.y_train.tolist() == [0, 1]*5


def cut(c): return c[:-100]
def other_magic(c): return struct.pack('<I', 0x1E3D4C53) + c[4:]
def other_sizes(c): return c[:8] + struct.pack('<i', N + 1) + c[12:]
def two_dimensions(c): return c[:4] + struct.pack('<i', 2) + c[8:]


@pytest.mark.parametrize('what', ['dat', 'cat'])
@pytest.mark.parametrize('damage,message', [
    (cut, 'its sizes'), (other_magic, 'magic number is 0x1e3d4c53'), (other_sizes, 'its sizes'),
    (two_dimensions, 'dimensions|one class an image')])
def test_file_that_is_no_whole_matrix_is_one_clear_error(what, damage, message, monkeypatch, tmp_path):
    contents = {f: matrix_bytes(a) for f, a in matrices().items()}
    f = f'{SPLITS["test"]}-{what}.mat'
    place(monkeypatch, tmp_path, contents | {f: damage(contents[f])})
    with pytest.raises(ValueError, match=message) as e: load_images('norb', tmp_path)
    assert f in str(e.value)


@pytest.mark.parametrize('change,message', [
    (lambda m: m[:, 0], r'\(n, 2, 96, 96\)'), (lambda m: m[:, :, :48, :48].copy(), r'\(n, 2, 96, 96\)'),
    (lambda m: m[:7], 'one class an image')])
def test_matrices_that_do_not_belong_together_are_one_clear_error(change, message, monkeypatch, tmp_path):
    made, f = matrices(), f'{SPLITS["train"]}-dat.mat'
    place(monkeypatch, tmp_path, {k: matrix_bytes(change(a) if k == f else a) for k, a in made.items()})
    with pytest.raises(ValueError, match=message): load_images('norb', tmp_path)


def test_file_that_differs_from_the_published_one_is_refused(monkeypatch, tmp_path):
    contents = {f: matrix_bytes(a) for f, a in matrices().items()}
    place(monkeypatch, tmp_path, contents)
    f = tmp_path/'smallnorb'/f'{SPLITS["train"]}-dat.mat'
    f.write_bytes(f.read_bytes()[:-1] + b'x')
    with pytest.raises(ValueError, match=f'MD5 of {f.name} is .*, published'): load_images('norb', tmp_path)


def test_absent_data_are_named_with_the_command_that_fetches_them(tmp_path):
    from typer.testing import CliRunner

    from paper_repro.batch.cli import app
    def lines(*args):
        out = CliRunner().invoke(app, [*args, '--data', str(tmp_path)], env={'COLUMNS': '200'}).output
        return [line for line in out.splitlines() if 'norb' in line]
    with pytest.raises(FileNotFoundError, match='norb not found .*6 of 6 files.* Run: paper_repro data fetch norb'):
        load_images('norb', tmp_path)
    assert 'absent; paper_repro data fetch norb' in lines('data', 'list')[0]
    listed = lines('list', '--profile', 'quick', '--out-dir', str(tmp_path/'figures'))
    rows = [line for line in listed if 'train_features' in line]
    assert len(rows) == 2 and all('missing data' in r and 'paper_repro data fetch norb' in r for r in rows)


def test_sizes_of_the_published_files_follow_from_their_format():
    for f, size in DATASETS['norb']['sizes'].items():
        kinds = {'dat': ((24_300, 2, 96, 96), 1), 'cat': ((24_300,), 4), 'info': ((24_300, 4), 4)}
        shape, itemsize = kinds[f.split('-')[-1].removesuffix('.mat')]
        assert size == 8 + 4*max(len(shape), 3) + np.prod(shape)*itemsize


@pytest.mark.parametrize('transform,m', [('translate', 4), ('rotate', 4), ('crop', 1)])
def test_pool_of_small_norb_has_2304_features(transform, m, monkeypatch, tmp_path):
    from paper_repro.models.resnet import resnet56v2
    from paper_repro.subsampling.pools import frozen_pool
    place(monkeypatch, tmp_path, {f: matrix_bytes(a) for f, a in matrices().items()})
    images = load_images('norb', tmp_path, classes=(0, 1), train_size=4)
    net = resnet56v2(5, 1, size=96, n=1, divide=255)
    pool = frozen_pool(images, transform, net, 'untrained', folder=tmp_path/'cache')
    assert pool.Z.shape == (4*(1 + m), 2304) and pool.Z_test.shape == (12*(1 + m), 2304) and pool.m == m
    assert pool.Z.isfinite().all() and len(pool.fit(torch.ones(1, len(pool.Z)).double()).correct[0]) == 12


def test_network_trained_as_released_divides_its_images_by_255_twice(tmp_path):
    from paper_repro.models.resnet import extract_features, load_pretrained, resnet56v2, save_pretrained
    kwargs = dict(n_classes=5, in_channels=1, size=96, n=1)
    x = torch.randint(0, 256, (3, 1, 96, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    save_pretrained('norb_resnet56v2', resnet56v2(**kwargs, divide=255), torch.zeros(1, 96, 96),
                    kwargs | dict(divide=255), tmp_path)
    z = extract_features(load_pretrained('norb_resnet56v2', tmp_path)[0], x)
    once = extract_features(resnet56v2(**kwargs), x.float()/255/255)
    torch.testing.assert_close(z, once)
    assert (z - extract_features(resnet56v2(**kwargs), x)).norm() > .1*z.norm()      # it matters
