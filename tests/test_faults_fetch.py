"""Downloads that break off, are altered, come over http or hold what they should not: F5 to F9 of the reliability
promises."""
import shutil
import ssl
import subprocess
import tarfile
import threading

import pytest

from paper_repro.data import sources
from paper_repro.data.sources import DATASETS, check, fetch
from published import HOST, Answer, data_set, gz, md5, publisher, sha256, tar

LABELS, IMAGES = b'labels '*100, bytes(range(256))*200


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(sources.time, 'sleep', lambda s: None)   # waits between attempts
    with publisher(monkeypatch) as p: yield p


@pytest.fixture
def made(monkeypatch, server):
    "A data set of two packed files, both published as they should be."
    data_set(monkeypatch, {'images': IMAGES, 'labels': LABELS}, {'images.gz': gz(IMAGES), 'labels.gz': gz(LABELS)})
    server.publish('images.gz', Answer(gz(IMAGES)))
    server.publish('labels.gz', Answer(gz(LABELS)))
    return server


def files(root): return sorted(str(p.relative_to(root)) for p in root.rglob('*') if not p.is_dir())


def test_published_files_are_fetched_verified_and_unpacked(made, tmp_path):
    assert fetch('made', tmp_path) == tmp_path/'made'
    assert (tmp_path/'made/images').read_bytes() == IMAGES and (tmp_path/'made/labels').read_bytes() == LABELS
    assert check('made', tmp_path) == [] and made.asked == ['/images.gz', '/labels.gz']
    fetch('made', tmp_path)
    assert len(made.asked) == 2                                   # what is there is not asked for again


# ---- F5: broken off

@pytest.mark.parametrize('length', [True, False], ids=['length said', 'length not said'])
def test_truncated_download_is_retried_then_named_with_both_sizes(length, made, tmp_path):
    packed = gz(IMAGES)
    made.publish('images.gz', Answer(packed, sent=len(packed)//2, length=length))
    with pytest.raises(OSError) as e: fetch('made', tmp_path)
    cut = f'expected {len(packed)} bytes, received {len(packed)//2}, after 3 attempts'
    assert f'{HOST}/images.gz: {cut}' in str(e.value)
    assert made.asked == ['/images.gz']*3 and files(tmp_path) == []


def test_download_that_breaks_off_once_is_fetched_by_the_second_attempt(made, tmp_path):
    packed = gz(IMAGES)
    made.publish('images.gz', Answer(packed, sent=10), Answer(packed))
    fetch('made', tmp_path)
    assert made.asked == ['/images.gz', '/images.gz', '/labels.gz'] and check('made', tmp_path) == []


def test_failing_server_is_asked_again_and_a_missing_page_is_not(made, tmp_path):
    made.publish('images.gz', Answer(status=503), Answer(gz(IMAGES)))
    made.publish('labels.gz', Answer(status=404))
    with pytest.raises(OSError, match=f'{HOST}/labels.gz: 404'): fetch('made', tmp_path)
    assert made.asked == ['/images.gz', '/images.gz', '/labels.gz']


def test_fetch_goes_on_with_what_is_missing(made, tmp_path):
    good = made.answers['/labels.gz']
    made.publish('labels.gz', Answer(status=404))
    with pytest.raises(OSError): fetch('made', tmp_path)
    assert (tmp_path/'made/images').read_bytes() == IMAGES
    made.answers['/labels.gz'] = good
    fetch('made', tmp_path)
    assert made.asked.count('/images.gz') == 1 and check('made', tmp_path) == []


def test_download_that_does_not_end_is_cut_at_the_published_size(made, tmp_path):
    made.publish('images.gz', Answer(gz(IMAGES) + bytes(30_000_000), length=False))
    with pytest.raises(OSError, match=f'expected {len(gz(IMAGES))} bytes, received more'): fetch('made', tmp_path)
    assert made.asked == ['/images.gz'] and files(tmp_path) == []


def test_content_encoding_of_a_packed_file_does_not_unpack_it(made, tmp_path):
    made.publish('images.gz', Answer(gz(IMAGES), headers={'Content-Encoding': 'x-gzip'}))
    fetch('made', tmp_path)
    assert check('made', tmp_path) == []


def test_full_disk_is_not_taken_for_a_bad_connection(made, tmp_path, monkeypatch):
    class Full:
        def __enter__(self): return self
        def __exit__(self, *_): pass
        def write(self, _): raise OSError(28, 'No space left on device')
    def opened(path, mode='r'): return Full() if mode == 'wb' else open(path, mode)
    monkeypatch.setattr(sources, 'open', opened, raising=False)
    with pytest.raises(OSError, match='No space left'): fetch('made', tmp_path)
    assert made.asked == ['/images.gz'] and files(tmp_path) == []


# ---- F6: altered

def test_altered_download_of_the_right_size_names_both_digests_and_is_not_kept(made, tmp_path):
    altered = bytearray(gz(IMAGES))
    altered[50] ^= 1
    made.publish('images.gz', Answer(bytes(altered)))
    with pytest.raises(ValueError) as e: fetch('made', tmp_path)
    assert sha256(gz(IMAGES)) in str(e.value) and sha256(bytes(altered)) in str(e.value)
    assert files(tmp_path) == []


def test_content_that_differs_inside_an_archive_names_both_digests_and_is_not_kept(server, monkeypatch, tmp_path):
    wrong = IMAGES[::-1]
    data_set(monkeypatch, {'images': IMAGES}, {'images.gz': gz(wrong)})
    server.publish('images.gz', Answer(gz(wrong)))
    with pytest.raises(ValueError) as e: fetch('made', tmp_path)
    assert md5(IMAGES) in str(e.value) and md5(wrong) in str(e.value)
    assert files(tmp_path) == ['downloads/images.gz']             # as published; nothing under the name of the data


def test_altered_file_in_the_data_folder_is_replaced(made, tmp_path):
    (tmp_path/'made').mkdir()
    (tmp_path/'made/images').write_bytes(IMAGES[:-1] + b'x')
    (tmp_path/'made/labels').write_bytes(LABELS)
    fetch('made', tmp_path)
    assert check('made', tmp_path) == [] and made.asked == ['/images.gz']


@pytest.mark.parametrize('where', ['.', 'made', 'downloads'])
def test_published_file_that_is_already_there_needs_no_network(where, made, tmp_path):
    for name, content in (('images.gz', IMAGES), ('labels.gz', LABELS)):
        (tmp_path/where).mkdir(exist_ok=True)
        (tmp_path/where/name).write_bytes(gz(content))
    fetch('made', tmp_path)
    assert made.asked == [] and check('made', tmp_path) == []


# ---- F7: https only

def test_http_address_is_refused_before_anything_is_asked(server, monkeypatch, tmp_path):
    data_set(monkeypatch, {'images': IMAGES}, {'images.gz': gz(IMAGES)}, host=f'http://127.0.0.1:{server.port}')
    server.publish('images.gz', Answer(gz(IMAGES)))
    with pytest.raises(ValueError, match='is not https'): fetch('made', tmp_path)
    assert server.asked == []


def test_redirect_to_http_is_refused(made, tmp_path):
    made.publish('images.gz', Answer(status=302, headers={'Location': f'http://127.0.0.1:{made.port}/elsewhere.gz'}))
    made.publish('elsewhere.gz', Answer(gz(IMAGES)))
    with pytest.raises(OSError, match='not https'): fetch('made', tmp_path)
    assert made.asked == ['/images.gz'] and files(tmp_path) == []


def test_failing_https_is_an_error_and_http_is_not_tried(server, monkeypatch, tmp_path):
    host = f'https://127.0.0.1:{server.port}' # this port speaks http
    url, = data_set(monkeypatch, {'images': IMAGES}, {'images.gz': gz(IMAGES)}, host=host)
    server.publish('images.gz', Answer(gz(IMAGES)))
    with pytest.raises(OSError) as e: fetch('made', tmp_path)
    assert f'{url}: expected {len(gz(IMAGES))} bytes, received 0, after 3 attempts (SSLError' in str(e.value)
    assert server.asked == [] and files(tmp_path) == []


@pytest.mark.skipif(not shutil.which('openssl'), reason='openssl makes the certificate')
def test_certificate_nobody_vouches_for_is_refused(server, monkeypatch, tmp_path):
    key, cert = tmp_path/'key.pem', tmp_path/'cert.pem'
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', key, '-out', cert,
                    '-days', '2', '-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1'],
                   check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    tls = type(server.server)(('127.0.0.1', 0), server.server.RequestHandlerClass, bind_and_activate=True)
    tls.handle_error = lambda *_: None                            # the client hangs up
    tls.socket = context.wrap_socket(tls.socket, server_side=True)
    threading.Thread(target=tls.serve_forever, kwargs=dict(poll_interval=.02), daemon=True).start()
    try:
        host = f'https://127.0.0.1:{tls.server_address[1]}'
        data_set(monkeypatch, {'images': IMAGES}, {'images.gz': gz(IMAGES)}, host=host)
        server.publish('images.gz', Answer(gz(IMAGES)))
        with pytest.raises(OSError, match='CERTIFICATE_VERIFY_FAILED'): fetch('made', tmp_path/'data')
    finally:
        tls.shutdown()
        tls.server_close()
    assert server.asked == [] and not (tmp_path/'data/made').exists()


# ---- F8: archives that reach outside

EVIL = {
    'path that leads outside': {'../escaped': b'x'},
    'path that leads outside, named as a file of the data set': {'made/../../images': IMAGES},
    'absolute path': {'/escaped': b'x'},
    'symbolic link out': {'made/link': dict(type=tarfile.SYMTYPE, linkname='../../escaped')},
    'symbolic link named as a file of the data set': {
        'made/labels': dict(type=tarfile.SYMTYPE, linkname='/etc/passwd')},
    'link inside': {'made/link': dict(type=tarfile.SYMTYPE, linkname='images')},
    'hard link out': {'made/link': dict(type=tarfile.LNKTYPE, linkname='../../escaped')},
    'device node': {'made/null': dict(type=tarfile.CHRTYPE, devmajor=1, devminor=3)},
    'pipe': {'made/pipe': dict(type=tarfile.FIFOTYPE)},
}


@pytest.mark.parametrize('member', EVIL.values(), ids=EVIL.keys())
def test_archive_that_reaches_outside_is_refused_and_nothing_is_written(member, server, monkeypatch, tmp_path):
    packed, root = tar({'made/images': IMAGES, **member}), tmp_path/'in/here'
    data_set(monkeypatch, {'images': IMAGES, 'labels': LABELS}, {'made.tar.gz': packed})
    server.publish('made.tar.gz', Answer(packed))
    with pytest.raises(ValueError, match='made.tar.gz refused'): fetch('made', root)
    assert files(tmp_path) == ['in/here/downloads/made.tar.gz']


def test_archive_gives_only_the_files_of_the_data_set(server, monkeypatch, tmp_path):
    packed = tar({'made': dict(type=tarfile.DIRTYPE), 'made/images': IMAGES, 'made/labels': LABELS,
                  'made/readme.html': b'hello', 'made/.hidden': b'x'})
    data_set(monkeypatch, {'images': IMAGES, 'labels': LABELS}, {'made.tar.gz': packed})
    server.publish('made.tar.gz', Answer(packed))
    fetch('made', tmp_path)
    assert files(tmp_path) == ['downloads/made.tar.gz', 'made/images', 'made/labels'] and check('made', tmp_path) == []


# ---- F9: more inside than was said

def test_packed_file_that_unpacks_to_more_is_cut_and_not_kept(server, monkeypatch, tmp_path):
    bomb = gz(bytes(50_000_000))
    data_set(monkeypatch, {'images': IMAGES}, {'images.gz': bomb})
    server.publish('images.gz', Answer(bomb))
    message = f'images unpacks to more than its published {len(IMAGES)} bytes'
    with pytest.raises(ValueError, match=message): fetch('made', tmp_path)
    assert files(tmp_path) == ['downloads/images.gz']


@pytest.mark.parametrize('members,message', [
    ({'made/images': IMAGES + b'x', 'made/labels': LABELS},
     f"member 'made/images' has {len(IMAGES) + 1} bytes, published {len(IMAGES)}"),
    ({'made/images': IMAGES, 'made/labels': LABELS, 'made/zeros': bytes(20_000_000)},
     'its members hold more than the published'),
    ({'made/images': IMAGES, 'made/labels': LABELS[::-1]}, 'MD5 of labels'),
], ids=['member larger than published', 'bomb among the members', 'member altered'])
def test_archive_with_other_members_than_published_is_refused(members, message, server, monkeypatch, tmp_path):
    packed = tar(members)
    data_set(monkeypatch, {'images': IMAGES, 'labels': LABELS}, {'made.tar.gz': packed})
    server.publish('made.tar.gz', Answer(packed))
    with pytest.raises(ValueError) as e: fetch('made', tmp_path)
    assert message in str(e.value) and not (tmp_path/'made/labels').exists()


@pytest.mark.parametrize('name', ['images.gz', 'made.tar.gz'])
def test_published_archive_that_ends_early_is_refused(name, server, monkeypatch, tmp_path):
    packed = (gz(IMAGES) if name == 'images.gz' else tar({'made/images': IMAGES}))[:-40]
    data_set(monkeypatch, {'images': IMAGES}, {name: packed})
    server.publish(name, Answer(packed))
    with pytest.raises(ValueError, match=r'cannot be unpacked|refused'): fetch('made', tmp_path)
    assert files(tmp_path) == [f'downloads/{name}']


# ---- the command line, and the published addresses

def test_every_published_address_is_https_with_size_and_digest():
    for name, info in DATASETS.items():
        for url, (size, digest) in info['urls'].items():
            assert url.startswith('https://') and size > 0 and digest.split(':')[0] in ('md5', 'sha256'), name


def test_command_says_in_one_line_what_could_not_be_fetched(monkeypatch, tmp_path):
    import requests
    from typer.testing import CliRunner

    from paper_repro.batch.cli import app
    def refuse(*_, **__): raise requests.ConnectionError('no route to the internet')
    monkeypatch.setattr(sources.time, 'sleep', lambda s: None)
    monkeypatch.setattr(requests.adapters.HTTPAdapter, 'send', refuse)
    out = CliRunner().invoke(app, ['data', 'fetch', 'norb', '--data', str(tmp_path)])
    assert out.exit_code == 1 and 'Traceback' not in out.output
    url = 'https://cs.nyu.edu/~ylclab/data/norb-v1.0-small/smallnorb-5x46789x9x18x6x2x96x96-training-dat.mat.gz'
    assert f'norb not fetched: {url}' in out.output.replace('\n', '')
    assert 'no route to the internet' in out.output and files(tmp_path) == []
