"""The batches and files on which monitoring dies or keeps quiet elsewhere, and what the checks say of each.
The tests go through both lists, and `scripts/bad_inputs.py` makes the page of what came out."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd

from mlnb.models.fairness import fairness
from mlnb.models.group_comparison import FairnessColumns
from mlnb.monitor.drift import drift
from mlnb.monitor.performance import performance
from mlnb.monitor.quality import quality

ATTACK = "</script><img src=x onerror=alert(1)>\u2028"
N = 900


def window(seed: int = 0, n: int = N) -> pd.DataFrame:
    "A sound week of scored payments."
    draw = np.random.default_rng(seed)
    label = draw.integers(0, 2, n)
    return pd.DataFrame(
        {
            "amount": draw.normal(50, 10, n),
            "count": draw.integers(0, 40, n),
            "risk": draw.choice(["low", "middle", "high"], n),
            "abroad": draw.random(n) < 0.3,
            "label": label,
            "score": np.round(np.clip(0.35 + 0.3 * label + draw.normal(0, 0.15, n), 0, 1), 6),
        }
    )


def partly(values: pd.Series, share: float, other: Any) -> pd.Series:
    "The first `share` of the values replaced."
    values = values.astype("object").copy()
    values.iloc[: int(share * len(values))] = other
    return values


def million() -> pd.DataFrame:
    "A million rows like those of the window."
    return pd.concat([window(seed, 100_000) for seed in range(1, 11)], ignore_index=True)


def wide() -> pd.DataFrame:
    "Five hundred further columns."
    draw = np.random.default_rng(7)
    more = pd.DataFrame(draw.normal(size=(N, 500))).add_prefix("x")
    return pd.concat([window(1), more], axis=1)


@dataclass(frozen=True)
class Batch:
    "A batch, and what is said of it."

    change: Callable[[pd.DataFrame], pd.DataFrame]  # makes it of a sound week
    quality: str = "ok"
    drift: str = "ok"
    performance: str = "ok"
    fairness: str = "ok"  # of the groups by `risk`
    statuses: dict[str, str] = field(default_factory=dict)  # of columns, where it is not `ok`
    left_out: tuple[str, ...] = ()  # columns that are not drawn


NOWHERE = "not_computable"
NONE_SEEN = dict.fromkeys(window(n=1).columns, NOWHERE)
SOUND = window(1)
BATCHES = {
    "empty": Batch(lambda week: week[:0], "fail", NOWHERE, NOWHERE, NOWHERE, NONE_SEEN),
    "one row": Batch(lambda week: week[:1], "fail", NOWHERE, NOWHERE, NOWHERE, NONE_SEEN),
    "all-null number": Batch(
        lambda week: week.assign(amount=np.nan),
        *("fail", "fail"),
        statuses={"amount": "drift"},
        left_out=("amount",),
    ),
    "all-null category": Batch(
        lambda week: week.assign(risk=None),
        *("fail", "fail", "ok", NOWHERE),
        statuses={"risk": "drift"},
        left_out=("risk",),
    ),
    "infinite values": Batch(
        lambda week: week.assign(amount=[np.inf, *week.amount[1:]]), "fail", "ok", left_out=("amount",)
    ),
    "constant": Batch(lambda week: week.assign(amount=50.0), "fail", "fail", statuses={"amount": "drift"}),
    "new category": Batch(
        lambda week: week.assign(risk=partly(week.risk, 0.5, "odd")),
        *("fail", "fail"),
        statuses={"risk": "drift"},
    ),
    "missing column": Batch(
        lambda week: week.drop(columns="amount"),
        *("fail", "fail"),
        statuses={"amount": "drift"},
        left_out=("amount",),
    ),
    "extra column": Batch(lambda week: week.assign(extra=1.0), "warn", "ok"),
    "duplicate columns": Batch(
        lambda week: week[["amount", *week.columns]],
        *("fail", NOWHERE),
        statuses={"amount": NOWHERE},
        left_out=("amount",),
    ),
    "wrong type": Batch(
        lambda week: week.assign(amount=week.amount.astype(str)),
        *("fail", NOWHERE),
        statuses={"amount": NOWHERE},
        left_out=("amount",),
    ),
    "HTML in a value": Batch(
        lambda week: week.assign(risk=partly(week.risk, 0.5, ATTACK)),
        *("fail", "fail"),
        statuses={"risk": "drift"},
    ),
    "one-class labels": Batch(
        lambda week: week.assign(label=0), *("fail", "fail", NOWHERE, NOWHERE), statuses={"label": "drift"}
    ),
    "1 M rows": Batch(lambda week: million(), "warn"),
    "500 columns": Batch(lambda week: wide(), "warn"),
}
QUICK = (
    "empty",
    "all-null number",
    "missing column",
    "duplicate columns",
    "HTML in a value",
    "one-class labels",
)
BY_RISK = FairnessColumns("label", ["risk"], score="score")


def findings(now: pd.DataFrame, before: pd.DataFrame | None = None) -> dict[str, Any]:
    "What all checks say of a batch beside a sound week."
    before = window() if before is None else before
    return {
        "quality": quality(before, now),
        "drift": drift(before, now),
        "performance": performance(before, now, "label", "score", n_resamples=30),
        "fairness": fairness(now, BY_RISK, {"true_positive_rate": 0.3}, n_resamples=30).as_dict(),
    }


def plain(value: Any) -> str:
    "A document as JSON, without tokens that strict readers refuse."
    return json.dumps(value, allow_nan=False)


VOID = ("meta", "br", "link", "img", "input", "hr")


class _Reader(HTMLParser):
    "What is wrong with a page that is to have no script."

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open += [] if tag in VOID else [tag]
        if tag in ("script", "iframe", "object", "img", "form", "base"):
            self.faults.append(f"<{tag}>")
        self.faults += [
            f"{tag} {name}" for name, _ in attrs if name.startswith("on") or name in ("src", "href")
        ]
        if tag == "th" and dict(attrs).get("scope") not in ("row", "col"):
            self.faults.append("th without scope")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> closes nothing")


def faults_of_page(page: str) -> list[str]:
    "What is wrong with the page of a check."
    reader = _Reader()
    reader.feed(page)
    needed = ('<html lang="en">', "<title>", 'name="viewport"', "default-src 'none'", "<h1>")
    missing = [one for one in needed if one not in page]
    hidden = re.findall("[\x00-\x08\u202a-\u202e\u2066-\u2069\ud800-\udfff]", page)
    return [*reader.faults, *(f"<{tag}> stays open" for tag in reader.open), *missing, *hidden]


IDS = pd.Series([f"{n:05}" for n in range(200)], name="id")
TEXT = pd.concat([IDS, SOUND[:200].replace({"risk": {"low": "NA"}})], axis=1).to_csv(index=False)
LINES = TEXT.splitlines()


@dataclass(frozen=True)
class File:
    "A file, and what commands that look at it end with."

    content: bytes
    codes: tuple[int, int, int]  # of `drift`, `quality` and `fairness`
    said: str = ""  # in the error, or in what is told of it
    mended: bytes | None = None  # what the mend of the error makes of it
    name: str = "now.csv"


MENDED = TEXT.encode()
FILES = {
    "latin-1": File(TEXT.replace("middle", "größer").encode("latin-1"), (4, 4, 0), "Windows-1252"),
    "BOM": File(b"\xef\xbb\xbf" + TEXT.encode(), (0, 0, 0)),
    "NUL byte": File(TEXT.replace("middle", "\0").encode(), (4, 4, 0)),
    "ragged": File(MENDED + b"1,2\n", (2, 2, 2), "Expected 7 columns, got 2", MENDED),
    "header only": File(f"{LINES[0]}\n".encode(), (4, 4, 4)),
    "empty": File(b"", (2, 2, 2), "it has no header", MENDED),
    "duplicate names": File(
        TEXT.replace("count", "amount", 1).encode(), (2, 2, 2), "stands twice in the header", MENDED
    ),
    "extra field in every row": File(
        "\n".join([LINES[0], *(f"{line},1" for line in LINES[1:]), ""]).encode(),
        (2, 2, 2),
        "Expected 7 columns, got 8",
        MENDED,
    ),
    "00123": File(MENDED, (0, 0, 0)),
    '"NA" as a key': File(TEXT.replace("\n00000", "\nNA").encode(), (0, 0, 0)),
    "20-digit id": File(TEXT.replace("\n0", "\n1234567890123456").encode(), (0, 0, 0)),
    "truncated Parquet": File(b"PAR1 and no more", (2, 2, 2), "magic bytes", None, "now.parquet"),
}
COMMANDS = {
    "drift": ["drift", "good.csv", "{}"],
    "quality": ["quality", "{}", "--like", "good.csv", "--key", "id"],
    "fairness": [
        *("fairness", "{}", "--label", "label", "--score", "score", "--group", "risk"),
        *("--limit", "true_positive_rate=0.3"),
    ],
}


def words_of(command: str, file: str) -> list[str]:
    "The words of a command that looks at a file."
    return [word.format(file) for word in COMMANDS[command]]
