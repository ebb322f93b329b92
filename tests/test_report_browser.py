"The report in a real browser: headless Chromium at the width of a phone, in light and dark."
import html
import json
import os
import re
import shutil
import subprocess

import pytest

from paper_repro.batch.catalogue import catalogue
from paper_repro.batch.jobs import make_jobs
from paper_repro.batch.report import build_report
from paper_repro.batch.run import Batch
from small_checkout import cell, make_checkout, once

CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
FLAGS = ('--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking '
         '--disable-component-update --disable-sync --hide-scrollbars --virtual-time-budget=5000').split()

META = '''
title: "Error <against> subset size"
shows: The paper says that a tenth of the points, chosen by influence, gives most of what augmenting all of them gives.
reported: {full: 0.984, tenth: "0.981 (read off the figure)", budgets: [1, 10, 100]}
needs: {data: {quick: [mnist]}}
variants:
  cifar10_translate_with_a_rather_long_name_that_must_break_somewhere: {wide: true}
  plain: {wide: false, profiles: [smoke]}'''

CODE = '''
import matplotlib.pyplot as plt, pandas as pd
from paper_repro.core.results import Result
variant = 'cifar10_translate_with_a_rather_long_name_that_must_break_somewhere' if wide else 'plain'
r = Result('demo', 'figure1', variant=variant, profile=profile, seed=seed, device='cpu', out_dir=out_dir,
           parameters=dict(wide=wide))
fig, ax = plt.subplots(figsize=(7, 4))
ax.errorbar([1, 10, 100], [.9, .95, .97], yerr=.01, label='uniform')
ax.set_xlabel('budget (points)')
ax.set_ylabel('test accuracy')
ax.legend()
r.add_figure(fig, caption='n = 1000, profile smoke; bars are 95 % intervals over 5 rounds')
r.add_table(pd.DataFrame({f'column {i}': [i/7]*3 for i in range(30 if wide else 3)}), caption='a wide table & "quotes"')
r.add_table(pd.DataFrame(dict(n=range(300))), name='long', caption='a long table')
r.add_claim('none < uniform', True, estimate=.0212, low=.0101, high=.0333, n=5,
            test='paired bootstrap over rounds, 95 %', detail='<b>not bold</b>')
r.add_claim('ends meet', estimate=1e-9, kind='identity', tolerance=1e-6)
r.add_data(name='digits', fingerprint='a'*64, original=True)
r.note('trained 2 epochs <script>document.title = "hacked"</script>')
r.save()
'''

# what the browser is asked on a copy of the page: does anything stick out, did the pictures load, what was requested
PROBE = '''<script>addEventListener('load', () => { const got = {
  inner: innerWidth, scroll: document.documentElement.scrollWidth,
  out: [...document.querySelectorAll('body *')]
    .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.scroll'))
    .map(e => e.tagName + ' ' + e.textContent.slice(0, 40)),
  images: [...document.images].map(i => [i.naturalWidth, i.alt]), title: document.title,
  resources: performance.getEntriesByType('resource').map(e => e.name),
  lacking: [...document.querySelectorAll('a[href^="#"]')]
    .filter(a => !document.getElementById(a.getAttribute('href').slice(1))).map(a => a.href),
  dark: getComputedStyle(document.body).backgroundColor,
  badges: [...document.querySelectorAll('.badge')].map(b => getComputedStyle(b).color) };
  const pre = document.createElement('pre');
  pre.id = 'probe';
  pre.textContent = JSON.stringify(got);
  document.body.append(pre) })</script>'''


@pytest.fixture(scope='module')
def page(tmp_path_factory):
    "The report over a real run of two variants, a failed item and items without a result."
    folder, name = once(tmp_path_factory, 'report', make_page)
    return folder/name


def make_page(root):
    standard = "profile = 'smoke'\nseed = 0\ndevice = 'auto'\ndata_root = None\nout_dir = 'figures'\nwide = False"
    kernel = dict(name='python3', display_name='python3', language='python')
    def nb(item, meta, code):
        cells = [cell('raw', f'---\npaper: demo\nitem: {item}{meta}\n---'),
                 cell('code', standard, tags=['parameters']), cell('code', code)]
        return dict(cells=cells, metadata=dict(kernelspec=kernel), nbformat=4, nbformat_minor=5)
    fails = "raise ValueError('an error <with> & signs ' + 'x'*200)"
    make_checkout(root, figure1=nb('figure1', META, CODE), table1=nb('table1', '\ntitle: It fails', fails))
    batch = Batch(make_jobs(catalogue(root), 'smoke'), root/'figures', root=root, keep_going=True, workers=2,
                  say=lambda line: None)
    assert batch.run() == 1 and [r.status for r in batch.rows.values()].count('done') == 2, batch.rows
    return str(build_report(root/'figures', root, root/'data').relative_to(root))


def browse(page, tmp_path, width, *flags):
    "What PROBE finds; the page lies beside its figures, its folded parts are open."
    copy = page.with_name(f'probe{os.getpid()}.html')
    opened = page.read_text().replace('loading="lazy"', '').replace('<details', '<details open')
    copy.write_text(opened.replace('</body>', PROBE + '</body>'))
    frame = page.with_name(f'frame{os.getpid()}.html') # a frame of that width: a window has a least width
    frame.write_text(
        f'<body style="margin:0"><iframe src="{copy.name}" style="border:0;width:{width}px;height:3000px"></iframe>'
        '<script>onload = () => document.body.append(frames[0].document.getElementById("probe"))</script>')
    command = [CHROMIUM, *FLAGS, *flags, '--allow-file-access-from-files', f'--user-data-dir={tmp_path}/profile',
               f'--window-size={max(width, 800)},3000', '--dump-dom', frame.as_uri()]
    try: out = subprocess.run(command, capture_output=True, text=True, timeout=120)
    finally:
        copy.unlink()
        frame.unlink()
    found = re.search(r'<pre id="probe">(.*?)</pre>', out.stdout, re.S)
    assert found, out.stdout[-500:] + out.stderr[-1500:]
    return json.loads(html.unescape(found[1]))


needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason='no chromium on this machine (Debian: apt-get install chromium)')


@needs_browser
@pytest.mark.parametrize('width', [390, 1200])
def test_page_fits_and_its_pictures_load(page, tmp_path, width):
    got = browse(page, tmp_path, width)
    assert got['inner'] == width and got['scroll'] <= width and got['out'] == []
    assert len(got['images']) == 2 and all(w > 300 and 'bars are 95 % intervals' in alt for w, alt in got['images'])
    assert all(r.startswith('file:') for r in got['resources']) and got['lacking'] == []
    assert got['title'] == 'paper_repro: paper against ours'


def _luminance(rgb):
    parts = [int(v)/255 for v in re.findall(r'\d+', rgb)[:3]]
    r, g, b = [v/12.92 if v <= .03928 else ((v + .055)/1.055)**2.4 for v in parts]
    return .2126*r + .7152*g + .0722*b


@needs_browser
@pytest.mark.parametrize('flag, dark', [('--blink-settings=preferredColorScheme=1', False),
                                        ('--blink-settings=preferredColorScheme=0', True)])
def test_badges_are_legible_in_light_and_dark(page, tmp_path, flag, dark):
    got = browse(page, tmp_path, 390, flag)
    ground = _luminance(got['dark'])
    assert (ground < .1) == dark
    for color in got['badges']:
        a, b = sorted([ground, _luminance(color)])
        assert (b + .05)/(a + .05) >= 4.5, (color, got['dark']) # WCAG AA


def test_page_needs_no_network_and_runs_no_script(page):
    text = page.read_text()
    assert not re.search(r'https?://|//[a-z]+\.|<script|<link|@import|javascript:| on\w+=', text)
    assert text.count('not tested at this profile') >= 4
    for s in ('&lt;script&gt;document.title', '&lt;b&gt;not bold&lt;/b&gt;', 'an error &lt;with&gt; &amp; signs',
              'paper_repro data fetch mnist', 'paper_repro run demo/table1 --profile paper'):
        assert s in text, s
