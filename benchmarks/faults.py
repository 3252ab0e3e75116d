"""What monitoring catches: planted faults, and windows without one, under mlnb, Evidently and NannyML.

Two kinds of windows. *People* are rows of the American Community Survey (tests/data/README.md): 20,000 of
2015, and 5,000 others of 2015 as the window to judge. *Payments* are those of 500 cards that the simulator
draws, with what the fraud model knows of them: four weeks, and the week that follows; on weekends people pay
more, later and for other things, as on the holiday. Each seed has rows and cards of its own. A fault has two
sizes, a plain one and a slight one.

Each tool judges the same windows as it comes: mlnb with `drift` (cards as clusters, weeks as season) and
with `quality`, a second time with lower limits, and the holiday told it; Evidently as its DataDriftPreset
decides, without drawing; NannyML with its univariate drift, and with its calculators of missing and unseen
values; its chunks are as long as the window, at most a quarter of the reference. `--peers PYTHON` is an
interpreter with NannyML. Names of cards and times are for `drift` only: nobody else is given them, not even
`quality`. An alarm is any column that a tool names; it is *right* when it names broken columns only. Then
the thresholds of each peer are set higher, all by one factor, until it raises no more false alarms than
mlnb."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mlnb.fraud.features import add_features, feature_names
from mlnb.fraud.simulator import simulate, terminals
from mlnb.monitor import planted
from mlnb.monitor.drift import Sampling, drift
from mlnb.monitor.quality import quality
from mlnb.monitor.seasons import as_sundays

PEOPLE = Path(__file__).parent.parent / "data/acs_employment_ma.parquet"
N_REFERENCE, N_CURRENT = 20_000, 5_000  # people
N_CARDS, N_SEEDS = 500, 20
FIRST_DAY, N_WEEKS = 70, 5  # frauds ramp up before, and what 30 days say of a terminal a week later
HOLIDAY = "2018-07-12"  # the Thursday of the last week
KINDS = {"grocery": 0.4, "travel": 0.2, "fuel": 0.15, "leisure": 0.1, "health": 0.08, "other": 0.07}
NUMBERS_OF_PEOPLE = ("AGEP", "predicted_probability")
OURS = "mlnb"
BY_CARD = Sampling("card", "week", "when")

Severities = dict[str, float]  # name of a column -> what was measured over its threshold; from 1 on an alarm


class Windows(NamedTuple):
    "Two windows, and how their rows came to be."

    reference: pd.DataFrame
    current: pd.DataFrame
    sampling: Sampling = Sampling()


class Case(NamedTuple):
    "A question with a known answer."

    name: str
    size: str  # of the fault: plain or slight; empty: there is none
    windows: Windows
    broken: tuple[str, ...] = ()  # columns that the fault broke; none for one of whole rows


def people_of(
    seed: int, people: pd.DataFrame, n_reference: int = N_REFERENCE, n_current: int = N_CURRENT
) -> tuple[Windows, Windows]:
    "Two windows of one year; the second pair is three years apart."
    draw = np.random.default_rng(seed)
    rows = {year: people[people.year == year].drop(columns=["year", "employed"]) for year in (2015, 2018)}
    order = draw.permutation(len(rows[2015]))[: n_reference + n_current]
    drawn = rows[2015].iloc[order].reset_index(drop=True)
    later = rows[2018].iloc[draw.permutation(len(rows[2018]))[:n_current]].reset_index(drop=True)
    before, now = drawn[:n_reference], drawn[n_reference:].reset_index(drop=True)
    return Windows(before, now), Windows(before, later)


def read_people() -> pd.DataFrame:
    "The survey, its codes as categories."
    people = pd.read_parquet(PEOPLE)
    codes = [name for name in people if name not in (*NUMBERS_OF_PEOPLE, "year", "employed")]
    categories = {name: people[name].astype("category") for name in codes}
    return people.assign(**{name: one.cat.rename_categories(str) for name, one in categories.items()})


def as_weekends(frame: pd.DataFrame, days: pd.Series, draw: np.random.Generator) -> pd.DataFrame:
    "Let people pay more, later and for leisure on some of the days."
    leisure = days & (draw.random(len(frame)) < 0.4)
    return frame.assign(
        amount=frame.amount.where(~days, frame.amount * 1.5),
        hour=frame.hour.where(~days, (frame.hour + 2) % 24),
        kind=frame.kind.mask(leisure, "leisure"),
    )


def payments_of(n_cards: int = N_CARDS * N_SEEDS, n_terminals: int = 10_000) -> pd.DataFrame:
    "Five weeks of payments and what is known of each, a weekend rhythm in it."
    stream = add_features(simulate(FIRST_DAY + 7 * N_WEEKS, n_cards, n_terminals))
    stream = stream[stream.TX_TIME_DAYS >= FIRST_DAY]
    where, draw = terminals(n_terminals), np.random.default_rng(0)
    kinds = draw.choice([*KINDS], n_terminals, p=[*KINDS.values()])
    areas = (where.x_terminal_id // 25).astype(int).astype(str) + (where.y_terminal_id // 25).astype(
        int
    ).astype(str)
    known = [name for name in feature_names() if name.endswith("WINDOW")]
    frame = pd.DataFrame(
        {
            "card": "c" + stream.CUSTOMER_ID.astype(str),
            "when": stream.TX_DATETIME,
            "amount": stream.TX_AMOUNT,
            "hour": stream.TX_TIME_SECONDS % 86400 / 3600,
            "kind": kinds[stream.TERMINAL_ID],
            "area": areas.to_numpy()[stream.TERMINAL_ID],
            **{name: stream[name].astype(float) for name in known},
            "number": stream.CUSTOMER_ID,
        }
    ).reset_index(drop=True)
    return as_weekends(frame, frame.when.dt.weekday >= 5, draw)


def week_of(seed: int, payments: pd.DataFrame, n_seeds: int = N_SEEDS) -> Windows:
    "Four weeks of some cards, and their fifth."
    frame = payments[payments.number % n_seeds == seed].drop(columns="number").reset_index(drop=True)
    is_last = frame.when >= frame.when.min().normalize() + pd.Timedelta(days=7 * (N_WEEKS - 1))
    before, now = (frame[mask].reset_index(drop=True) for mask in (~is_last, is_last))
    return Windows(before, now, BY_CARD)


def without_fault(windows: Windows, draw: np.random.Generator) -> Iterator[tuple[str, Windows]]:
    "Windows of payments in which nothing is wrong."
    before, now, sampling = windows
    yield "an ordinary week", windows
    yield "season: Friday to Sunday", Windows(before, now[now.when.dt.weekday >= 4], sampling)
    of_holiday = now.when.dt.normalize() == HOLIDAY
    festive = as_weekends(now, of_holiday, draw)
    told = [one.assign(when=as_sundays(one.when, [HOLIDAY])) for one in (before, festive)]
    yield "a holiday in the week", Windows(*told, sampling)
    yield "a holiday by itself", Windows(told[0], told[1][of_holiday], sampling)
    first = now.card.isin(draw.permutation(now.card.unique())[: now.card.nunique() // 2])
    yield "two halves of the same cards", Windows(now[first], now[~first], sampling)


Plant = Callable[[pd.DataFrame, np.random.Generator], pd.DataFrame]


class Fault(NamedTuple):
    "A fault in both of its sizes."

    name: str
    plain: Plant
    slight: Plant
    broken: tuple[str, ...] = ()
    broken_slightly: tuple[str, ...] | None = None  # where the slight one breaks others


def sized(fault: Callable[..., pd.DataFrame], *given: Any) -> Plant:
    "A fault whose rows are drawn."
    return lambda frame, draw: fault(frame, *given, draw)


def fixed(fault: Callable[..., pd.DataFrame], *given: Any) -> Plant:
    "A fault of which nothing is drawn."
    return lambda frame, _: fault(frame, *given)


def faults_of(
    null: str,
    unit: str,
    level: str,
    slow: str,
    pairs: list[tuple[str, str]],
    merges: list[tuple[str, str, str]],
) -> list[Fault]:
    "The faults of a kind of window, by the columns that they break."
    return [
        Fault(
            "null explosion (30 % · 5 %)",
            sized(planted.empty_values, null, 0.3),
            sized(planted.empty_values, null, 0.05),
            (null,),
        ),
        Fault(
            "unit × 100 (all · a tenth of the rows)",
            sized(planted.change_unit, unit, 100, 1.0),
            sized(planted.change_unit, unit, 100, 0.1),
            (unit,),
        ),
        Fault(
            "swapped columns (unlike · alike)",
            *(fixed(planted.exchange_columns, *pair) for pair in pairs),
            pairs[0],
            pairs[1],
        ),
        Fault(
            "new category (5 % · 1 %)",
            sized(planted.add_level, level, "new", 0.05),
            sized(planted.add_level, level, "new", 0.01),
            (level,),
        ),
        Fault(
            "duplicated rows (30 % · 5 %)", sized(planted.repeat_rows, 0.3), sized(planted.repeat_rows, 0.05)
        ),
        Fault(
            "stuck sensor (half · a tenth of the rows)",
            sized(planted.stick, unit, 0.5),
            sized(planted.stick, unit, 0.1),
            (unit,),
        ),
        Fault(
            "slow drift (2 % a week, 12 · 4 weeks)",
            fixed(planted.grow, slow, 0.23, 0.25),
            fixed(planted.grow, slow, 0.07, 0.09),
            (slow,),
        ),
        Fault(
            "merged levels (a common · a rare one)",
            *(fixed(planted.merge_levels, *merge) for merge in merges),
            merges[0][:1],
            merges[1][:1],
        ),
    ]


OF_PEOPLE = faults_of(
    "SCHL",
    "predicted_probability",
    "RELP",
    "AGEP",
    [("MAR", "CIT"), ("DEAR", "DEYE")],
    [("SCHL", "21", "22"), ("SCHL", "23", "22")],
)
DAYS_OF_CARD = "CUSTOMER_ID_NB_TX_7DAY_WINDOW", "CUSTOMER_ID_AVG_AMOUNT_7DAY_WINDOW"
OF_PAYMENTS = [
    *faults_of(
        "area",
        "amount",
        "kind",
        "amount",
        [DAYS_OF_CARD, ("amount", DAYS_OF_CARD[1])],
        [("kind", "travel", "other"), ("kind", "health", "other")],
    ),
    Fault(
        "time zone (2 h · 1 h)",
        fixed(planted.shift_hours, "hour", 2),
        fixed(planted.shift_hours, "hour", 1),
        ("hour",),
    ),
]


def planted_in(windows: Windows, faults: list[Fault], seed: int) -> Iterator[Case]:
    "A window with each fault in each size."
    for fault in faults:
        for size in ("plain", "slight"):
            draw = np.random.default_rng([seed, len(fault.name), len(size)])
            broken = windows._replace(current=getattr(fault, size)(windows.current, draw))
            slightly = fault.broken if fault.broken_slightly is None else fault.broken_slightly
            yield Case(fault.name, size, broken, fault.broken if size == "plain" else slightly)


def cases_of_people(seed: int, people: pd.DataFrame) -> Iterator[Case]:
    "All questions about people, of one seed."
    same, later = people_of(seed, people)
    yield from planted_in(same, OF_PEOPLE, seed)
    yield Case("others of the same year", "", same)
    yield Case("people three years later", "", later)


def cases_of_payments(seed: int, payments: pd.DataFrame) -> Iterator[Case]:
    "All questions about payments, of one seed."
    week = week_of(seed, payments)
    yield from planted_in(week, OF_PAYMENTS, seed)
    for name, windows in without_fault(week, np.random.default_rng([seed, 1])):
        yield Case(name, "", windows)


def severities_of_drift(windows: Windows, warn: float, fail: float) -> Severities:
    "1 for each column of which `drift` says that it drifted."
    before, now, sampling = windows
    found = drift(before, now, warn=warn, fail=fail, sampling=sampling)["columns"]
    return {name: 1.0 if one["status"] == "drift" else 0.0 for name, one in found.items()}


def without_names(frame: pd.DataFrame) -> pd.DataFrame:
    "A window without the card and the time of its rows."
    return frame.drop(columns=["card", "when"], errors="ignore")


def severities_of_quality(windows: Windows) -> Severities:
    "1 for each column, or rule of whole rows, of which `quality` says more than ok."
    before, now = map(without_names, windows[:2])
    found = quality(before, now, n_expected=len(now))
    words = {name: one["verdict"] for name, one in found["columns"].items()}
    words |= {
        f"({one['rule']})": one["verdict"] for one in found["rules"] if one["rule"] in ("rows", "repeated")
    }
    return {name: 1.0 if word in ("warn", "fail") else 0.0 for name, word in words.items()}


BEGIN = """
import json, sys, warnings
warnings.simplefilter("ignore")
import pandas as pd
"""
END = """
for line in sys.stdin:
    files = json.loads(line)
    print(json.dumps(judge(*(pd.read_parquet(file) for file in files))), flush=True)
"""
EVIDENTLY = """
import mlnb.monitor.evidently
import evidently
from evidently.legacy.calculations.data_drift import get_one_column_drift
from evidently.legacy.core import ColumnType
from evidently.legacy.metric_results import DatasetColumns, DatasetUtilityColumns
from evidently.legacy.options.data_drift import DataDriftOptions

NOBODY = DatasetUtilityColumns(date=None, id=None, target=None, prediction=None)
OTHERS = dict.fromkeys(["datetime_feature_names", "text_feature_names"], []) | dict.fromkeys(
    ["target_type", "task", "target_names"]
)

def ratio(name, kind, before, now):
    names = [[name] if kind == one else [] for one in (ColumnType.Numerical, ColumnType.Categorical)]
    about = DatasetColumns(
        utility_columns=NOBODY, num_feature_names=names[0], cat_feature_names=names[1], **OTHERS
    )
    found = get_one_column_drift(
        current_data=now[[name]], reference_data=before[[name]], column_name=name, options=DataDriftOptions(),
        dataset_columns=about, column_type=kind, agg_data=True,
    )
    passed = found.drift_score / found.stattest_threshold
    return 1 / max(passed, 1e-300) if "p_value" in found.stattest_name else passed

def judge(before, now):
    both = [evidently.Dataset.from_pandas(one) for one in (before, now)]
    kinds, frames = {name: both[1].column(name).type for name in now}, [one.as_dataframe() for one in both]
    return {"Evidently": {name: float(ratio(name, kind, *frames)) for name, kind in kinds.items()}}
"""
NANNYML = """
import nannyml

def ratio(row):
    upper = row["upper_threshold"]
    if upper is None or upper != upper:
        return 0.0
    if upper > 0:
        return float(row["value"] / upper)
    return float("inf") if row["value"] > upper else 0.0

def said(calculator, before, now, names, method=None):
    found = calculator.fit(before).calculate(now).filter(period="analysis").to_df()
    of_column = {name: found[name] if method is None else found[name][method] for name in names}
    return {name: max(ratio(row) for _, row in one.iterrows()) for name, one in of_column.items()}

def judge(before, now):
    names, size = list(before), min(len(now), len(before) // 4)
    texts = [name for name in names if before[name].dtype.kind not in "if"]
    drifted = nannyml.UnivariateDriftCalculator(column_names=names, chunk_size=size)
    missing = nannyml.MissingValuesCalculator(column_names=names, chunk_size=size)
    unseen = nannyml.UnseenValuesCalculator(column_names=texts, chunk_size=size)
    found = said(drifted, before, now, names, "jensen_shannon")
    others = [said(missing, before, now, names), said(unseen, before, now, texts)]
    both = {name: max(found[name], *(one.get(name, 0.0) for one in others)) for name in names}
    return {"NannyML, drift alone": found, "NannyML": both}
"""


class Peer:
    "A process that judges windows, one after the other."

    def __init__(self, python: str, code: str) -> None:
        command = [python, "-c", BEGIN + code + END]
        quiet = os.environ | {"NML_DISABLE_USAGE_LOGGING": "1", "DO_NOT_TRACK": "1"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen(command, **pipes, text=True, env=quiet)

    def judge(self, files: list[Path]) -> dict[str, Severities]:
        "What it says of two windows; ends the benchmark if it says nothing."
        self._process.stdin.write(json.dumps([str(file) for file in files]) + "\n")
        self._process.stdin.flush()
        said = ""
        while not said.startswith("{"):
            said = self._process.stdout.readline()
            if not said:
                raise SystemExit("a peer ended; what went wrong stands above")
        return json.loads(said)

    def end(self) -> None:
        "Let it end."
        self._process.stdin.close()
        self._process.wait()


def together(one: Severities, other: Severities) -> Severities:
    "The worse of what two checks say of each column."
    return {name: max(one.get(name, 0.0), other.get(name, 0.0)) for name in {**one, **other}}


def judged(case: Case, peers: list[Peer], folder: Path) -> dict[str, Severities]:
    "What all tools say of a case."
    moved = severities_of_drift(case.windows, 0.1, 0.2)
    broken = severities_of_quality(case.windows)
    sooner = severities_of_drift(case.windows, 0.05, 0.1)
    found = {
        "mlnb, drift alone": moved,
        OURS: together(moved, broken),
        "mlnb, `warn=.05`": together(sooner, broken),
    }
    files = [folder / f"{name}.parquet" for name in ("reference", "current")]
    if peers:
        for frame, file in zip(case.windows[:2], files, strict=True):
            without_names(frame).to_parquet(file, index=False)
    for peer in peers:
        found |= peer.judge(files)
    return found


class Told(NamedTuple):
    "What a tool said of a case."

    kind: str  # people or payments
    case: str
    size: str
    broken: Sequence[str]
    tool: str
    severities: Severities


def told_of(kind: str, cases: Iterator[Case], peers: list[Peer], folder: Path) -> Iterator[Told]:
    "What all tools say of some cases."
    for case in cases:
        for tool, found in judged(case, peers, folder).items():
            yield Told(kind, case.name, case.size, case.broken, tool, found)


def named(one: Told, factor: float) -> set[str]:
    "Columns that a tool names when its thresholds are so much higher."
    return {name for name, value in one.severities.items() if value >= factor}


def n_caught(of_case: list[Told], factor: float) -> str:
    "How many windows raised an alarm; in brackets in how many only broken columns were named, if fewer."
    alarms = [one for one in of_case if named(one, factor)]
    if not of_case[0].size:
        return str(len(alarms))
    right = sum(named(one, factor) <= {*(one.broken or ["(repeated)"])} for one in alarms)
    return f"{len(alarms)}" if right == len(alarms) else f"{len(alarms)} ({right})"


def factor_of(told: list[Told], kind: str, tool: str, n_allowed: int) -> float:
    "How much higher thresholds must be for no more false alarms than that, 1 or more."
    of_tool = [one for one in told if (one.kind, one.tool, one.size) == (kind, tool, "")]
    most = sorted((max(one.severities.values(), default=0.0) for one in of_tool), reverse=True)
    if n_allowed >= len(most):
        return 1.0
    return max(1.0, float(np.nextafter(most[n_allowed], np.inf)))


def n_false(told: list[Told], kind: str, tool: str) -> int:
    "False alarms of a tool as it comes."
    return sum(bool(named(one, 1.0)) for one in told if (one.kind, one.tool, one.size) == (kind, tool, ""))


def print_table(told: list[Told], kind: str, columns: list[tuple[str, str, float]]) -> None:
    "A row for each case, with its sizes; a column for each tool and factor."
    of_kind = [one for one in told if one.kind == kind]
    print("| " + " | ".join([kind, *(heading for heading, _, _ in columns)]) + " |")
    print("| " + " | ".join(["---"] + ["---:"] * len(columns)) + " |")
    for name in dict.fromkeys(one.case for one in of_kind):
        cells = [
            " · ".join(n_caught(those, factor) for those in by_size(of_kind, name, tool))
            for _, tool, factor in columns
        ]
        print("| " + " | ".join([name, *cells]) + " |")


def by_size(told: list[Told], case: str, tool: str) -> list[list[Told]]:
    "What a tool said of a case, the plain ones and then the slight ones."
    found = [one for one in told if (one.case, one.tool) == (case, tool)]
    return [[one for one in found if one.size == size] for size in dict.fromkeys(one.size for one in found)]


def print_all(told: list[Told]) -> None:
    "A table for each kind: tools as they come, then those whose thresholds were raised."
    tools = [*dict.fromkeys(one.tool for one in told)]
    for kind in dict.fromkeys(one.kind for one in told):
        n_allowed = n_false(told, kind, OURS)
        n_windows = len([one for one in told if (one.kind, one.tool, one.size) == (kind, OURS, "")])
        factors = {tool: factor_of(told, kind, tool, n_allowed) for tool in tools if "mlnb" not in tool}
        raised = [(f"{tool}, raised × {factor:.1f}", tool, factor) for tool, factor in factors.items()]
        print(f"\n{n_allowed} of {n_windows} windows without a fault alarm {OURS}\n")
        print_table(told, kind, [*((tool, tool, 1.0) for tool in tools), *raised])


def ask_all(seeds: range, peers: list[Peer], folder: Path) -> Iterator[Told]:
    "What all tools say of all cases."
    people, payments = read_people(), payments_of()
    for seed in seeds:
        start = time.perf_counter()
        yield from told_of("people", cases_of_people(seed, people), peers, folder)
        yield from told_of("payments", cases_of_payments(seed, payments), peers, folder)
        print(f"seed {seed}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)


def ask_and_keep(seeds: range, python: str | None, is_alone: bool, out: Path) -> None:
    "Write down what all tools say, a line each, as soon as they say it."
    codes = [] if is_alone else [(sys.executable, EVIDENTLY)]
    codes += [(python, NANNYML)] if python else []
    peers = [Peer(*one) for one in codes]
    with tempfile.TemporaryDirectory() as folder, out.open("w") as lines:
        for one in ask_all(seeds, peers, Path(folder)):
            lines.write(json.dumps(one) + "\n")
            lines.flush()
    for peer in peers:
        peer.end()


def read_told(files: list[Path]) -> list[Told]:
    "What was written down."
    return [Told(*json.loads(line)) for file in files for line in file.read_text().splitlines()]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs=2, default=[0, N_SEEDS], metavar=("FIRST", "END"))
    parser.add_argument("--alone", action="store_true", help="mlnb only")
    parser.add_argument("--peers", metavar="PYTHON", help="interpreter with NannyML")
    parser.add_argument("--out", type=Path, help="file for what each tool said, a line each")
    parser.add_argument("--read", type=Path, nargs="*", help="print what such files hold, ask nobody")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = given.read or [given.out or Path(folder) / "told.jsonl"]
        if not given.read:
            ask_and_keep(range(*given.seeds), given.peers, given.alone, files[0])
        print_all(read_told(files))
