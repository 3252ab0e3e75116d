"""Make an environment beside with the tools of others (MLflow, model-signing, securesystemslib, in-toto, ONNX
runtime, CycloneDX), let them check what mlnb writes for them, and make the table of what came out as a page
that `mlnb publish` takes along. None of it is handwritten."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from mlnb.publish.layout import document, fill
from mlnb.publish.site import project_name

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "beside"
WANTED = ROOT / "tests" / "beside_requirements.txt"
TESTS = ("tests/test_formats_beside.py",)
DATA = ROOT / "own-pages" / "formats.json"
TITLE = "Formats that others read"
FOOTER = "Made by scripts/formats.py, which ran each tool. Nothing here was fetched from another host."
PAGE = """<div class="head"><h1>Formats that others read</h1>
<p class="lede">What mlnb writes for other tools was given to these tools, in an environment of their own.</p>
<p>{{ said }}</p></div>
<div class="scroll" tabindex="0" role="region" aria-label="Checks"><table class="wide"><thead><tr>
<th scope="col">Check</th><th scope="col">Result</th></tr></thead><tbody>
{% for r in rows %}<tr><td class="text">{{ r.check }}</td><td class="name">{{ r.result }}</td></tr>
{% endfor %}</tbody></table></div>
<h2>Tools</h2><p>{% for one in tools %}<code>{{ one }}</code> {% endfor %}</p>
<p>The rows as <a href="{{ data }}">data</a>. <code>make test-formats</code> makes both anew.</p>"""


def make_beside() -> Path:
    "The Python of the environment beside, made anew when its list of packages is another one."
    stamp, python = FOLDER / "made-from", FOLDER / "bin" / "python"
    wanted = hashlib.sha256(WANTED.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    print("installing the tools of others; this takes a few minutes", flush=True)
    venv.create(FOLDER, clear=True, with_pip=True)
    subprocess.run([python, "-m", "pip", "-qq", "install", "-r", WANTED], check=True)
    stamp.write_text(wanted)
    return python


def row_of(case: ElementTree.Element) -> dict[str, str]:
    "A test as a row."
    name, _, kind = case.attrib["name"].removeprefix("test_").rstrip("]").partition("[")
    states = [one.tag for one in case if one.tag in ("failure", "error", "skipped")]
    check = name.replace("_", " ") + (f": {kind}" if kind else "")
    return {"check": check, "result": states[0] if states else "passed"}


def rows_now(python: Path) -> list[dict[str, str]]:
    "What the tools say now."
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        options = ["-o", "addopts=", "-q", "--color=no", f"--junitxml={report}"]
        command = [sys.executable, "-m", "pytest", *options, *TESTS]
        subprocess.run(command, cwd=ROOT, env=os.environ | {"BESIDE_PYTHON": str(python)})
        return [row_of(case) for case in ElementTree.parse(report).iter("testcase")]


def page_of(about: dict[str, Any]) -> str:
    "The page of the rows."
    n_passed = sum(row["result"] == "passed" for row in about["rows"])
    said = f"{n_passed} of {len(about['rows'])} checks passed."
    trail = [(project_name(ROOT), "../index.html"), (TITLE, None)]
    body = fill(PAGE, said=said, data=DATA.name, **about)
    return document(f"{TITLE}: {said[:-1]}", body, trail, FOOTER)


def main() -> int:
    about = {"rows": rows_now(make_beside()), "tools": WANTED.read_text().split()}
    text = json.dumps({"format": 1, **about}, indent=1, ensure_ascii=False)
    DATA.write_text(text + "\n", encoding="utf-8")
    DATA.with_suffix(".html").write_text(page_of(about), encoding="utf-8")
    return int(any(row["result"] != "passed" for row in about["rows"]))


if __name__ == "__main__":
    sys.exit(main())
