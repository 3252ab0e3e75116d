"""What a stage will miss is said before anything runs: modules that are not installed, variables that a run
takes away, files that are no notebooks; and whoever follows the mend is rid of it."""

import json
import re
import subprocess
import sys

import pytest

from mlnb.flow.problems import check_of, variable_problems
from mlnb.kernel.process import kernel_environment
from mlnb.notebook.cells import parse_cell, read_notebook
from mlnb.notebook.missing import DISTRIBUTIONS, install_mend
from mlnb.notebook.pipeline import read_pipeline
from mlnb.notebook.soundness import sound_part
from mlnb.notebook.variables import read_variables
from mlnb.store.settings import find_project

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


def reads(*cells):
    return read_variables((n, parse_cell(cell)) for n, cell in enumerate(cells, 1))


def problems(project, **only):
    "What `check` lists of a project, of one rule."
    found = check_of(find_project(project.root), ["demo"])
    return [p for p in found if all(getattr(p, key) == value for key, value in only.items())]


# variables


IMPORTS = {
    "import os": "os.",
    "import os as o": "o.",
    "import os.path": "os.",
    "from os import environ, getenv, environb": "",
    "from os import *": "",
    "import os\nenviron = e = os.environ\ngetenv, environb = os.getenv, os.environb": "os.",
}
USES = (
    *("{}environ['X']", "{}environ.get('X')", "{}environ.get('X', 'a')", "{}environ.pop('X', None)"),
    *("'X' in {}environ", "'X' not in {}environ", "{}getenv('X')", "{}getenv(key='X')", "{}environb[b'X']"),
    *(
        "f\"{{{}environ['X']}}\"",
        "def f(a={}getenv('X')): pass",
        "{}environ['X'] += 'a'",
        "print({}environ['X'])",
    ),
    *("x = [{}environ['X'] for _ in 'ab']", "%time {}getenv('X')", "if 0:\n    {}environ.__getitem__('X')"),
)


@pytest.mark.parametrize("how", IMPORTS)
@pytest.mark.parametrize("use", USES)
def test_variable_is_found_in_whatever_way_it_is_read(how, use):
    assert reads(how, use.format(IMPORTS[how])) == {"X": 2}


@pytest.mark.parametrize(
    "cell", ["%env X", "!echo $X", "!ls ${X}/a", "a = !cat $X", "import os\nos.path.expandvars('$X')"]
)
def test_variable_is_found_in_magics_and_commands(cell):
    assert reads(cell) == {"X": 1}


@pytest.mark.parametrize(
    "cell",
    [
        *(
            "os.environ['X'] = '1'",
            "os.environ.setdefault('X', '1')",
            "os.environ.update(X='1')",
            "os.putenv('X', '1')",
        ),
        *(
            "os.environ |= {'X': '1'}",
            "os.environ.update({'X': '1'})",
            "%env X=1",
            "%env X 1",
            "%set_env X 1",
        ),
        *("from dotenv import load_dotenv\nload_dotenv()", "import dotenv\ndotenv.load_dotenv()", "%dotenv"),
    ],
)
def test_variable_that_the_notebook_gave_a_value_is_its_own(cell):
    assert reads("import os", cell, "os.environ['X'], os.getenv('X')") == {}
    assert reads("import os", "os.environ['X']", cell) == {"X": 2}


@pytest.mark.parametrize(
    "cell",
    [
        *(
            "X = 1\n!echo $X",
            "!X=1; echo $X",
            "!for X in a b; do echo $X; done",
            "os.environ['X']",
            "environ['X']",
        ),
        *(
            "import os\nos.environ[name]",
            "d = {}\nd['X']",
            "import os\nos.environ['no name']",
            "# os.environ['X']",
        ),
        *(
            "import posix as os\nos.environ['X']",
            "import os\n'os.environ[\"X\"]'",
            "%%html\n$X",
            "%env",
            "%mystery $X",
        ),
    ],
)
def test_what_reads_no_variable_of_the_environment_is_quiet(cell):
    assert reads(cell) == {}


def test_variables_that_a_kernel_has_are_not_missed(make_project, monkeypatch):
    cells = [f"os.environ[{name!r}]" for name in kernel_environment(extra={"MLNB_STAGE": "x"})]
    project = make_project({"10_a.ipynb": ["import os", *cells, "os.environ['RUN_MODE']"]})
    (found,) = variable_problems(read_pipeline(find_project(project.root), "demo"))
    assert (found.level, found.cell) == ("warning", len(cells) + 2) and "`RUN_MODE`" in found.message


@pytest.mark.parametrize(
    "first", ["import os", "#| env: ZONE\nimport os", "#| threads: 2\n#| env: ZONE, N\nimport os"]
)
def test_declaration_as_the_mend_writes_it_ends_the_warnings(make_project, first):
    use = "os.environ['RUN_MODE'], os.getenv('MODE'), '!' in os.environ"
    project = make_project({"10_a.ipynb": [("md", "# A"), first, use]})
    found = problems(project, rule="undeclared-variable")
    assert len(found) == 2 and len({p.mend for p in found}) == 1
    line = re.search("`(#[^`]+)`", found[0].mend)[1]
    rest = re.sub(r"(?m)^#\| env:.*\n", "", first)
    mended = make_project({"10_a.ipynb": [("md", "# A"), f"{line}\n{rest}", use]})
    assert problems(mended) == []
    assert set(read_pipeline(find_project(mended.root), "demo").stages["a"].options.env) >= {
        "RUN_MODE",
        "MODE",
    }


# modules


@pytest.mark.parametrize(
    ("cells", "levels"),
    [
        (["import no_such"], ["error"]),
        (["import os, no_such.deep as n, json"], ["error"]),
        (["from no_such import x"], ["error"]),
        (["%%time\nimport no_such"], ["error"]),
        (["%matplotlib inline", "import no_such"], ["error"]),
        (["try:\n    import no_such\nexcept ImportError:\n    pass"], []),
        (["if 0:\n    import no_such", "def f():\n    import no_such"], []),
        (["from contextlib import suppress\nwith suppress(ImportError):\n    import no_such"], []),
        ([("raises-exception", "import no_such")], []),
        ([("skip-execution", "import no_such")], []),
        (["%%writefile no_such.py\nx = 1", "import no_such"], []),
        (["open('no_such.py', 'w').write('x = 1')", "import no_such"], ["warning"]),
        (["%pip install no-such", "import no_such"], ["warning"]),
        (["!pip install no-such", "import no_such"], ["warning"]),
        (
            [
                "import subprocess, sys\nsubprocess.run([sys.executable, '-m', 'pip', 'install', 'x'])",
                "import no_such",
            ],
            ["warning"],
        ),
        (["%mystery", "import no_such"], ["warning"]),
        (["import no_such", "%pip install no-such"], ["error"]),
        (["import sys\nsys.path.append(input())", "import no_such"], ["warning"]),
        (["import sys\nsys.path.append('nowhere')", "import no_such"], ["error"]),
        (["import sys\nsys.path.append('../lib')", "import in_lib"], []),
        (["import beside, in_root, pack.deep, folder"], []),
        (["import path_changer", "import no_such"], ["warning"]),
        (["import pandas, sklearn, yaml, numpy.linalg, mlnb.data.schema, __future__"], []),
    ],
)
def test_import_of_what_is_not_there_is_said_as_surely_as_it_is_known(make_project, cells, levels):
    project = make_project({"10_a.ipynb": cells})
    for path in (
        "nbs/beside.py",
        "in_root.py",
        "nbs/pack/__init__.py",
        "nbs/folder/data.csv",
        "lib/in_lib.py",
    ):
        (project.root / path).parent.mkdir(exist_ok=True)
        (project.root / path).touch()
    (project.root / "nbs" / "path_changer.py").write_text("import sys\nsys.path.append('/opt/lib')")
    assert [p.level for p in problems(project, rule="not-installed")] == levels


@pytest.mark.parametrize(
    "writer",
    [
        "from pathlib import Path\nPath('no_such.py').write_text('x = 1')",
        "!protoc --python_out=. message.proto",
        "%%bash\nmake modules",
        "import os\nos.system('git clone https://host/no_such')",
        "import subprocess\nsubprocess.run(['make', 'modules'])",
        "import shutil\nshutil.unpack_archive('modules.zip')",
    ],
)
def test_module_that_another_stage_may_write_is_no_error(make_project, writer):
    project = make_project({"10_a.ipynb": [writer], "20_b.ipynb": ["import no_such"]})
    assert [p.level for p in problems(project, rule="not-installed")] == ["warning"]


def test_stage_that_misses_a_module_is_left_aside_and_the_others_go_on(make_project, asked):
    ours = "from mlnb import load, save"
    project = make_project(
        {
            "10_a.ipynb": [ours, "save('x', 1)"],
            "20_b.ipynb": [ours, "import no_such"],
            "30_c.ipynb": [ours, "load('x')"],
        }
    )
    whole = read_pipeline(find_project(project.root), "demo")
    assert list(sound_part(whole).stages) == ["a", "c"]
    refused = asked("run", "demo", cwd=project.root)
    assert refused.code == 2 and "imports `no_such`, which is not installed" in refused.stderr
    assert asked("check", cwd=project.root).code == 2


def test_nothing_of_a_module_is_executed_when_it_is_looked_for(make_project, tmp_path, monkeypatch):
    (tmp_path / "site" / "loud").mkdir(parents=True)
    (tmp_path / "site" / "loud" / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path / "site")
    project = make_project({"10_a.ipynb": ["import loud.deep.er"]})
    assert problems(project) == [] and "loud" not in sys.modules


@pytest.mark.parametrize(
    ("top", "name"), [("seaborn_x", "seaborn_x"), ("cv2", "opencv-python"), ("skimage", "scikit-image")]
)
def test_mend_installs_the_distribution_that_brings_the_module(top, name):
    assert f"`pip install {name}`" in install_mend(top)
    assert DISTRIBUTIONS["sklearn"] == "scikit-learn"


@pytest.mark.parametrize(("top", "meant"), [("pandsa", "pandas"), ("nunpy", "numpy"), ("jsno", "json")])
def test_mend_of_a_misspelt_module_names_the_one_that_is_there_first(top, meant):
    assert install_mend(top).startswith(f"did you mean `{meant}`?")


# files that are no notebooks


PLAIN = {
    "cells": [
        {
            "cell_type": "code",
            "id": "a",
            "metadata": {},
            "source": "x = 1",
            "outputs": [],
            "execution_count": None,
        }
    ],
    "metadata": {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}


def with_cell(**changed):
    return PLAIN | {"cells": [PLAIN["cells"][0] | changed]}


FAULTS = {
    "empty": (b"", "is empty"),
    "spaces": (b" \n\n", "is empty"),
    "zeros": (bytes(4096), "is empty"),
    "pointer": (POINTER.encode(), "is a pointer of Git LFS"),
    "conflict": (
        b'{"cells": [\n<<<<<<< HEAD\n1\n=======\n2\n>>>>>>> b\n]}',
        "both sides of a merge conflict (line 2)",
    ),
    "list": ([PLAIN], "is no notebook: it holds a list"),
    "null": (None, "is no notebook: it holds `null`"),
    "text": ("x", "is no notebook: it holds a text"),
    "format 3": (PLAIN | {"nbformat": 3}, "is a notebook of format 3"),
    "torn": (json.dumps(PLAIN).encode()[:90], "is no valid notebook"),
    "latin": (
        json.dumps(with_cell(source="é"), ensure_ascii=False).encode("latin-1"),
        "is not written in UTF-8",
    ),
    "no cells": (PLAIN | {"cells": None}, "has no list of cells"),
    "metadata list": (PLAIN | {"metadata": []}, "has a list for its metadata"),
    "cell null": (PLAIN | {"cells": [None]}, "cell 1 of nbs/10_a.ipynb is `null` and no cell"),
    "cell type": (with_cell(cell_type=1), "is not of type code, markdown or raw"),
    "marked cell": (
        with_cell(cell_type="markdown", source="`<<<<<<< HEAD`"),
        "marks a side of a merge conflict",
    ),
    "marked code": (
        with_cell(source="<<<<<<< a\nx\n=======\ny\n>>>>>>> b"),
        "holds both sides of a merge conflict",
    ),
}
WORDS = {
    "metadata": (PLAIN | {"metadata": None}, "has `null` for its metadata"),
    "cell metadata": (with_cell(metadata=None), "cell 1 of nbs/10_a.ipynb has `null` for its metadata"),
    "tags": (with_cell(metadata={"tags": None}), "has tags that are no list of words"),
    "source": (with_cell(source=None), "has no text for its source"),
}


def write_file(make_project, content):
    "A project whose only notebook has this content."
    project = make_project({"10_a.ipynb": ["x = 1"]})
    data = content if isinstance(content, bytes) else json.dumps(content, indent=1).encode()
    (project.root / "nbs" / "10_a.ipynb").write_bytes(data)
    return project


@pytest.mark.parametrize("fault", [*FAULTS, *WORDS])
def test_file_that_is_no_notebook_has_a_sentence_of_its_own(make_project, fault):
    content, said = {**FAULTS, **WORDS}[fault]
    (found,) = problems(write_file(make_project, content), level="error")
    assert said in found.message and found.mend and "Traceback" not in found.message


@pytest.mark.parametrize("fault", WORDS)
def test_word_that_the_mend_writes_makes_a_notebook_of_it(make_project, fault):
    project = write_file(make_project, WORDS[fault][0])
    (found,) = problems(project, level="error")
    key, value = re.search(r'`"(\w+)": ([^`]+)`', found.mend).groups()
    path = project.root / "nbs" / "10_a.ipynb"
    path.write_text(path.read_text().replace(f'"{key}": null', f'"{key}": {value}'))
    assert problems(project, level="error") == []


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_command_of_the_mend_writes_the_notebook_in_utf_8(make_project, encoding):
    content = json.dumps(with_cell(source="name = 'Zoë'"), ensure_ascii=False)
    project = write_file(make_project, content.encode(encoding))
    (found,) = problems(project)
    command = re.search("`([^`]+)`", found.mend)[1]
    subprocess.run(["bash", "-c", command], cwd=project.root, check=True)
    assert problems(project) == [] and (project.root / "nbs" / "10_a.ipynb").read_text() == content


@pytest.mark.parametrize("side", ["--ours", "--theirs"])
def test_command_of_the_mend_keeps_a_side_of_a_merge(make_project, side):
    project = write_file(make_project, with_cell(source="x = 0"))
    path, root = project.root / "nbs" / "10_a.ipynb", project.root

    def git(*words):
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *words], cwd=root, capture_output=True
        )

    def commit(text):
        path.write_text(json.dumps(with_cell(source=text), indent=1))
        git("add", ".")
        git("commit", "-m", text)

    git("init", "-b", "main")
    commit("x = 0")
    git("checkout", "-b", "other")
    commit("x = 2")
    git("checkout", "main")
    commit("x = 1")
    git("merge", "other")
    (found,) = problems(project)
    assert "both sides of a merge conflict" in found.message
    command = re.search("`(git[^`]+)`", found.mend)[1].replace("--ours", side)
    subprocess.run(command.split(), cwd=root, check=True, capture_output=True)
    assert problems(project) == []
    assert read_notebook(path.read_bytes(), "")[1][0].source == {"--ours": "x = 1", "--theirs": "x = 2"}[side]


def test_cell_without_the_lines_that_the_mend_names_is_python_again(make_project):
    lines = FAULTS["marked code"][0]["cells"][0]["source"].split("\n")
    (found,) = problems(write_file(make_project, FAULTS["marked code"][0]))
    marks = tuple(re.findall("`([<=>]+)`", found.mend))
    kept = [line for line in lines if not line.startswith(marks)]
    assert len(marks) == 3 and kept == ["x", "y"]
    assert problems(write_file(make_project, with_cell(source="x = 1"))) == []


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".json"])
def test_source_that_was_not_fetched_is_refused_with_the_command_that_fetches_it(make_project, asked, suffix):
    settings = f"[mlnb]\n[pipeline.demo]\nnotebooks = nbs\n[source.raw]\npath = data/*{suffix}\n"
    project = make_project({"10_a.ipynb": ["from mlnb import load\nload('raw')"]}, settings)
    (project.root / "data").mkdir()
    (project.root / "data" / f"a{suffix}").write_text(POINTER)
    (found,) = problems(project)
    assert (found.level, found.rule) == ("warning", "source-missing") and "`git lfs pull`" in found.mend
    refused = asked("run", "demo", cwd=project.root)
    assert refused.code == 2
    assert f"data/a{suffix} of source `raw` is a pointer of Git LFS" in refused.stdout


# cells that papermill injected


@pytest.mark.parametrize("minor", [2, 4, 5])
@pytest.mark.parametrize(
    ("cell", "is_error"),
    [
        ({"metadata": {"tags": ["injected-parameters"]}, "source": "n = 3"}, True),
        ({"source": "# Parameters\nn = 3\n"}, True),
        ({"source": "# Parameters\nother = 3\n"}, False),
        ({"cell_type": "markdown", "source": "# Parameters\nn = 3\n"}, False),
        ({"cell_type": "raw", "source": "# Parameters\nn = 3\n"}, False),
    ],
)
def test_injected_cell_is_known_in_every_format_and_in_code_alone(make_project, minor, cell, is_error):
    tagged = PLAIN["cells"][0] | {"id": "b", "metadata": {"tags": ["parameters"]}, "source": "n: int = 1"}
    cells = [tagged, PLAIN["cells"][0] | cell]
    if minor < 5:
        cells = [{key: value for key, value in one.items() if key != "id"} for one in cells]
    project = write_file(make_project, PLAIN | {"nbformat_minor": minor, "cells": cells})
    assert [p.rule for p in problems(project, level="error")] == ["injected-parameters"] * is_error
