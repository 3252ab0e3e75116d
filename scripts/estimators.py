"""Fit every estimator of the installed scikit-learn to small data, save and load it, alone and in what holds
it, and make the page of what came out that `mlnb publish` takes along."""

import argparse
import json
import sys
import warnings
from collections import Counter
from pathlib import Path

import sklearn
import skops

from mlnb.publish.layout import document, fill
from mlnb.publish.own_pages import OWN_PAGES
from mlnb.publish.site import project_name

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / OWN_PAGES / "estimators.json"
FOOTER = (
    "Made by scripts/estimators.py from what was saved and loaded. Nothing on this page was fetched from "
    "another host."
)
PAGE = """<div class="head"><h1>Estimators</h1>
<p class="lede">Every public estimator of scikit-learn {{ sklearn }}, fitted to small data, saved as a model
file, loaded, and asked the same again.</p>
<p><span class="state {{ "fail" if wrong else "ok" }}">{{ said }}</span></p></div>
<p><em>Kept</em>: each of its methods gives equal answers, to the last bit. <em>Last bits</em>: equal but
for the rounding of sums, since rows that lay backwards in memory lie forwards after it was loaded.
<em>Refused</em>: not saved; the attribute is named. A dash: scikit-learn itself does not fit it to this form,
or into this place.</p>
<div class="scroll" tabindex="0" role="region" aria-label="Estimators"><table class="wide"><thead><tr>
<th scope="col">Estimator</th>{% for form in forms %}<th scope="col">{{ form | capitalize }}</th>{% endfor %}
</tr></thead><tbody>
{% for name, row in table.items() %}<tr><td><code>{{ name }}</code></td>
{% for form in forms %}<td>{{ shown(row[form]) }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div>
<h2>What is refused</h2>
{% if refused %}<ul>{% for name, why in refused %}<li><code>{{ name }}</code>: {{ why }}</li>{% endfor %}</ul>
{% else %}<p>None.</p>{% endif %}
<h2>How to make it again</h2>
<p><code>make estimators</code> writes this page and <a href="estimators.json">its data</a>, with skops
{{ skops }}.</p>"""


def shown(outcome: str) -> str:
    "An outcome in a word or two."
    if outcome.startswith("not fitted"):
        return "–"
    return {"kept, other in the last bits": "last bits"}.get(outcome, outcome.partition(":")[0])


def made_result() -> dict:
    "What becomes of every estimator."
    sys.path.insert(0, str(ROOT / "tests"))
    from every_estimator import one_table
    from threadpoolctl import threadpool_limits

    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")
        return {"format": 1, "sklearn": sklearn.__version__, "skops": skops.__version__, "table": one_table()}


def page_of(result: dict) -> str:
    "The page of a result."
    table = result["table"]
    forms = list(next(iter(table.values())))
    counts = Counter(shown(outcome) for row in table.values() for outcome in row.values())
    wrong = counts["came back other"]
    kept = sum(row["dense"].startswith("kept") for row in table.values())
    said = f"{kept} of {len(table)} kept" if not wrong else f"{wrong} came back other"
    refused = [(name, row["dense"]) for name, row in table.items() if row["dense"].startswith("refused")]
    given = {**result, "forms": forms, "said": said, "wrong": wrong, "refused": refused, "shown": shown}
    body = fill(PAGE, **given)
    crumbs = [(project_name(ROOT), "../index.html"), ("Estimators", None)]
    return document(f"Estimators: {said}", body, crumbs, FOOTER)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT, help="result, with its page beside it")
    out = parser.parse_args().out
    result = made_result()
    out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    out.with_suffix(".html").write_text(page_of(result), encoding="utf-8")
    counts = Counter(shown(outcome) for row in result["table"].values() for outcome in row.values())
    print(", ".join(f"{name} {count}" for name, count in counts.most_common()))
    return int(counts["came back other"] > 0)


if __name__ == "__main__":
    sys.exit(main())
