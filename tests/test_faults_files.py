"Damaged caches, full and read-only disks, odd paths: F10 to F14 of the reliability promises."
import contextlib
import errno
import json
import logging
import os
import subprocess
import sys

import pytest

from paper_repro.batch.status import read_status, verify_run
from paper_repro.core.files import write_bytes
from paper_repro.core.stored import verify_result, write_together
from small_checkout import kernels, leftovers, make_checkout, notebook, paper_repro


# ---- caches and weights (F10, F11, F12)

@pytest.fixture
def cache(tmp_path):
    "A cached value: call it with key entries; `calls` counts the computations."
    import torch

    from paper_repro.core.files import cached
    class Cache:
        calls, folder = 0, tmp_path/'cache'
        def __call__(self, **key):
            def compute():
                self.calls += 1
                return {'x': torch.arange(1000.)*key.get('scale', 1)}
            return cached('features', key, compute, self.folder)['x']
        @property
        def file(self): return next(self.folder.glob('*.safetensors'))
    return Cache()


def test_cache_file_cut_in_half_is_reported_computed_again_and_replaced(cache, caplog):
    x = cache(scale=2)
    whole = cache.file.read_bytes()
    cache.file.write_bytes(whole[:len(whole)//2])
    with caplog.at_level(logging.WARNING): assert cache(scale=2).equal(x)
    assert 'is damaged' in caplog.text and str(cache.file) in caplog.text
    assert cache.calls == 2 and len(cache.file.read_bytes()) == len(whole)
    assert cache(scale=2).equal(x) and cache.calls == 2


@pytest.mark.parametrize('where', [.2, .6, .999])
def test_flipped_byte_in_a_cache_file_is_detected_and_computed_again(where, cache, caplog):
    x = cache(scale=2)
    whole = bytearray(cache.file.read_bytes())
    whole[int(where*len(whole))] ^= 1
    cache.file.write_bytes(whole)
    with caplog.at_level(logging.WARNING): assert cache(scale=2).equal(x)
    assert 'SHA-256' in caplog.text and cache.calls == 2


def test_flipped_byte_in_weights_is_refused(tmp_path):
    import torch

    from paper_repro.core.files import load_tensors, save_tensors
    path = tmp_path/'net.safetensors'
    digest = save_tensors(path, {'w': torch.arange(100.)})
    data = bytearray(path.read_bytes())
    data[-7] ^= 1
    path.write_bytes(data)
    message = f'damaged: SHA-256 of its content is [0-9a-f]{{64}}, expected {digest}'
    with pytest.raises(ValueError, match=message): load_tensors(path)


def test_cache_of_another_parameter_type_or_weight_file_is_a_miss(cache):
    for key in (dict(scale=2), dict(scale=2, dtype='float32'), dict(scale=2, dtype='bfloat16'),
                dict(scale=2, weights='a'*64), dict(scale=2, weights='b'*64), dict(scale=2, version=2), dict(scale=3)):
        calls = cache.calls
        cache(**key)
        assert cache.calls == calls + 1, key
        cache(**key)
        assert cache.calls == calls + 1, key


# ---- full and read-only disks (F13, F14)

@contextlib.contextmanager
def small_disk(folder, kib=512):
    "A file system of its own on `folder`; skips where that needs rights this user lacks."
    folder.mkdir(exist_ok=True)
    if os.geteuid() != 0: pytest.skip('mounting a small disk needs root')
    done = subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={kib}k', 'tmpfs', str(folder)], capture_output=True)
    if done.returncode: pytest.skip('this machine does not let root mount a tmpfs')
    try: yield folder
    finally: subprocess.run(['umount', '-l', str(folder)], check=True)


def test_full_disk_keeps_the_former_files_and_names_path_and_errno(tmp_path):
    with small_disk(tmp_path/'disk') as disk:
        write_bytes(disk/'cache', b'old')
        with pytest.raises(OSError, match=rf'cannot write {disk}/cache: No space left on device \(errno 28\)') as e:
            write_bytes(disk/'cache', bytes(1 << 20))
        assert e.value.errno == errno.ENOSPC
        write_together(disk/'r', {'a': b'old', 'last': b'old'}, last='last')
        with pytest.raises(OSError, match=r'disk/r: No space left on device \(errno 28\)'):
            write_together(disk/'r', {'a': b'new', 'b': bytes(1 << 20), 'last': b'new'}, last='last')
        left = {p.name: p.read_bytes() for p in disk.rglob('*') if p.is_file()}
        assert left == {'cache': b'old', 'a': b'old', 'last': b'old'}


def test_write_failing_anywhere_keeps_the_former_files(tmp_path, monkeypatch):
    "The same where nothing can be mounted: the write itself fails, or the sync after it."
    write_together(tmp_path/'r', {'a': b'old', 'last': b'old'}, last='last')
    def full(*args): raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match=r'errno 28'):
        write_together(tmp_path/'r', {'a': b'new', 'last': b'new'}, last='last')
    with pytest.raises(OSError, match=r'errno 28'): write_bytes(tmp_path/'r/a', b'new')
    monkeypatch.undo()
    assert {p.name: p.read_bytes() for p in (tmp_path/'r').iterdir()} == {'a': b'old', 'last': b'old'}


def test_batch_on_a_full_disk_fails_with_one_sentence_and_resumes_when_there_is_space(tmp_path):
    root = make_checkout(tmp_path/'checkout', a=notebook('a', "save('a', rows=rows)", parameters=dict(rows=10)))
    with small_disk(tmp_path/'disk') as disk:
        assert paper_repro(root, 'run', '--out-dir', disk)[0] == 0
        folder = disk/'demo/a/smoke'
        before = {n: (folder/n).read_bytes() for n in ('t.csv', 'result.json')}
        code, out = paper_repro(root, 'run', '--out-dir', disk, '-p', 'rows', 60_000) # a table larger than the disk
        assert code == 1 and 'No space left on device' in out and 'errno 28' in out, out
        assert {n: (folder/n).read_bytes() for n in before} == before and verify_result(folder) == []
        assert read_status(folder)['status'] == 'failed' and leftovers(disk) == []
        filler = disk/'filler'
        with contextlib.suppress(OSError), open(filler, 'wb') as f:
            while True: f.write(bytes(512))
        code, out = paper_repro(root, 'run', '--out-dir', disk) # not even the status can be written
        assert code == 1 and 'No space left on device' in out and str(disk) in out and 'Traceback' not in out, out
        assert {n: (folder/n).read_bytes() for n in before} == before and leftovers(disk) == [] and kernels(root) == []
        filler.unlink()
        code, out = paper_repro(root, 'run', '--out-dir', disk)
        assert code == 0 and verify_run(folder) == [], out
        assert (folder/'t.csv').read_bytes() == before['t.csv']


def test_read_only_output_folder_is_an_error_before_any_work(tmp_path):
    root = make_checkout(tmp_path/'checkout', a=notebook('a', "open('ran', 'w')"))
    with small_disk(tmp_path/'disk') as disk:
        subprocess.run(['mount', '-o', 'remount,ro', str(disk)], check=True)
        code, out = paper_repro(root, 'run', '--out-dir', disk)
        message = f'paper_repro: [Errno 30] cannot write results to {disk}: Read-only file system'
        assert code == 1 and out.strip() == message
        assert not (root/'ran').exists()


def test_output_folder_that_cannot_be_made_is_an_error_before_any_work(tmp_path):
    root = make_checkout(tmp_path, a=notebook('a', "open('ran', 'w')"))
    (root/'file').write_text('')
    code, out = paper_repro(root, 'run', '--out-dir', root/'file/figures')
    assert code == 1 and f'cannot write results to {root}/file/figures: Not a directory' in out
    assert 'Traceback' not in out
    assert not (root/'ran').exists()


def test_works_without_home_in_folders_with_spaces_and_accents(tmp_path):
    code = ["from paper_repro.core.files import data_root, sha256, write_bytes\nimport os\n"
            "write_bytes(data_root()/'cache'/'features é.bin', b'x')\n"
            "assert 'HOME' not in os.environ or os.environ['HOME']",
            "print(data_root())", "save('a')"]
    root = make_checkout(tmp_path/'mein Ordner é', a=notebook('a', code))
    (root/'data ü').mkdir()
    code, out = paper_repro(root, 'run', '--data', 'data ü', '--out-dir', 'ergebnisse ß', HOME=None)
    assert code == 0 and f'Report: {root}/ergebnisse ß/index.html' in out, out
    assert (root/'data ü/cache/features é.bin').read_bytes() == b'x'
    executed = (root/'ergebnisse ß/demo/a/smoke/notebook.ipynb').read_text()
    assert '$PAPER_REPRO_DATA\\n' in executed and str(root) not in executed and json.loads(executed)
    assert paper_repro(root, 'verify', '--out-dir', 'ergebnisse ß', HOME=None)[0] == 0
