"""What somebody meets who works by hand: threads at papermill's door, errors in sentences"""

import ast
import gzip
import io
import linecache
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mlnb.flow import session
from mlnb.kernel import passing_folders
from mlnb.notebook.parameters import Parameter, check_value
from mlnb.store.artifacts import put_value
from mlnb.store.errors import UsageError, ValueRefusedError
from mlnb.store.objects import open_store
from mlnb.store.user_lines import rendered_error


@pytest.fixture
def eager_threads():
    "Threads that are switched all the time."
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("n_threads", [2, 6])
def test_threads_make_and_remove_folders_of_their_own(tmp_path, eager_threads, n_threads):
    open_before = len(os.listdir("/proc/self/fd"))

    def work(_):
        for _ in range(15):
            shutil.rmtree(passing_folders.passing_folder("mlnb-t-", str(tmp_path)))

    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(work, range(n_threads)))
    shutil.rmtree(passing_folders.passing_folder("mlnb-t-", str(tmp_path)))
    passing_folders._forget_removed()
    assert len(os.listdir("/proc/self/fd")) <= open_before
    assert not any(tmp_path.iterdir())


WRONG_NAMES = [
    3,
    0.5,
    None,
    True,
    b"rows",
    ["rows"],
    {"rows"},
    {"rows": 1},
    Path("rows"),
    object(),
    len,
    ("a", 1),
]
VERBS = {"load": (), "save": (1,), "metric": (1,), "artifact_digest": ()}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("name", WRONG_NAMES, ids=lambda name: type(name).__name__)
def test_a_name_that_is_no_text_is_refused_in_one_sentence(verb, name):
    with pytest.raises(
        UsageError, match=f"^`{verb}` takes a name, not .*: write the name itself, e.g. `{verb}"
    ):
        getattr(session, verb)(name, *VERBS[verb])


UNFIT = {
    "objects": {"a": [object(), object()]},
    "mixed": {"a": [1, "x", object()]},
    "functions": {"a": [len, None]},
    "modules": {"a": [{"b": sys}, {}]},
}


@pytest.mark.parametrize("kind", UNFIT)
def test_a_refused_column_is_told_without_the_library_that_refused_it(tmp_path, kind):
    import pandas as pd

    cell = "put_value(store, pd.DataFrame(columns), ())\n"
    linecache.cache["<a cell>"] = (len(cell), None, [cell], "<a cell>")
    names = {"put_value": put_value, "store": open_store(tmp_path), "pd": pd, "columns": UNFIT[kind]}
    with pytest.raises(ValueRefusedError) as caught:
        exec(compile(cell, "<a cell>", "exec"), names)
    error = caught.value
    error.__traceback__ = error.__traceback__.tb_next  # without the frame of this test
    first, second, *said = rendered_error(error).splitlines()
    assert (first, second) == ("File <a cell>, line 1", f"----> 1 {cell.rstrip()}")
    assert len(said) == 1 and said[0].startswith(("ValueRefusedError: column `a`", "ValueRefusedError: `a["))


ANNOTATIONS = (
    "str",
    "int",
    "float",
    "bool",
    "list[str]",
    "dict[str, int]",
    "Literal['a', 'b']",
    "int | None",
)


@pytest.mark.parametrize("annotation", ANNOTATIONS)
def test_a_mend_for_a_wrong_default_shows_a_value_that_passes(annotation):
    for default in ("text", 3, 0.5, True, None, [1], {"a": "b"}):
        parameter = Parameter("p", annotation, default)
        try:
            check_value(parameter, default)
        except UsageError as error:
            shown = ast.literal_eval(error.mend.removeprefix("give a value like "))
            assert check_value(parameter, shown) == shown


OPEN = {
    "text": Path.open,
    "binary": lambda path: path.open("rb"),
    "packed": gzip.open,
    "text in memory": lambda path: io.StringIO("text"),
    "bytes in memory": lambda path: io.BytesIO(b"bytes"),
}


@pytest.mark.parametrize("kind", OPEN)
def test_an_open_file_is_refused_as_one(tmp_path, kind):
    path, store = tmp_path / "f.txt", open_store(tmp_path / "store")
    path.write_text("one line\n")
    said = r"^an open file cannot be saved: .*(Path|getvalue)"
    with OPEN[kind](path) as file, pytest.raises(ValueRefusedError, match=said):
        put_value(store, file)
