"""Print the requirements of settings.ini, one a line: `python tools/requirements.py [dev ...]`, each argument adding
`<argument>_requirements`."""
import sys
from configparser import ConfigParser
from pathlib import Path


def requirements(path, extras=()):
    "Requirement strings of the settings file at `path`, and those of `extras`."
    parser = ConfigParser(delimiters=['='], interpolation=None)
    with open(path, encoding='utf-8') as f: parser.read_file(f)
    cfg = parser['DEFAULT']
    return [r for key in ('requirements', *(f'{e}_requirements' for e in extras)) for r in cfg[key].split()]


if __name__ == '__main__': print(*requirements(Path(__file__).parents[1]/'settings.ini', sys.argv[1:]), sep='\n')
