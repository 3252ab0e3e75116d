"""Save and load a value of every kind of `tests/value_kinds.py`, follow the mend of each that is refused, and
make the table of what came out as a page that `mlnb publish` takes along. None of it is handwritten."""

import json
import re
import sys
import tempfile
import warnings
from collections import Counter
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from mlnb.publish.layout import document, fill
from mlnb.publish.site import project_name
from mlnb.store.artifacts import get_value, put_value, suffix_of
from mlnb.store.errors import ValueRefusedError
from mlnb.store.objects import open_store

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "own-pages" / "value_kinds.json"
TITLE = "What can be saved"
FOOTER = (
    "Made by scripts/value_table.py, which saved and loaded each. Nothing here was fetched from another host."
)
PAGE = """<div class="head"><h1>What can be saved</h1>
<p class="lede">A value of each kind was saved and loaded. What is kept came back equal and of the same type.
What is refused was refused with a mend; the mend was followed, and what it gives was kept.</p>
<p>{{ said }}</p></div>
{% for group, some in groups %}<h2>{{ group }}</h2>
<div class="scroll" tabindex="0" role="region" aria-label="{{ group }}"><table class="wide"><thead><tr>
{% for name in ("Kind", "Type", "Result", "Kept as", "Mend, or what else there is to know") %}
<th scope="col">{{ name }}</th>{% endfor %}</tr></thead><tbody>
{% for r in some %}<tr><td class="text">{{ r.name }}</td><td class="name"><code>{{ r.type }}</code></td>
<td class="name">{{ r.result }}</td><td class="name">{{ r.kept }}</td>
<td class="text">{{ r.more }}</td></tr>
{% endfor %}</tbody></table></div>
{% endfor %}<p>The rows as <a href="{{ data }}">data</a>. <code>make values</code> makes both anew.</p>"""


def kinds_of_tests() -> Any:
    "The list of the tests, which is no package."
    if "value_kinds" not in sys.modules:
        spec = spec_from_file_location("value_kinds", ROOT / "tests" / "value_kinds.py")
        sys.modules["value_kinds"] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules["value_kinds"])
    return sys.modules["value_kinds"]


def kept_as(store: Any, value: Any, folder: Path) -> tuple[str, Any]:
    "How a value is kept, and what is loaded; raises `ValueRefusedError`."
    artifact = put_value(store, value)
    loaded = get_value(store, artifact, folder / "files")
    suffix = suffix_of(artifact)
    return f"{artifact.codec} ({suffix})" if suffix else artifact.codec, loaded


def judge(kind: Any, store: Any, folder: Path) -> dict[str, str]:
    "The row of a kind, as it turned out."
    (folder / "made").mkdir()
    value = kind.make(folder / "made")
    row = {"group": kind.group, "name": kind.name, "type": type(value).__qualname__, "needs": kind.needs}
    try:
        kept, loaded = kept_as(store, value, folder)
    except ValueRefusedError as error:
        instead = kinds_of_tests().followed(kind, value, error.mend)
        kept = kept_as(store, instead, folder)[0]
        getattr(value, "close", lambda: None)()
        mend = error.mend.replace(str(folder / "made"), "FOLDER")
        return row | {"result": "refused", "kept": f"then {kept}", "more": f"{mend[:1].upper()}{mend[1:]}"}
    is_same = kind.note or kinds_of_tests().same(loaded, value)
    return row | {"result": "kept" if is_same else "changed", "kept": kept, "more": kind.note}


def rows_now() -> list[dict[str, str]]:
    "The rows of all kinds whose packages are here."
    rows = []
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        store = open_store(Path(place) / "store")
        for number, kind in enumerate(one for one in kinds_of_tests().KINDS if one.is_here):
            folder = Path(place) / str(number)
            folder.mkdir()
            rows.append(judge(kind, store, folder))
    return rows


def all_rows(before: list[dict[str, str]]) -> list[dict[str, str]]:
    "The rows of all kinds; what cannot be tried here is as it was."
    now = {(row["group"], row["name"]): row for row in rows_now()}
    then = {(row["group"], row["name"]): row for row in before}
    named = [(kind.group, kind.name) for kind in kinds_of_tests().KINDS]
    return [now.get(name) or then[name] for name in named if name in now or name in then]


def page_of(rows: list[dict[str, str]], data: str) -> str:
    "The page of the rows."
    groups = [
        (name, [r for r in rows if r["group"] == name]) for name in dict.fromkeys(r["group"] for r in rows)
    ]
    counts = Counter(row["result"] for row in rows)
    said = f"{counts['kept']} kinds are kept, {counts['refused']} are refused with a mend that works."
    trail = [(project_name(ROOT), "../index.html"), (TITLE, None)]
    body = fill(PAGE, groups=groups, said=said, data=data)
    return document(f"{TITLE}: {re.sub('[.]$', '', said)}", body, trail, FOOTER)


def read_rows() -> list[dict[str, str]]:
    "The rows that were kept; none when there are none."
    return json.loads(DATA.read_bytes())["rows"] if DATA.exists() else []


def main() -> int:
    rows = all_rows(read_rows())
    DATA.write_text(
        json.dumps({"format": 1, "rows": rows}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    DATA.with_suffix(".html").write_text(page_of(rows, DATA.name), encoding="utf-8")
    for row in rows:
        print(f"{row['result']:<8} {row['kept']:<20} {row['group']}: {row['name']}")
    return int(any(row["result"] == "changed" for row in rows))


if __name__ == "__main__":
    sys.exit(main())
