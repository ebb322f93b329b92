"""A publisher for the tests of downloads: a server on this machine that misbehaves on request, and a made-up data set
whose files it publishes."""
import contextlib
import gzip
import hashlib
import http.server
import io
import tarfile
import threading
from dataclasses import dataclass, field

import requests

from paper_repro.data.sources import DATASETS

HOST = 'https://publisher.example'   # what the library asks for; the transport below leads to this machine


@dataclass
class Answer:
    "What the server does when a path is asked for: `content`, or a part of it, with these headers."
    content:bytes = b''
    sent:int|None = None              # bytes after which the connection is closed; None: all
    length:bool = True                # say the whole length beforehand
    status:int = 200
    headers:dict = field(default_factory=dict)


class Publisher:
    "Answers by path, one after the other, the last one for good; `asked` lists the paths."
    def __init__(self):
        self.answers, self.asked = {}, []
        publisher = self
        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_): pass
            def do_GET(self):
                publisher.asked.append(self.path)
                queue = publisher.answers.get(self.path) or [Answer(status=404)]
                a = queue.pop(0) if len(queue) > 1 else queue[0]
                self.send_response(a.status)
                if a.length: self.send_header('Content-Length', str(len(a.content)))
                for k, v in a.headers.items(): self.send_header(k, v)
                self.end_headers()
                with contextlib.suppress(OSError): self.wfile.write(a.content[:a.sent])
        self.server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs=dict(poll_interval=.02), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def publish(self, name, *answers): self.answers[f'/{name}'] = list(answers)


@contextlib.contextmanager
def publisher(monkeypatch):
    "A running `Publisher`; the https transport of requests leads to it, all else of a session stays as it is."
    p, send = Publisher(), requests.adapters.HTTPAdapter.send
    def rerouted(self, request, **kwargs):
        if request.url.startswith(HOST): request.url = request.url.replace(HOST, f'http://127.0.0.1:{p.port}')
        return send(self, request, **kwargs)
    monkeypatch.setattr(requests.adapters.HTTPAdapter, 'send', rerouted)
    try: yield p
    finally: p.close()


def md5(content): return hashlib.md5(content).hexdigest()
def sha256(content): return hashlib.sha256(content).hexdigest()


def gz(content): return gzip.compress(content, mtime=0)


def tar(members:dict):
    "A tar.gz: members are name -> content, or name -> dict of the fields of a `TarInfo` that is no file."
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w:gz') as t:
        for name, content in members.items():
            m = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                m.size = len(content)
                t.addfile(m, io.BytesIO(content))
            else:
                for k, v in content.items(): setattr(m, k, v)
                t.addfile(m)
    return out.getvalue()


def data_set(monkeypatch, files:dict, archives:dict, name='made', host=HOST, folder='made'):
    """Enter a data set into the catalogue: its unpacked files and the archives that are published, name -> content.
    Returns its URLs."""
    urls = {f'{host}/{a}': (len(c), f'sha256:{sha256(c)}') for a, c in archives.items()}
    known = DATASETS.get(name, dict(description='made up', embedded=False, folder=folder))
    monkeypatch.setitem(DATASETS, name, dict(known, files={f: md5(c) for f, c in files.items()},
                                             sizes={f: len(c) for f, c in files.items()}, urls=urls))
    return list(urls)
