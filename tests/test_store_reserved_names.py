"""Names that no file can have on Windows are refused wherever a name is given; read, they are damage."""

import pytest

from mlnb.store.border import PlainName, WrittenName, has_form
from mlnb.store.names import is_name

DEVICES = ["con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))]


@pytest.mark.parametrize("name", DEVICES)
def test_name_of_a_device_is_no_name(name):
    assert not is_name(name)
    assert not has_form(PlainName, name)
    assert [has_form(WrittenName, text) for text in (name, f"p/{name}", f"{name}/x", f"{name}@r1")] == [
        False
    ] * 4


@pytest.mark.parametrize("name", ["console", "aux_", "auxiliary", "com", "com10", "lpt", "nul_l"])
def test_name_that_only_begins_like_one_is_a_name(name):
    assert is_name(name)
    assert has_form(WrittenName, f"{name}/{name}@{name}")


@pytest.mark.parametrize(
    ("file", "source"),
    [("10_aux.ipynb", "save('x', 1)"), ("10_a.ipynb", "save('con', 1)"), ("10_a.ipynb", "metric('nul', 1)")],
)
def test_check_refuses_it_before_anything_runs(make_project, mlnb, file, source):
    project = make_project({file: [f"from mlnb import metric, save\n{source}"]})
    done = mlnb("check", "demo", cwd=project.root)
    assert done.code == 2, done.stderr
    assert "is a device on Windows" in done.stdout + done.stderr
