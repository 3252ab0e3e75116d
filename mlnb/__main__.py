"""`python -m mlnb` is `mlnb`."""

import sys
from os.path import dirname, realpath

import mlnb

if mlnb.__file__ is None or realpath(dirname(mlnb.__file__)) != realpath(dirname(__file__)):
    place = next(iter(mlnb.__path__))
    said = (
        f"error: the folder {place} hides the package mlnb from `python -m mlnb`\n"
        "  mend: use the command `mlnb`, or `python -P -m mlnb`, or rename the folder"
    )
    print(said, file=sys.stderr)
    sys.exit(2)

from mlnb.cli import main

main()
