"""The static reader follows all that is written out: files that an import executes are those that Python finds."""

import importlib
import random
import sys
from importlib.machinery import EXTENSION_SUFFIXES, PathFinder
from itertools import product
from pathlib import Path

import pytest

from mlnb.notebook.imports import module_files, read_module

SUFFIXES = (".py", ".pyc", ".so", *EXTENSION_SUFFIXES[:2])
NAMES = [".".join(parts) for n in (1, 2, 3) for parts in product("ab", repeat=n)]


def files_by_python(dotted: str, folders: list[Path]) -> dict[str, Path]:
    "What Python's own finder gives for each part of a name, one below the other."
    found, places, parts = {}, [str(folder) for folder in folders], dotted.split(".")
    for n, part in enumerate(parts, 1):
        spec = PathFinder.find_spec(part, places)
        if spec is None:
            return found
        if spec.has_location:
            found[".".join(parts[:n])] = Path(spec.origin)
        places = list(spec.submodule_search_locations or ())
        if not places:
            return found
    return found


def put_anything(folder: Path, rng: random.Random) -> None:
    "A module, a package or an empty folder somewhere below a folder, unless something is in its way."
    parts = [rng.choice("ab") for _ in range(rng.randint(1, 3))]
    is_package = len(parts) > 1 and rng.random() < 0.5
    name = "__init__" if is_package else parts[-1]
    path = folder.joinpath(*parts[:-1], name + rng.choice(("", *SUFFIXES)))
    if any(parent.is_file() for parent in path.parents) or path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix and rng.random() < 0.9:
        path.touch()
    else:
        path.mkdir()


@pytest.mark.parametrize(
    "seed", [pytest.param(7, id="quick"), *(pytest.param(n, marks=pytest.mark.slow) for n in range(8))]
)
def test_files_of_a_module_are_those_that_python_finds(seed, tmp_path):
    rng, n_found = random.Random(seed), 0
    for n in range(30 if seed == 7 else 300):
        folders = [tmp_path / f"{n}" / name for name in "123"]
        for folder in folders * 4:
            put_anything(folder, rng)
        sys.path_importer_cache.clear()
        importlib.invalidate_caches()
        for dotted in NAMES:
            expected = files_by_python(dotted, folders)
            assert module_files(dotted, folders) == expected, (
                dotted,
                sorted(tmp_path.joinpath(f"{n}").rglob("*")),
            )
            n_found += len(expected) > 1
    assert n_found > 30


def test_a_compiled_module_counts_by_its_bytes(tmp_path):
    path = tmp_path / "fast.so"
    path.write_bytes(b"\x7fELF import shop")
    first = read_module(path, "")
    path.write_bytes(b"\x7fELF import shop, pandas")
    assert (first[1], read_module(path, "")[1]) == ([], [])
    assert first[0] != read_module(path, "")[0]


@pytest.mark.parametrize("source", [b"x = '\0'", b"x = (", b"\xff", b"-" * 60_000 + b"1"])
def test_a_module_that_cannot_be_parsed_counts_by_its_bytes(source, tmp_path):
    (tmp_path / "bad.py").write_bytes(source)
    assert read_module(tmp_path / "bad.py", "") == (read_module(tmp_path / "bad.py", "pkg")[0], [])
