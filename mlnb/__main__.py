"""`python -m mlnb` is `mlnb`."""

from mlnb.cli import main

main()
