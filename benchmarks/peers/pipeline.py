"""A pipeline of eight stages with two diamonds, as text: every tool gets the same parameters, the same
imports and the same steps.

orders ─┬─ prices ──┬─ joined ─┬─ features ─┬─ scored ── summary
        └─ regions ─┘          └─ labels ───┘
"""

from dataclasses import dataclass
from pathlib import Path

import nbformat
import pandas as pd
from nbformat.v4 import new_code_cell, new_notebook

IMPORTS = "import matplotlib.pyplot as plt\nimport pandas as pd\nimport sklearn.ensemble"
KERNEL = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
CHANGED = "joined"  # the stage in the middle, of which one cell changes
N_AFTER_CHANGE = 5  # it and the four downstream; the three upstream are as they were


@dataclass(frozen=True)
class Stage:
    "One notebook: what it reads, and the cell that makes the table of its own name."

    name: str
    inputs: tuple[str, ...]
    step: str


STAGES = (
    Stage(
        "orders",
        (),
        "orders = pd.DataFrame({'order': range(500 * scale)})\norders['day'] = orders['order'] % 28",
    ),
    Stage(
        "prices",
        ("orders",),
        "prices = orders.assign(price=orders['order'] * 37 % 101 / 4 * scale)[['order', 'price']]",
    ),
    Stage(
        "regions",
        ("orders",),
        "regions = orders.assign(region=orders['order'] // 10 % 7 * scale)[['order', 'region']]",
    ),
    Stage(
        "joined",
        ("prices", "regions"),
        "joined = prices.merge(regions, on='order')\njoined['due'] = joined['price'] * scale + 1",
    ),
    Stage("features", ("joined",), "features = joined.assign(high=joined['due'] > 40 * scale)"),
    Stage(
        "labels", ("joined",), "labels = joined.assign(late=joined['order'] % 5 < scale)[['order', 'late']]"
    ),
    Stage(
        "scored",
        ("features", "labels"),
        "scored = features.merge(labels, on='order')\nscored['score'] = scored['due'] * scale",
    ),
    Stage(
        "summary",
        ("scored",),
        "summary = scored.groupby('region', as_index=False)[['due', 'score']].sum()\n"
        "summary['score'] /= scale",
    ),
)
LAST = STAGES[-1].name
SCALE = 2


def changed(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    "The same pipeline with another number in one cell of the middle stage."
    return tuple(
        Stage(s.name, s.inputs, s.step.replace("+ 1", "+ 2")) if s.name == CHANGED else s for s in stages
    )


def expected(stages: tuple[Stage, ...]) -> pd.DataFrame:
    "What the last stage must save: the same steps run one after the other in this process."
    names = {"pd": pd, "scale": SCALE}
    for stage in stages:
        exec(stage.step, names)
    return names[LAST]


def file_name(stage: Stage) -> str:
    "`10_orders.ipynb` for the first stage, `20_…` for the second."
    return f"{10 * [s.name for s in STAGES].index(stage.name) + 10}_{stage.name}.ipynb"


def write_notebook(
    file: Path,  # where to
    cells: list[str],  # source of each code cell; the first holds the parameters
) -> None:
    """Write a notebook unless it already says this: a tool that goes by time stamps must see one notebook
    change, not eight."""
    code = [
        new_code_cell(source, id=f"cell{i}", metadata={} if i else {"tags": ["parameters"]})
        for i, source in enumerate(cells)
    ]
    text = nbformat.writes(new_notebook(cells=code, metadata=KERNEL))
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
