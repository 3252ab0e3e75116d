"""Ask the checks of every bad batch and every bad file of `tests/bad_inputs.py`, and Evidently alone of the
batches, and make the table of what came out as a page that `mlnb publish` takes along."""

import contextlib
import io
import json
import logging
import os
import sys
import tempfile
import warnings
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pandas as pd

from mlnb.cli import run_command
from mlnb.monitor.evidently import drift_report, evidently
from mlnb.publish.layout import document, fill
from mlnb.publish.site import project_name

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "own-pages" / "bad_inputs.json"
TITLE = "Bad batches and files"
FOOTER = "Made by scripts/bad_inputs.py, which asked each. Nothing here was fetched from another host."
CHECKS = ("drift", "quality", "performance", "fairness")
PAGE = """<div class="head"><h1>Bad batches and files</h1>
<p class="lede">What the checks say of fifteen batches and twelve files on which monitoring fails or keeps
quiet elsewhere. A check that could not look says <em>not computable</em>, and ends with 4.</p></div>
<h2>Batches</h2><div class="scroll" tabindex="0" role="region" aria-label="Batches">
<table class="wide"><thead><tr>
{% for name in ("Batch", "Drift", "Quality", "Performance", "Fairness", "Columns that are not ok, of drift",
"Not drawn", "Evidently alone") %}<th scope="col">{{ name }}</th>{% endfor %}</tr></thead><tbody>
{% for r in batches %}<tr><th scope="row">{{ r.name }}</th>{% for check in checks %}
<td class="name">{{ r[check] }}</td>{% endfor %}<td class="text">{{ r.columns }}</td>
<td class="text">{{ r.not_drawn }}</td><td class="text">{{ r.alone }}</td></tr>
{% endfor %}</tbody></table></div>
<h2>Files</h2><div class="scroll" tabindex="0" role="region" aria-label="Files">
<table class="wide"><thead><tr>
{% for name in ("File", "mlnb drift", "mlnb quality", "mlnb fairness", "What is said of it") %}
<th scope="col">{{ name }}</th>{% endfor %}</tr></thead><tbody>
{% for r in files %}<tr><th scope="row">{{ r.name }}</th><td class="name">{{ r.drift }}</td>
<td class="name">{{ r.quality }}</td><td class="name">{{ r.fairness }}</td>
<td class="text">{{ r.said }}</td></tr>
{% endfor %}</tbody></table></div>
<p>The rows as <a href="{{ data }}">data</a>. <code>make batches</code> makes both anew.</p>"""


def inputs_of_tests() -> Any:
    "The list of the tests, which is no package."
    if "bad_inputs" not in sys.modules:
        spec = spec_from_file_location("bad_inputs", ROOT / "tests" / "bad_inputs.py")
        sys.modules["bad_inputs"] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules["bad_inputs"])
    return sys.modules["bad_inputs"]


def in_words(word: str) -> str:
    "A verdict as it is read."
    return word.replace("_", " ")


def quiet_of(metrics: list[dict[str, Any]], statuses: dict[str, str]) -> list[str]:
    "Which columns that have drifted Evidently does not name."
    named = {metric["config"].get("column") for metric in metrics}
    drifted = [name for name, word in statuses.items() if word == "drift"]
    return [f"{name} is not in it" for name in drifted if name not in named]


def evidently_alone(before: pd.DataFrame, now: pd.DataFrame, statuses: dict[str, str]) -> str:
    "What Evidently makes of two windows by itself."
    logging.disable(logging.WARNING)  # it says that texts are held by two types
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            text = evidently.Report([evidently.presets.DataDriftPreset()]).run(now, before).json()
    except Exception as error:
        return f"raises {type(error).__name__}, no report"
    metrics = json.loads(text, parse_constant=lambda token: None)["metrics"]
    said = quiet_of(metrics, statuses) + (["NaN in its JSON"] if "NaN" in text else [])
    return "a report" + "".join(f"; {one}" for one in said)


def batch_row(name: str, batch: Any) -> dict[str, str]:
    "What is said of a batch."
    inputs = inputs_of_tests()
    before, now = inputs.window(), batch.change(inputs.SOUND)
    found = inputs.findings(now)
    statuses = {n: one["status"] for n, one in found["drift"]["columns"].items() if one["status"] != "ok"}
    left_out = drift_report(before, now, found["drift"]).left_out
    named = list(left_out.items())[:8]
    more = f", and {len(left_out) - 8} more" if len(left_out) > 8 else ""
    return {check: in_words(found[check]["verdict"]) for check in CHECKS} | {
        "name": name,
        "columns": ", ".join(f"{n}: {in_words(word)}" for n, word in statuses.items()),
        "not_drawn": ", ".join(f"{n} ({why})" for n, why in named) + more,
        "alone": evidently_alone(before, now, statuses),
    }


def answer(words: list[str]) -> tuple[int, str, str]:
    "Exit code of a command, and what it says."
    streams = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
        code = run_command([*words, "--json"])
    return code, *(stream.getvalue() for stream in streams)


def file_row(name: str, file: Any) -> dict[str, str]:
    "What is said of a file; the working folder is one that may be filled."
    inputs = inputs_of_tests()
    Path("good.csv").write_text(inputs.TEXT)
    Path(file.name).write_bytes(file.content)
    row = {"name": name}
    for command in inputs.COMMANDS:
        code, out, notes = answer(inputs.words_of(command, file.name))
        found = json.loads(out)
        row[command] = f"{code}: {in_words(found['verdict']) if code != 2 else 'error of usage'}"
        row["said"] = found["problems"][0]["message"] if code == 2 else notes.strip()
    return row


def rows_now() -> dict[str, list[dict[str, str]]]:
    "The rows of all batches and files."
    inputs = inputs_of_tests()
    batches = [batch_row(name, batch) for name, batch in inputs.BATCHES.items()]
    here = os.getcwd()
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        files = [file_row(name, file) for name, file in inputs.FILES.items()]
        os.chdir(here)
    return {"batches": batches, "files": files}


def main() -> int:
    rows = rows_now()
    DATA.write_text(json.dumps({"format": 1} | rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    trail = [(project_name(ROOT), "../index.html"), (TITLE, None)]
    body = fill(PAGE, checks=CHECKS, data=DATA.name, **rows)
    DATA.with_suffix(".html").write_text(document(TITLE, body, trail, FOOTER), encoding="utf-8")
    for row in [*rows["batches"], *rows["files"]]:
        print(" | ".join(row.values()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
