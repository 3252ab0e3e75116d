"""What a value brings with it: packages that a stage uses because it loads something, though it imports
none of them."""

import subprocess
import sys

import pytest

from mlnb.flow.value_packages import packages_of_inputs
from mlnb.notebook.packages import closure, distributions_by_module, read_packages
from mlnb.sources.partition import Partition
from mlnb.store.codec_packages import codec_packages
from mlnb.store.codecs import SUFFIXES
from mlnb.store.descriptions import Artifact, Parts

TREES = ("file", "folder", "frames", "values")  # codecs of artifacts that are no single value
MAKE = {
    "frame": "pandas.DataFrame({'a': ['x']})",
    "series": "pandas.Series(['x'])",
    "arrow": "pyarrow.table({'a': ['x']})",
    "array": "numpy.arange(3)",
    "json": "{'a': 1}",
    "typed": "pandas.Timestamp('2026')",
    "text": "'a'",
    "figure": "codecs.Svg('<svg/>')",
    "estimator": "sklearn.linear_model.LogisticRegression()",
}
CODE = """
import sys
from mlnb.store import codecs
import {module}
data = codecs.encode({value}).data
print(data.hex())
"""
READ = """
import sys
from mlnb.store import codecs
codecs.decode({codec!r}, bytes.fromhex(sys.stdin.read()))
print(*sorted({{name.partition('.')[0] for name in sys.modules}}))
"""


def given(codec, type_name="x.y"):
    return Artifact(codec, "0" * 64, 1, type_name)


def test_packages_of_every_codec_are_named_by_their_normalised_names_and_installed():
    packages = read_packages()
    for codec in (*SUFFIXES, *TREES):
        assert set(codec_packages(codec)) <= packages.keys(), codec
    plain = {codec for codec in (*SUFFIXES, *TREES) if not codec_packages(codec)}
    assert plain == {"json", "text", "file", "folder"}


TABLE_SUFFIXES = (".csv", ".csv.gz", ".tsv", ".jsonl", ".parquet")


@pytest.mark.parametrize("suffix", [*TABLE_SUFFIXES, ".json", ".txt", ""])
def test_source_brings_pandas_when_it_is_read_as_a_table(suffix):
    found = packages_of_inputs([], [[Partition(f"data/d{suffix}", 1, "0" * 64)]])
    assert ("pandas" in found) == (suffix in TABLE_SUFFIXES)


@pytest.mark.parametrize("codec", sorted((*SUFFIXES, *TREES)))
def test_a_part_of_a_fan_out_brings_what_it_brings_alone(codec):
    alone = packages_of_inputs([given(codec)])
    assert packages_of_inputs([Parts("fold", (0, 1), (given("json"), given(codec)))]) == alone
    assert packages_of_inputs([given("text"), given(codec)]) == alone


def test_package_of_a_model_is_that_of_its_type_and_never_mlnb():
    by_module = {"imblearn": ["imbalanced-learn"], "shop": [], "sklearn": ["scikit-learn"]}
    kept = set(codec_packages("estimator"))
    for type_name, own in {
        "imblearn.pipeline.Pipeline": {"imbalanced-learn"},
        "sklearn.pipeline.Pipeline": set(),
        "shop.models.Scaler": set(),
        "mlnb.fraud.champion.Model": set(),
        "some_package.Model": {"some-package"},
    }.items():
        assert packages_of_inputs([given("estimator", type_name)], (), by_module) - kept == own, type_name


OPTIONAL = {"cloudpickle"}  # imported by pyarrow where it is installed, and never required


@pytest.mark.slow
@pytest.mark.parametrize("codec", sorted(MAKE))
def test_reading_a_value_loads_what_its_codec_names(codec):
    value = MAKE[codec]
    module = value.partition("(")[0].rpartition(".")[0] if "." in value and codec != "figure" else "sys"
    python = [sys.executable, "-c"]
    made = subprocess.run([*python, CODE.format(module=module, value=value)], capture_output=True)
    read = subprocess.run([*python, READ.format(codec=codec)], input=made.stdout, capture_output=True)
    assert read.returncode == 0, read.stderr
    bare = subprocess.run([*python, READ.format(codec="text")], input=b"61", capture_output=True)
    packages = read_packages()
    tops = {*read.stdout.decode().split()} - {*bare.stdout.decode().split(), *sys.stdlib_module_names}
    used = {name for top in tops for name in distributions_by_module(packages).get(top, [])}
    named = packages_of_inputs([given(codec, "sklearn.x")], (), {"sklearn": ["scikit-learn"]})
    assert named - ({"pandas"} if codec == "arrow" else set()) <= used  # which may be asked for as a frame
    if codec != "estimator":  # skops and scikit-learn look for what else is installed
        assert used - closure(packages, named).keys() <= OPTIONAL
