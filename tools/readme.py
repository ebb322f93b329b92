"""nbs/index.ipynb -> README.md: papermill executes the notebook at the checkout's root, nbconvert writes Markdown.

    python tools/readme.py           write README.md
    python tools/readme.py --check   compare; decimals in outputs may differ, as they do from one machine to another
Cells marked `#| hide` run and are left out; of those marked `#| echo: false` the Markdown output stays. Links become
links from the root and must lead somewhere. Outputs are text or Markdown; a picture is a link to a committed file under
figures/."""
import argparse
import os
import re
import sys
import tempfile
from pathlib import Path

root = Path(__file__).parents[1]


def from_root(link, folder):
    """A link that holds in `folder`, as it holds in the checkout's root; web addresses and anchors stay.
    Raises `ValueError` where nothing lies there."""
    if re.match(r'[a-z]+:|#', link): return link
    path, mark, anchor = link.partition('#')
    target = Path(os.path.normpath(folder/path))
    if not target.exists(): raise ValueError(f'nbs/index.ipynb links to {link}, and {target} does not exist')
    return os.path.relpath(target, root) + mark + anchor


def relink(text, folder):
    "`text`, Markdown, with its links (outside of code) made to hold in the root."
    parts = re.split(r'(^```.*?^```|`[^`\n]+`)', text, flags=re.M | re.S)
    def moved(m): return m[1] + from_root(m[2], folder)
    parts[::2] = [re.sub(r'(\]\(|\b(?:src|href)=")([^)"\s]+)', moved, p) for p in parts[::2]]
    return ''.join(parts)


def convert(notebook):
    """The Markdown of `notebook`, executed afresh.
    Raises `ValueError` for a picture among the outputs and for a dead link."""
    import nbformat
    from nbconvert import MarkdownExporter
    from papermill import execute_notebook
    from traitlets.config import Config
    with tempfile.TemporaryDirectory(prefix='readme_') as tmp:
        os.environ.setdefault('IPYTHONDIR', tmp)
        done = Path(tmp)/'index.ipynb'
        ipc = Config({'KernelManager': {'transport': 'ipc', 'connection_file': f'{tmp}/k.json'},
                      'NotebookClient': {'shutdown_kernel': 'immediate'}})
        execute_notebook(str(notebook), str(done), kernel_name='python3', progress_bar=False, start_timeout=180,
                         resources={'metadata': {'path': str(root)}}, config=ipc)
        nb = nbformat.read(done, as_version=4)
    nb.cells = [c for c in nb.cells if c.cell_type != 'raw']
    for cell in nb.cells:
        if cell.cell_type == 'markdown': cell.source = relink(cell.source, notebook.parent)
        for out in cell.get('outputs', []):
            if any(k.startswith('image/') for k in out.get('data', {})):
                raise ValueError(f'{notebook.name} shows a picture as an output; link to a file under ../figures/ '
                                 'instead')
        if cell.cell_type == 'code': cell.outputs = [o for o in cell.outputs if o.get('name') != 'stderr']
        # only what it says
        if cell.cell_type == 'code' and re.search(r'^#\|\s*echo:\s*false', cell.source, flags=re.M):
            text = '\n\n'.join(o['data'].get('text/markdown', '') for o in cell.outputs if 'data' in o)
            cell.cell_type, cell.source = 'markdown', relink(text, root)
            del cell['outputs'], cell['execution_count']
    config = Config({'MarkdownExporter': {'preprocessors': ['nbconvert.preprocessors.RegexRemovePreprocessor']},
                     'RegexRemovePreprocessor': {'patterns': [r'\s*\Z', r'(#\|.*\n)*#\|\s*hide\s*(\n|\Z)']},
                     'NbConvertBase': {'display_data_priority': ['text/markdown', 'text/plain']}})
    text, _ = MarkdownExporter(config=config).from_notebook_node(nb)
    text = re.sub(r'^#\|.*\n', '', text, flags=re.M)                       # nbdev's directives
    text = re.sub(r'[ \t]+$', '', text, flags=re.M)
    text = re.sub(r'\n{3,}', '\n\n', text).strip()
    return f'<!-- generated from nbs/index.ipynb by `make readme`; edit the notebook -->\n\n{text}\n'


def comparable(text):
    "`text` with the decimals of output blocks (indented by four spaces) masked."
    return [re.sub(r'\d+\.\d+(e[-+]?\d+)?', '#', line) if line.startswith('    ') else line
            for line in text.splitlines()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--check', action='store_true', help='compare instead of write')
    args = parser.parse_args()
    notebook, readme = root/'nbs/index.ipynb', root/'README.md'
    if not notebook.exists(): sys.exit('nbs/index.ipynb is missing; README.md is made from it')
    try: text = convert(notebook)
    except ValueError as e: sys.exit(str(e))
    if args.check:
        if not readme.exists() or comparable(readme.read_text(encoding='utf-8')) != comparable(text):
            sys.exit('README.md is not what nbs/index.ipynb gives: make readme')
        return
    part = readme.with_suffix('.md.part')
    part.write_text(text, encoding='utf-8')
    os.replace(part, readme)


if __name__ == '__main__': main()
