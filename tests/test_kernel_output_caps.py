"""Stages that flood their notebook: it stays small, tells what it left out, and the full text is kept."""

import hashlib
import json

import pytest

from mlnb.store.objects import get, open_store

OURS = "from mlnb import save\n"
FIGURES = (
    "import matplotlib\nmatplotlib.use('module://matplotlib_inline.backend_inline')\n"
    "import matplotlib.pyplot as plt\nfor n in range(500):\n    plt.figure(figsize=(1, 1))\n"
    "    plt.plot([1, n])\n    plt.show()\n    plt.close()"
)
FLOODS = {  # stage -> the cell that floods
    "lines": "for n in range(60_000): print(f'{n:049d}')",
    "once": "print('x' * 20_000_000)",
    "flushed": "for n in range(5_000): print(f'{n:049d}', flush=True)",
    "large": "from IPython.display import HTML\nHTML('x' * 20_000_000)",
    "many": (
        "from IPython.display import display\n"
        "for n in range(500): display({'text/plain': str(n), 'text/html': 'x' * 2_000}, raw=True)"
    ),
    "bar": (
        "import sys\nfor n in range(20_000): sys.stderr.write(f'\\r{n + 1} of 20000')\n"
        "sys.stderr.write('\\n')"
    ),
    "updates": (
        "from IPython.display import display, update_display\n"
        "display({'text/plain': '0'}, raw=True, display_id='a')\n"
        "for n in range(500): update_display({'text/plain': f'{n + 1}'}, raw=True, display_id='a')"
    ),
    "clears": (
        "from IPython.display import clear_output\nfor n in range(300):\n    clear_output(wait=True)\n"
        "    print('y' * 1_000, n)"
    ),
    "error": "raise ValueError('e' * 5_000_000)",
}


@pytest.fixture(scope="module")
def floods(make_shared_project, mlnb):
    "One run of all of them."
    project = make_shared_project(
        {
            f"{n}_{name}.ipynb": [OURS, code, f"save('{name}', 1)"]
            for n, (name, code) in enumerate(FLOODS.items(), 10)
        }
    )
    return project, mlnb("run", "demo", "-k", "--json", cwd=project.root)


def notebook_of(floods, name):
    "The stored notebook of a committed stage, its size, and its full texts by name."
    project, result = floods
    assert result.stage(name)["state"] == "committed", result.stderr
    store = open_store(project.root / ".mlnb")
    record = json.loads(next((project.root / ".mlnb/records/demo" / name).glob("*.json")).read_text())
    content = get(store, record["notebook"])
    return json.loads(content), len(content), {n: get(store, digest) for n, digest in record["texts"].items()}


def flooded(notebook):
    return next(c for c in notebook["cells"] if c["id"] == "cell-2")["outputs"]


def text_of(outputs):
    return "".join("".join(o["text"]) for o in outputs if o["output_type"] == "stream")


def left_out(text):
    "How much a notebook says it left out [characters], and the text without that line."
    before, _, rest = text.partition("\n[mlnb: ")
    line, _, after = rest.partition("]\n")
    return int(line.split(" ")[0].replace(",", "")), before, after


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("lines", "".join(f"{n:049d}\n" for n in range(60_000))),
        ("once", "x" * 20_000_000 + "\n"),
        ("flushed", "".join(f"{n:049d}\n" for n in range(5_000))),
    ],
)
def test_flood_of_text_is_cut_in_the_middle_and_kept_whole_beside_the_notebook(floods, name, full):
    notebook, size, texts = notebook_of(floods, name)
    n_left_out, before, after = left_out(text_of(flooded(notebook)))
    assert size < 300_000
    assert full.startswith(before) and full.endswith(after)
    assert len(before) + n_left_out + len(after) == len(full)
    assert list(texts) == [f"{name}.cell-2.stdout.txt"]
    assert (
        hashlib.sha256(texts[f"{name}.cell-2.stdout.txt"]).digest() == hashlib.sha256(full.encode()).digest()
    )


def test_display_that_is_too_large_becomes_a_line_with_its_size(floods):
    notebook, size, texts = notebook_of(floods, "large")
    (output,) = flooded(notebook)
    assert size < 50_000 and texts == {}
    assert "text/html of 20,000,000 characters left out" in "".join(output["data"]["text/plain"])


def test_first_hundred_of_five_hundred_displays_stay(floods):
    notebook, _, _ = notebook_of(floods, "many")
    *kept, line = flooded(notebook)
    assert ["".join(o["data"]["text/plain"]) for o in kept] == [str(n) for n in range(100)]
    assert "400 more displays of this cell left out" in "".join(line["data"]["text/plain"])


@pytest.mark.parametrize(("name", "shown"), [("bar", "20000 of 20000\n"), ("clears", "y" * 1_000 + " 299\n")])
def test_what_is_written_over_leaves_its_last_state(floods, name, shown):
    notebook, _, texts = notebook_of(floods, name)
    assert (text_of(flooded(notebook)), texts) == (shown, {})


def test_updated_display_shows_its_last_update(floods):
    (output,) = flooded(notebook_of(floods, "updates")[0])
    assert "".join(output["data"]["text/plain"]) == "500"


def test_huge_error_is_shortened_and_kept_whole_beside_the_notebook(floods):
    project, result = floods
    entry = result.stage("error")
    assert (entry["kind"], entry["error"]["ename"], entry["error"]["cell"]) == ("user_error", "ValueError", 2)
    folder = project.root / ".mlnb/runs" / result.json["run"]
    assert (folder / "error.ipynb").stat().st_size < 300_000
    assert "e" * 5_000_000 in (folder / "error.cell-2.error.txt").read_text()


@pytest.mark.slow
def test_twenty_megabytes_of_lines_two_hundred_of_display_and_five_hundred_figures_stay_small(
    make_project, mlnb
):
    cells = {
        "lines": "for n in range(400_000): print(f'{n:049d}')",
        "large": "from IPython.display import HTML\nHTML('x' * 200_000_000)",
        "figures": FIGURES,
    }
    project = make_project(
        {
            f"{n}_{name}.ipynb": [OURS, code, f"save('{name}', 1)"]
            for n, (name, code) in enumerate(cells.items(), 10)
        }
    )
    done = project, mlnb("run", "demo", "-k", "--json", cwd=project.root)
    lines, size, texts = notebook_of(done, "lines")
    assert (
        size < 300_000
        and len(texts["lines.cell-2.stdout.txt"])
        == 20_000_000
        == left_out(text_of(flooded(lines)))[0] + 100_000
    )
    large, size, _ = notebook_of(done, "large")
    assert size < 50_000 and "text/html of 200,000,000 characters left out" in "".join(
        flooded(large)[0]["data"]["text/plain"]
    )
    figures, size, _ = notebook_of(done, "figures")
    assert size < 2_000_000 and len(flooded(figures)) == 101
