"""Measure how plain the code is, and what the notebooks say about it.

measure_style.py                the table: limits, mlnb, admired packages; exit code 1 past a limit
measure_style.py --json         the same as a JSON document
measure_style.py --room ROOM    the table of one room and what keeps its figures up

Code is measured after `ruff format` at 110 columns. The lines of a function are those of its body without
the docstring; its complexity is one and one more for each branch, loop, comprehension, condition and handler.
"""

import argparse
import ast
import importlib.util
import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("pluggy", "httpx", "fastcore")
COLUMNS = 110
LONGEST_COMMENT = 60  # characters of a parameter's comment
FEWEST_WORDS = 3  # of a parameter's comment

BRANCHES = (ast.If, ast.For, ast.While, ast.IfExp, ast.comprehension, ast.BoolOp, ast.ExceptHandler)
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
DEFINITION = (*FUNCTION, ast.ClassDef)
WORD = re.compile(r"[A-Za-z0-9'’_.-]*[A-Za-z0-9]+[A-Za-z0-9'’_.-]*")
EXPORT = re.compile(r"^#\s*\|\s*exporti?s?\b", re.MULTILINE)
NOT_RUN = re.compile(r"^#\s*\|\s*eval:\s*false\b", re.MULTILINE)
COMMENT = re.compile(r"#.*")
CHECK = re.compile(r"\b(test_\w+|expect_fail|assert|assert_\w+)\b")


@dataclass(frozen=True)
class Function:
    name: str  # as it is defined
    file: Path  # below the folder of the package
    lines: int  # of its body, without the docstring
    complexity: int  # 1 when nothing branches


@dataclass(frozen=True)
class Comment:
    owner: str  # function or class that it stands in
    text: str  # without `#`
    is_docment: bool  # False when it stands beside no parameter, field or return value


@dataclass(frozen=True)
class Notebook:
    path: Path  # below nbs/
    words: int  # of its markdown
    lines: int  # exported, without empty ones
    shown: list[str]  # definitions with a checked example behind them
    unshown: list[str]  # definitions without


# a package, formatted


def python_files(folder: Path) -> list[Path]:
    "The modules of a package, without the index that nbdev writes."
    return [path for path in sorted(folder.rglob("*.py")) if path.name != "_modidx.py"]


def format_copy(package: Path, folder: Path) -> Path:
    "A copy of a package below `folder`, formatted."
    copy = folder / package.name
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
    ruff = shutil.which("ruff", path=str(Path(sys.executable).parent)) or "ruff"
    subprocess.run([ruff, "format", "--isolated", "--line-length", str(COLUMNS), "-q", str(copy)], check=True)
    return copy


def body_of(function: ast.FunctionDef) -> list[ast.stmt]:
    "Statements of a function, without its docstring."
    return function.body[1:] if ast.get_docstring(function) is not None else function.body


def lines_of(body: list[ast.stmt]) -> int:
    "Lines from the first statement to the last."
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def complexity_of(body: list[ast.stmt]) -> int:
    "One, and one more for each place where the way forks."
    return 1 + sum(isinstance(node, BRANCHES) for statement in body for node in ast.walk(statement))


def functions_of(folder: Path) -> list[Function]:
    "Every function of a package that has a body, methods and nested ones included."
    found = []
    for path in python_files(folder):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, FUNCTION) and body_of(node):
                body = body_of(node)
                found.append(
                    Function(node.name, path.relative_to(folder), lines_of(body), complexity_of(body))
                )
    return found


def quantile(values: list[int], share: float) -> int:
    "The value below which `share` of the others lie."
    return sorted(values)[int(share * (len(values) - 1))]


def modules_of(folder: Path) -> dict[Path, int]:
    "Lines of each module."
    return {
        path.relative_to(folder): len(path.read_text(encoding="utf-8").splitlines())
        for path in python_files(folder)
    }


def measure_package(folder: Path) -> dict[str, float]:
    "The figures of a package that is formatted already."
    functions = functions_of(folder)
    lines = [function.lines for function in functions]
    return {
        "median": quantile(lines, 0.5),
        "p90": quantile(lines, 0.9),
        "longest": max(lines),
        "over_60": sum(length > 60 for length in lines),
        "complex": round(100 * sum(f.complexity > 10 for f in functions) / len(functions), 1),
        "module": max(modules_of(folder).values()),
        "lines": sum(modules_of(folder).values()),
    }


# comments of parameters


def comment_tokens(source: str) -> dict[int, str]:
    "Comments by the number of their line."
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}


def fields_of(node: ast.ClassDef) -> list[ast.AnnAssign]:
    "Fields of a dataclass or a named tuple."
    marks = [ast.unparse(mark) for mark in (*node.decorator_list, *node.bases)]
    is_data = any("dataclass" in mark or mark.endswith(("NamedTuple", "TypedDict")) for mark in marks)
    return [field for field in node.body if isinstance(field, ast.AnnAssign)] if is_data else []


def places_of(node: ast.AST) -> list[ast.AST]:
    "Parameters and return value of a function, fields of a class of data."
    if isinstance(node, ast.ClassDef):
        return fields_of(node)
    if not isinstance(node, FUNCTION):
        return []
    args = node.args
    arguments = [*args.posonlyargs, *args.args, args.vararg, *args.kwonlyargs, args.kwarg, node.returns]
    return [argument for argument in arguments if argument is not None]


def header_lines(node: ast.AST) -> range:
    "Lines where comments belong to parameters: a signature, or the fields of a class of data."
    if isinstance(node, FUNCTION):
        return range(node.lineno, node.body[0].lineno)
    places = places_of(node)
    return range(places[0].lineno, places[-1].end_lineno + 1) if places else range(0)


def docment_lines(node: ast.AST, comments: dict[int, str]) -> set[int]:
    "Lines of comments that `fastcore.docments` reads: beside a parameter's first line, or right above it."
    starts = {place.lineno for place in places_of(node)}
    found = starts & comments.keys()
    for start in starts - found:
        line = start - 1
        while line in comments and line not in starts:
            found.add(line)
            line -= 1
    return found


def comments_of(source: str) -> Iterator[Comment]:
    "Every comment of a parameter, a field or a return value."
    comments = comment_tokens(source)
    for node in ast.walk(ast.parse(source)):
        kept = docment_lines(node, comments) if isinstance(node, DEFINITION) else set()
        lines = header_lines(node) if isinstance(node, DEFINITION) else range(0)
        yield from (Comment(node.name, comments[line], line in kept) for line in lines if line in comments)


def uncommented(source: str) -> Iterator[str]:
    "Parameters of public functions without a comment; a decorator or an annotation may say it instead."
    comments = comment_tokens(source)
    for node in ast.parse(source).body:
        if isinstance(node, FUNCTION) and not node.name.startswith("_") and not node.decorator_list:
            kept = docment_lines(node, comments)
            told = [place for place in places_of(node) if place is not node.returns]
            yield from (f"{node.name}: {p.arg}" for p in told if not kept & {p.lineno, p.lineno - 1})


def says_nothing(text: str) -> bool:
    "Whether a comment is too short to give meaning, unit and range."
    return len(WORD.findall(text)) < FEWEST_WORDS


# notebooks


def source_of(cell: dict) -> str:
    "The text of a cell, whichever way it is stored."
    return "".join(cell["source"])


def is_exported(cell: dict) -> bool:
    "Whether a cell goes into the package."
    return cell["cell_type"] == "code" and EXPORT.search(source_of(cell)) is not None


def definitions(cell: dict) -> list[str]:
    "Names of the functions and classes that a cell exports."
    if not is_exported(cell):
        return []
    return [node.name for node in ast.parse(source_of(cell)).body if isinstance(node, DEFINITION)]


def is_check(source: str) -> bool:
    "Whether an example is run and compares something; a comment about a check is none."
    return not NOT_RUN.search(source) and CHECK.search(COMMENT.sub("", source)) is not None


def has_example(cells: list[dict]) -> bool:
    "Whether a check stands before the next definition."
    for cell in cells:
        if definitions(cell):
            return False
        if cell["cell_type"] == "code" and not is_exported(cell) and is_check(source_of(cell)):
            return True
    return False


def exported_lines(cells: list[dict]) -> list[str]:
    "Lines that go into the package, without empty ones and directives."
    lines = [line for cell in cells if is_exported(cell) for line in source_of(cell).splitlines()]
    return [line for line in lines if line.strip() and not line.startswith("#|")]


def read_notebook(path: Path, root: Path) -> Notebook:
    "What a notebook says and shows."
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    words = sum(len(WORD.findall(source_of(cell))) for cell in cells if cell["cell_type"] == "markdown")
    shown, unshown = [], []
    for at, cell in enumerate(cells):
        names = definitions(cell)
        if names:
            (shown if has_example(cells[at + 1 :]) else unshown).extend(names)
    return Notebook(path.relative_to(root), words, len(exported_lines(cells)), shown, unshown)


def library_notebooks(root: Path) -> list[Notebook]:
    "Every notebook below `root` that exports a module."
    paths = [path for path in sorted(root.rglob("*.ipynb")) if ".ipynb_checkpoints" not in path.parts]
    return [notebook for notebook in (read_notebook(path, root) for path in paths) if notebook.lines]


def rooms_of(notebooks: list[Notebook]) -> dict[str, list[Notebook]]:
    "Notebooks by the folder they stand in."
    rooms: dict[str, list[Notebook]] = {}
    for notebook in notebooks:
        rooms.setdefault(notebook.path.parts[0], []).append(notebook)
    return rooms


def prose_of(notebooks: list[Notebook]) -> float:
    "Words of prose per exported line."
    return sum(notebook.words for notebook in notebooks) / sum(notebook.lines for notebook in notebooks)


def shown_share(notebooks: list[Notebook]) -> float:
    "Share of the definitions with an example behind them."
    shown = sum(len(notebook.shown) for notebook in notebooks)
    return shown / max(1, shown + sum(len(notebook.unshown) for notebook in notebooks))


def measure_prose(notebooks: list[Notebook], package: Path) -> dict[str, float]:
    "The figures of the notebooks, and of the comments in the package that they export."
    sources = [path.read_text(encoding="utf-8") for path in python_files(package)]
    comments = [comment for source in sources for comment in comments_of(source)]
    return {
        "shown": int(100 * shown_share(notebooks)),
        "prose": round(min(prose_of(room) for room in rooms_of(notebooks).values()), 2),
        "detached": sum(not comment.is_docment for comment in comments),
        "long": sum(len(comment.text) > LONGEST_COMMENT for comment in comments),
        "empty": sum(says_nothing(comment.text) for comment in comments),
        "uncommented": sum(len(list(uncommented(source))) for source in sources),
    }


# the table


@dataclass(frozen=True)
class Limit:
    key: str  # of a figure
    label: str  # for a reader
    bound: float | None  # the worst that is allowed; None = only shown
    is_most: bool = True  # False when the bound is the least


LIMITS = (
    Limit("median", "lines of a function, median", 5),
    Limit("p90", "lines of a function, 90th percentile", 18),
    Limit("over_60", "functions above 60 lines", 2),
    Limit("complex", "functions of complexity above 10 [%]", 3),
    Limit("module", "lines of the longest module", 500),
    Limit("lines", "lines of the package", None),
    Limit("shown", "definitions with an example behind [%]", 80, False),
    Limit("prose", "words of prose per exported line, least of all rooms", 2, False),
    Limit("detached", "comments that belong to no parameter", 0),
    Limit("long", f"comments of parameters above {LONGEST_COMMENT} characters", 0),
    Limit("empty", "comments of parameters of two words or fewer", 0),
    Limit("uncommented", "parameters of public functions without a comment", 0),
)


def is_kept(limit: Limit, value: float) -> bool:
    "Whether a figure is inside its limit."
    if limit.bound is None:
        return True
    return value <= limit.bound if limit.is_most else value >= limit.bound


def installed(name: str) -> Path | None:
    "The folder of an installed package."
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


def measure(package: Path, notebooks: list[Notebook] | None = None) -> dict[str, float]:
    "All figures of a package; those of notebooks only where there are some."
    with tempfile.TemporaryDirectory() as folder:
        copy = format_copy(package, Path(folder))
        return measure_package(copy) | (measure_prose(notebooks, package) if notebooks else {})


def limit_text(limit: Limit) -> str:
    "A limit as it stands in the table."
    if limit.bound is None:
        return "–"
    return f"{'≤' if limit.is_most else '≥'} {limit.bound:,}"


def table(columns: dict[str, dict[str, float]]) -> str:
    "A markdown table: a row for each limit, a column for each package."
    head = ["", "limit", *columns]
    rows = [head, ["---", *["---:"] * (len(head) - 1)]]
    for limit in LIMITS:
        rows.append(
            [
                limit.label,
                limit_text(limit),
                *(_shown(figures.get(limit.key)) for figures in columns.values()),
            ]
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:,}"


def offenders(folder: Path, notebooks: list[Notebook], package: Path) -> Iterator[str]:
    "Each place of a room that keeps its figures up, worst first."
    for function in sorted(functions_of(folder), key=lambda one: (-one.complexity, -one.lines)):
        if function.lines > 18 or function.complexity > 10:
            yield (
                f"{function.file}: {function.name}: {function.lines} lines, complexity {function.complexity}"
            )
    for path, lines in modules_of(folder).items():
        if lines > 500:
            yield f"{path}: {lines} lines"
    for notebook in notebooks:
        prose = f"{notebook.path}: {notebook.words / notebook.lines:.1f} words a line"
        yield prose + (f"; no example: {', '.join(notebook.unshown)}" if notebook.unshown else "")
    for path in python_files(package):
        source, name = path.read_text(encoding="utf-8"), path.relative_to(package)
        yield from (f"{name}: {one}: no comment" for one in uncommented(source))
        for comment in comments_of(source):
            yield from _faults(name, comment)


def _faults(path: Path, comment: Comment) -> Iterator[str]:
    "What is wrong with a comment."
    faults: dict[str, Callable[[], bool]] = {
        "belongs to no parameter": lambda: not comment.is_docment,
        "too long": lambda: len(comment.text) > LONGEST_COMMENT,
        "says nothing": lambda: says_nothing(comment.text),
    }
    yield from (f"{path}: {comment.owner}: {fault}: {comment.text}" for fault, has in faults.items() if has())


def show_room(room: str) -> int:
    "Print the figures of one room and what keeps them up."
    package = Path("mlnb", room)
    notebooks = [notebook for notebook in library_notebooks(Path("nbs")) if notebook.path.parts[0] == room]
    print(table({room: measure(package, notebooks)}))
    with tempfile.TemporaryDirectory() as folder:
        print("\n".join(offenders(format_copy(package, Path(folder)), notebooks, package)))
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="a JSON document instead of a table")
    parser.add_argument("--room", help="the figures of one room, and what keeps them up")
    asked = parser.parse_args()
    if asked.room:
        return show_room(asked.room)
    columns = {"mlnb": measure(Path("mlnb"), library_notebooks(Path("nbs")))}
    columns |= {name: measure(folder) for name in PACKAGES if (folder := installed(name))}
    print(json.dumps(columns, indent=1) if asked.json else table(columns))
    missed = [limit.label for limit in LIMITS if not is_kept(limit, columns["mlnb"][limit.key])]
    if missed:
        print("past its limit: " + "; ".join(missed), file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
