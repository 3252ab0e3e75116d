"""papermill's door: what `config` and `parent` say, cells that take values back, and values that no notebook
can hold, are refused in a sentence before there is a kernel."""

import datetime
import decimal
import json

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from traitlets.config import Config, Configurable

from mlnb.kernel import door
from mlnb.kernel.given_parameters import check_plain
from mlnb.store.errors import UsageError

SPEC = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
DAYS = ("parameters", "days: int = 7\ncity: str = 'a'\nrates: dict[str, float] = {}")


@pytest.fixture
def here(make_project, monkeypatch):
    root = make_project({"10_a.ipynb": [DAYS, "print(days)"]}).root
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def clients(monkeypatch):
    "Clients that would have run; no kernel is started."
    from papermill.engines import PapermillNotebookClient

    seen = []
    monkeypatch.setattr(door, "open_way", lambda *_: None)
    monkeypatch.setattr(PapermillNotebookClient, "execute", lambda self, **_: seen.append(self) or self.nb)
    return seen


def run(out=None, given="nbs/10_a.ipynb", **told):
    import papermill

    return papermill.execute_notebook(given, out, engine_name="mlnb", progress_bar=False, **told)


def sections():
    from papermill.engines import PapermillNotebookClient

    return PapermillNotebookClient.section_names()


HEARD = {
    "allow_errors": True,
    "interrupt_on_timeout": True,
    "record_timing": False,
    "shutdown_kernel": "graceful",
}
FIXED = {
    "ipython_hist_file": "h.sqlite",
    "kernel_manager_class": "jupyter_client.manager.AsyncKernelManager",
    "kernel_name": "other",
    "timeout": 5,
    "iopub_timeout": 5,
    "startup_timeout": 5,
    "execution_timeout": 5,
    "extra_arguments": ["--debug"],
    "on_cell_start": print,
    "on_cell_executed": print,
    "log_output": True,
    "stdout_file": "f",
    "raise_on_iopub_timeout": False,
    "km": None,
    "log": None,
    "allow_error": True,
}


def test_what_a_configuration_says_is_heard_or_refused_in_every_section(here, clients):
    for section in sections():
        run(config=Config({section: HEARD}))
        assert {name: getattr(clients[-1], name) for name in HEARD} == HEARD, section
        for name, value in FIXED.items():
            with pytest.raises(UsageError, match=f"`{name}`"):
                run(config=Config({section: {name: value}}))
    assert len(clients) == len(sections())


def test_every_setting_that_a_configuration_may_have_reaches_the_client_or_is_refused(here, clients):
    from papermill.engines import PapermillNotebookClient
    from test_kernel_papermill_door import another_value

    for name, trait in PapermillNotebookClient.class_traits(config=True).items():
        value = another_value(trait)
        try:
            run(config=Config({"NotebookClient": {name: value}}))
        except UsageError as error:
            assert f"`{name}`" in error.message
            continue
        assert getattr(clients[-1], name) == value, name


@pytest.mark.parametrize("section", ["KernelManager", "Session", "timeout", "Notbookclient"])
def test_section_that_nobody_reads_is_refused(here, clients, section):
    with pytest.raises(UsageError, match=f"a part `{section}`"):
        run(config=Config({section: {"ip": "127.0.0.1"}}))
    assert clients == []


@pytest.mark.parametrize("config", [{}, None, {"NotebookClient": {"timeout": 5}}])
def test_configuration_that_is_none_is_refused(here, clients, config):
    with pytest.raises(UsageError, match="`config` that is none"):
        run(config=config)


def test_configuration_of_a_parent_is_heard_or_refused_too(here, clients):
    class Shell(Configurable):
        pass

    heard = Shell(config=Config({"Shell": {"NotebookClient": HEARD}, "Other": {"a": 1}}))
    run(parent=heard)
    assert clients[-1].allow_errors is True
    for config in ({"NotebookClient": {"timeout": 5}}, {"Shell": {"NotebookClient": {"timeout": 5}}}):
        with pytest.raises(UsageError, match="give papermill `execution_timeout`"):
            run(parent=Shell(config=Config(config)))
    run(config=Config({"NotebookClient": {"ipython_hist_file": ":memory:"}}))


def notebook(here, *tags):
    cells = [new_code_cell("days: int = 7", metadata={"tags": [tag]}) for tag in tags]
    path = here / "nbs" / "20_b.ipynb"
    nbformat.write(new_notebook(cells=[*cells, new_code_cell("print(days)")], metadata=SPEC), path)
    return str(path)


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        (["parameters", "parameters"], "has 2 cells tagged `parameters`"),
        (["parameters", "x", "parameters"], "has 2 cells tagged `parameters`"),
        (["injected-parameters", "parameters"], "cell 2 sets parameters again"),
        (["parameters", "injected-parameters", "injected-parameters"], "cell 3 sets parameters again"),
    ],
)
def test_cell_that_takes_given_values_back_is_refused(here, clients, tags, said):
    given = notebook(here, *tags)
    with pytest.raises(UsageError, match=said):
        run(given=given, parameters={"days": 30})
    assert clients == []
    run(given=given)
    assert len(clients) == 1


@pytest.mark.parametrize("tags", [["parameters"], ["parameters", "injected-parameters"]])
def test_cells_that_take_nothing_back_are_no_fault(here, clients, tags):
    run(given=notebook(here, *tags), parameters={"days": 30})
    assert len(clients) == 1


CYCLE = []
CYCLE.append(CYCLE)
NOT_PLAIN = [
    ({"days": np.int64(5)}, "`days` is of type `numpy.int64`"),
    ({"days": np.float64(5)}, "`days` is of type `numpy.float64`"),
    ({"days": np.bool_(True)}, "`days` is of type `numpy.bool"),
    ({"days": np.array([5])}, "`days` is of type `numpy.ndarray`"),
    ({"days": decimal.Decimal(5)}, "`days` is of type `decimal.Decimal`"),
    ({"days": datetime.date(2026, 1, 1)}, "`days` is of type `datetime.date`"),
    ({"days": 10**5000}, "more than 3,000 digits"),
    ({"days": {5}}, "`days` is of type `builtins.set`"),
    ({"city": "\ud800"}, "`city` holds half a character"),
    ({"city": b"a"}, "`city` is of type `builtins.bytes`"),
    ({"rates": {"a": np.int64(5)}}, "`rates` is of type `numpy.int64`"),
    ({"rates": {"\udc80": 1.0}}, "`rates` holds half a character"),
    ({"rates": {"a": [[("\udc80",)]]}}, "`rates` holds half a character"),
    ({"rates": CYCLE}, "`rates` is nested more than 50 deep"),
]


@pytest.mark.parametrize("how", [{"out": "out.ipynb"}, {}, {"out": "out.ipynb", "prepare_only": True}])
def test_value_that_no_notebook_can_hold_is_refused_in_a_sentence(here, clients, how):
    for parameters, said in NOT_PLAIN:
        with pytest.raises(UsageError, match=said):
            run(parameters=parameters, **how)
    assert (clients, (here / "out.ipynb").exists()) == ([], False)


def test_plain_values_are_given_as_always(here, clients):
    plain = {"days": 30, "city": "Zürich 🙂", "rates": {"a": 0.5}}
    run("out.ipynb", parameters=plain)
    assert (
        json.loads((here / "out.ipynb").read_text())["metadata"]["papermill"]["parameters"]["city"]
        == plain["city"]
    )


def test_name_that_no_notebook_can_hold_is_refused():
    for name in ("\ud800", 1, None):
        with pytest.raises(UsageError, match="is no name of a parameter"):
            check_plain({name: 1})
