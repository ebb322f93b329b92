"""Are the notebooks clean, and are the library and the README in step with them?
One line for each that is not, and the command that mends it.

    python tools/check.py                        all three
    python tools/check.py export clean           the quick two, as the git hook does
Works on a copy in a temporary folder: needs no git, changes nothing, and sees what lies in the working tree."""
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import entry_points
from pathlib import Path

root = Path(__file__).parents[1]
ignore = shutil.ignore_patterns('__pycache__', '.ipynb_checkpoints', '_proc')


def copy_tree(dest):
    "Copy to `dest` what nbdev works from: settings, notebooks, and of the library only the package's own `__init__.py`"
    (dest/'paper_repro').mkdir(parents=True)
    for name in ('settings.ini', 'pyproject.toml', 'paper_repro/__init__.py'): shutil.copy2(root/name, dest/name)
    shutil.copytree(root/'nbs', dest/'nbs', ignore=ignore)


def nbdev(command, where):
    "Run an nbdev command in `where`. Raises `RuntimeError` with its output when it fails."
    # no script on PATH is needed, nor taken from elsewhere
    entry = next(e for e in entry_points(group='console_scripts') if e.name == command)
    code = f'import sys; from {entry.module} import {entry.attr} as run; sys.argv = [{command!r}]; run()'
    done = subprocess.run([sys.executable, '-c', code], cwd=where, capture_output=True, text=True)
    if done.returncode: raise RuntimeError(f'{command} failed:\n{done.stdout}{done.stderr}')


def differing(a, b, pattern):
    "Relative paths of the files matching `pattern` whose bytes differ under `a` and `b`, or that only one has."
    def found(d): return {p.relative_to(d) for p in d.rglob(pattern) if '.ipynb_checkpoints' not in p.parts}
    def content(p): return p.read_bytes() if p.exists() else None
    return sorted(str(p) for p in found(a) | found(b) if content(a/p) != content(b/p))


def check_export(tmp):
    "Exporting every notebook gives the library as it lies there, no module more or less."
    nbdev('nbdev_export', tmp)
    bad = differing(tmp/'paper_repro', root/'paper_repro', '*.py')
    return bad and (f'paper_repro/ is not what the notebooks export ({", ".join(bad)}): make export, '
                    'or delete a module that has no notebook')


def check_clean(tmp):
    "Cleaning changes no notebook."
    nbdev('nbdev_clean', tmp)
    bad = differing(tmp/'nbs', root/'nbs', '*.ipynb')
    return bad and f'notebooks are not clean ({", ".join(bad)}): make clean'


def check_readme(tmp):
    "README.md is what nbs/index.ipynb gives."
    done = subprocess.run([sys.executable, root/'tools/readme.py', '--check'], capture_output=True, text=True)
    return done.returncode and (done.stdout + done.stderr).strip()


checks = dict(export=check_export, clean=check_clean, readme=check_readme)

if __name__ == '__main__':
    names = sys.argv[1:] or list(checks)
    if unknown := set(names) - set(checks):
        sys.exit(f'unknown check {", ".join(sorted(unknown))}; there are {", ".join(checks)}')
    failed = 0
    for name in names:
        with tempfile.TemporaryDirectory(prefix='paper_repro_check_') as tmp:
            tmp = Path(tmp)/'copy'
            copy_tree(tmp)
            if message := checks[name](tmp):
                failed = 1
                print(message, file=sys.stderr)
    sys.exit(failed)
