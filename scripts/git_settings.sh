#!/bin/sh
# Teach this clone's git about notebooks: in its own .git/config only, never in the user's home. Undone by `git config --remove-section`.
# Where a work tree has no .venv, the filter passes text through and the diff is a plain one.
set -eu
[ -e .git ] && command -v git >/dev/null || exit 0

git config --local filter.mlnb-notebook.clean \
  'f() { if [ -x .venv/bin/python ]; then .venv/bin/python scripts/notebooks.py filter "$1"; else cat; fi; }; f %f'
git config --local diff.mlnb-notebook.command \
  'f() { if [ -x .venv/bin/nbdev-diff-driver ]; then .venv/bin/nbdev-diff-driver "$@"; else diff -u "$2" "$5" || true; fi; }; f'
git config --local merge.mlnb-notebook.name 'merge notebooks cell by cell (nbdev)'
git config --local merge.mlnb-notebook.driver '.venv/bin/nbdev-merge %O %A %B %P'
