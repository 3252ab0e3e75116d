"""Which links of a project a stage depends on, and what is said when one of them points elsewhere."""

import os

import pytest

from mlnb.flow.links import Ways, leads_inside, links_used, project_links
from mlnb.flow.sought import CodeTexts, sought_files
from mlnb.history.carried import lay_out_links
from mlnb.kernel.link import can_serve
from mlnb.store.errors import IntegrityError
from mlnb.store.record import Observations, Record

on_linux = pytest.mark.skipif(not can_serve(), reason="what a program opens is told on Linux only")
STAGES = {
    "10_shell.ipynb": ["from mlnb import save", "said = !cat data/now/x.csv", "save('shell', list(said))"],
    "20_text.ipynb": ["from mlnb import save\nimport os", "save('text', os.readlink('data/now'))"],
    "30_plain.ipynb": ["from mlnb import save", "save('plain', open('data/v1/x.csv').read())"],
}


@on_linux
def test_stage_is_stale_when_a_link_on_its_way_points_elsewhere(make_project, asked, mlnb):
    project = make_project(STAGES)
    for n in (1, 2):
        (project.root / f"nbs/data/v{n}").mkdir(parents=True)
        (project.root / f"nbs/data/v{n}/x.csv").write_text(str(n))
    link = project.root / "nbs/data/now"
    link.symlink_to("v1")
    assert mlnb("run", "demo", "--json", "-j", 1, cwd=project.root).code == 0
    told = {}
    for target in ("v1", "v2"):
        link.unlink()
        link.symlink_to(target)
        stages = asked("status", "--json", cwd=project.root).json["stages"]
        told[target] = {s["name"]: s["why"][0]["message"] for s in stages if s["state"] != "fresh"}
    said = "link `nbs/data/now` points elsewhere"
    assert told == {"v1": {}, "v2": {"shell": said, "text": said}}


@pytest.fixture
def root(tmp_path):
    for place in ("data/v1", "data/v2", "a/b", ".git"):
        (tmp_path / place).mkdir(parents=True)
    return tmp_path.resolve()


def test_circles_dead_ends_and_many_entries_end_the_search(root, monkeypatch):
    targets = {"data/now": "v1", "a/b/up": "../..", "self": "self", "dead": "nowhere", ".git/x": "y"}
    for place, target in targets.items():
        (root / place).symlink_to(target)
    found = project_links(root)
    assert sorted(found) == ["a/b/up", "data/now", "dead", "self"]
    assert (found["data/now"], found["a/b/up"]) == (f"{root}/data/v1", str(root))
    monkeypatch.setattr("mlnb.flow.links._MOST_ENTRIES", 1)
    assert sorted(project_links(root)) == ["dead", "self"]


@pytest.mark.parametrize(
    ("code", "heard", "counts"),
    [
        ("cat now/x", {"data/v1/x": True}, True),  # heard without Python
        ("open('data/v1/x')", {"data/v1/x": False}, False),  # by its own path
        ("open('data/now/x')", {"data/now/x": False}, False),  # through the link: the content says it
        ("Path('data/now').resolve()", {"data/v1/x": False}, True),
        ("Path(name).resolve()", {"data/v1/x": False}, True),
        ("os.readlink('data/now')", {}, True),
        ("print('nowhere')", {"data/v2/x": True}, False),
        ("os.readlink('other')", {}, False),
    ],
)
def test_link_counts_where_it_may_have_been_the_way(root, code, heard, counts):
    (root / "data/now").symlink_to("v1")
    used = links_used(root, project_links(root), Ways(heard, [code], code.encode()))
    assert used == ["data/now"] * counts


@pytest.mark.parametrize("text", ["../../x", "/etc", "b/../../../x", "../a/../../x", ""])
def test_link_of_a_record_never_leads_out(root, text):
    record = Record(pipeline="demo", stage="a", run="r1", observed=Observations(links={"a/link": text}))
    lay_out_links(record, root)
    assert not os.path.lexists(root / "a/link")
    assert not leads_inside("../link", "x")


def test_odd_names_of_links_are_no_record():
    plain = {"pipeline": "demo", "stage": "a", "run": "r1"}
    assert Record.from_dict(plain | {"observed": {"links": {"x": "y"}}}).observed.links == {"x": "y"}
    counted = {"parts": {"observed": {"links": {"../x": "0" * 64}}}}
    for odd in (counted, {"observed": {"links": {"/x": "y"}}}, {"observed": {"links": {"x": 7}}}):
        with pytest.raises(IntegrityError, match="is damaged"):
            Record.from_dict(plain | odd)


@pytest.mark.parametrize("name", ["rows.csv", "../data/no.parquet", "a b/../x.json"])
def test_name_of_a_file_that_is_not_there_is_found(root, name):
    found = sought_files(CodeTexts(frozenset([f"SELECT * FROM '{name}'"])), root / "a")
    assert len(found) == 1


@pytest.mark.parametrize(
    "text", ["np.float64", "https://x.org/a.csv", "*.csv", "out/%s.csv", "example.com", ".csv"]
)
def test_what_is_no_name_of_a_file_is_not_taken_for_one(root, text):
    assert sought_files(CodeTexts(frozenset([text])), root) == set()
