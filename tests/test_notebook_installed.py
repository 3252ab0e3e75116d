"""What is installed counts by its files, the same on every machine; an edit of an installed file is seen."""

import importlib
import json
import os
import shutil
import site
import subprocess
import sys
import time
import zipfile

import pytest
from packaging.requirements import Requirement

from mlnb.notebook.builds import recorded_files, written_hash
from mlnb.notebook.installed_files import edited_files, startup_files
from mlnb.notebook.packages import (
    InstalledPackage,
    builds_of,
    environment_state,
    keep_list,
    kept_list,
    list_reader,
    read_packages,
)
from mlnb.store.digests import sha256

assert Requirement("toy").name == "toy"  # imported while packages can be found

CODE = {
    "toy/__init__.py": "x = 1",
    "toy/deep/a.py": "y = 1",
    "toy/tests/test_a.py": "z = 1",
    "toy_c.so": "code",
}


def install(folder, name="toy", files=CODE, info=(), record=True):
    "A distribution as an installer leaves it: its files, and then the list of them."
    place = folder / f"{name}-1.0.dist-info"
    metadata = {f"{place.name}/METADATA": f"Name: {name}\nVersion: 1.0\n", **dict(info)}
    for path, content in {**files, **metadata}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)
        os.utime(folder / path, ns=(1, 1))
    lines = [f"{path},{written_hash(folder / path)},{(folder / path).stat().st_size}" for path in files]
    if record:
        (place / "RECORD").write_text("\n".join([*lines, f"{place.name}/RECORD,,"]))
    return place


@pytest.fixture
def at(tmp_path, monkeypatch):
    "Folders in which Python looks for packages, and in no others."
    monkeypatch.setattr(sys, "path", [p for p in sys.path if "-packages" not in p and p])

    def folder(name="site"):
        (tmp_path / name).mkdir(exist_ok=True)
        sys.path.insert(0, str(tmp_path / name))
        importlib.invalidate_caches()
        return tmp_path / name

    return folder


def build(name="toy"):
    return read_packages()[name].build


# builds


def test_build_is_the_same_wherever_and_by_whomever_the_same_wheel_is_installed(at):
    record = install(at("a")) / "RECORD"
    first = build()
    lines = record.read_text().splitlines()
    others = [
        ["../../bin/toy,sha256=other,9", "/opt/x,,", "toy/__pycache__/a.cpython-311.pyc,,"],
        [
            "toy-1.0.dist-info/INSTALLER,sha256=uv,2",
            "toy-1.0.dist-info/WHEEL,sha256=w,2",
            "toy-1.0.dist-info/REQUESTED,,",
        ],
        ["toy-1.0.dist-info/direct_url.json,sha256=x,2"],
    ]
    assert len(first) == 32
    for more in others:
        record.write_text("\n".join([*more, *reversed(lines)]))
        assert build() == first
    record.write_text("\n".join(line.rpartition(",")[0] + "," for line in lines))
    assert build() == first


@pytest.mark.parametrize("path", [*CODE, "toy-1.0.dist-info/entry_points.txt"])
def test_build_is_another_one_when_any_file_is_another_one(at, path):
    folder = at()
    files = CODE | {"toy-1.0.dist-info/entry_points.txt": "[a]"}
    install(folder, files=files)
    first = build()
    install(folder, files=files | {path: "other"})
    assert build() != first and builds_of(read_packages(), ["toy"]) == {"toy": build()}


def test_build_of_a_wheel_from_a_url_counts_the_hash_of_the_archive_however_it_is_written(at):
    direct = install(at()) / "direct_url.json"
    found = [build()]
    archives = [{"hash": "sha256=ab"}, {"hashes": {"sha256": "ab"}}, {"hashes": {"sha256": "cd"}}, {}]
    for archive in archives:
        direct.write_text(json.dumps({"url": "https://example.com/toy.whl", "archive_info": archive}))
        found.append(build())
    assert found[1] == found[2] and found[0] == found[4] and len({*found}) == 3


@pytest.mark.parametrize("direct", [{"dir_info": {"editable": True}}, {"vcs_info": {"vcs": "git"}}])
def test_distribution_in_development_has_no_build(at, direct):
    (install(at()) / "direct_url.json").write_text(json.dumps(direct))
    packages = read_packages()
    assert packages["toy"].is_direct and builds_of(packages, ["toy"]) == {}
    assert edited_files(packages, ["toy"]) == {}


@pytest.mark.parametrize("listed", ["../toy/__init__.py\n../toy/deep/a.py\n../toy_c.so\n", None])
def test_distribution_without_a_record_counts_by_the_content_of_its_files(at, listed):
    folder = at()
    install(folder)
    shutil.move(folder / "toy-1.0.dist-info", folder / "toy-1.0.egg-info")
    info = folder / "toy-1.0.egg-info"
    (info / "RECORD").unlink()
    (info / "METADATA").rename(info / "PKG-INFO")
    (info / "top_level.txt").write_text("toy\n")
    if listed:
        (info / "installed-files.txt").write_text(listed)
    first = build()
    (folder / "toy" / "deep" / "a.py").write_text("y = 2")
    assert len(first) == 32 and build() != first


def test_path_with_a_comma_is_read_as_csv_writes_it():
    assert recorded_files('"a,""b"".py",sha256=x,1\r\nc.py,sha256=y,2') == {
        'a,"b".py': "sha256=x",
        "c.py": "sha256=y",
    }


# the list of packages


def _overwrite_record(info):
    (info / "RECORD").write_text("toy.py,sha256=x,1")


def _replace_folder(info):
    aside = info.with_name("aside")
    shutil.copytree(info, aside)
    (aside / "RECORD").write_text("")
    os.utime(aside, ns=(1, 1))
    shutil.rmtree(info)
    aside.rename(info)


def _other_archive(info):
    (info / "direct_url.json").write_text("{}")


@pytest.mark.parametrize("change", [_overwrite_record, _replace_folder, _other_archive])
def test_state_of_the_environment_moves_when_a_distribution_is_installed_again(at, change):
    info = install(at())
    os.utime(info, ns=(1, 1))
    before = environment_state()
    assert environment_state() == before
    change(info)
    assert environment_state() != before


def test_list_that_another_mlnb_kept_is_not_believed(tmp_path):
    path, kept = tmp_path / "packages.json", {"state": "now", "packages": {"a": {}}}
    for reader, expected in ((list_reader(), {"a": InstalledPackage()}), ("a former mlnb", None)):
        keep_list(path, json.dumps(kept | {"reader": reader}).encode(), 0o600)
        assert kept_list(path, "now") == expected
    keep_list(path, json.dumps(kept).encode(), 0o600)
    assert kept_list(path, "now") is None


# edited files


@pytest.fixture
def toy(at):
    "A folder with a distribution as it was installed."
    folder = at()
    install(folder)
    return folder


def edited(*names):
    return edited_files(read_packages(), names or ["toy"])


def test_what_is_as_it_was_installed_is_not_edited_whatever_its_times(toy):
    assert edited() == {}
    for path in toy.rglob("*"):
        os.utime(path)
    os.utime(toy / "toy-1.0.dist-info" / "RECORD", ns=(2, 2))
    assert edited() == {}


@pytest.mark.parametrize(
    "path", ["toy/__init__.py", "toy/deep/a.py", "toy_c.so", "toy/new.py", "toy/deep/new.so"]
)
def test_edit_is_named_with_its_content_and_forgotten_when_it_is_taken_back(toy, path):
    before = (toy / path).read_text() if (toy / path).exists() else None
    (toy / path).write_text("edited")
    packages = read_packages()
    assert edited_files(packages, ["toy"]) == {path: sha256(b"edited")}
    (toy / path).write_text("edited again")
    assert edited_files(packages, ["toy"]) == {path: sha256(b"edited again")}
    time.sleep(0.01)
    (toy / path).unlink() if before is None else (toy / path).write_text(before)
    assert edited_files(packages, ["toy"]) == {}


@pytest.mark.parametrize("path", ["toy/__init__.py", "toy/deep/a.py", "toy_c.so"])
def test_code_that_went_is_named(toy, path):
    (toy / path).unlink()
    assert edited() == {path: None}


@pytest.mark.parametrize("path", ["toy/tests/test_a.py", "toy/data.csv", "toy/__pycache__/a.py", "toy/a.pyc"])
def test_what_no_import_reads_is_not_looked_at(toy, path):
    (toy / path).parent.mkdir(exist_ok=True)
    (toy / path).write_text("edited")
    assert edited() == {}


def test_parts_of_one_package_belong_to_who_installed_them(at):
    folder = at()
    install(
        folder,
        "toy-a",
        {"azure/a/__init__.py": "", "azure/a/x.py": "1", "shared/__init__.py": "", "shared/a.py": ""},
    )
    install(folder, "toy-b", {"azure/b/__init__.py": "", "azure/b/y.py": "1", "shared/b.py": ""})
    for path in ("azure/b/y.py", "shared/b.py"):
        os.utime(folder / path)
    assert edited("toy-a", "toy-b") == {}
    for path in ("azure/b/y.py", "shared/b.py"):
        (folder / path).write_text("edited")
    both = {path: sha256(b"edited") for path in ("azure/b/y.py", "shared/b.py")}
    assert (edited("toy-a"), edited("toy-b")) == ({}, both)


def test_answer_of_a_moment_ago_is_used_when_it_is_given(toy):
    packages, known = read_packages(), {}
    assert edited_files(packages, ["toy"], known) == {}
    (toy / "toy" / "__init__.py").write_text("edited")
    assert edited_files(packages, ["toy"], known) == {}
    assert list(edited_files(packages, ["toy"])) == ["toy/__init__.py"]


# what Python runs when it starts


def test_customizations_are_named_by_what_they_hold(at):
    packages, before = read_packages(), startup_files(read_packages())
    folder = at()
    for name in ("sitecustomize", "usercustomize"):
        (folder / f"{name}.py").write_text(f"raise SystemExit('{name} must not be imported')")
        assert startup_files(packages)[name] == sha256((folder / f"{name}.py").read_bytes())
    shutil.rmtree(folder)
    assert startup_files(packages) == before


def test_lines_of_code_in_files_of_nobody_count_and_folders_do_not(at, monkeypatch):
    folder = at()
    monkeypatch.setattr(site, "getsitepackages", lambda: [str(folder)])
    install(folder, files=CODE | {"owned.pth": "import toy"})
    (folder / "folders.pth").write_text("/opt/elsewhere\n# import nothing\nimportant\n")
    packages = read_packages()
    assert not [name for name in startup_files(packages) if name.endswith(".pth")]
    for text in ("/opt/a\nimport toy; toy.patch()\n", "import toy; toy.patch()\n/opt/b\n"):
        (folder / "patch.pth").write_text(text)
        assert startup_files(packages)["patch.pth"] == sha256(b"import toy; toy.patch()")


# with a real installer


def _wheel(folder, content):
    "A wheel of one module."
    path = folder / "toy-1.0-py3-none-any.whl"
    files = {
        "toy.py": content,
        "toy-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n",
        "toy-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "toy-1.0.dist-info/entry_points.txt": "[console_scripts]\ntoy = toy:main\n",
    }
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        archive.writestr("toy-1.0.dist-info/RECORD", "".join(f"{name},,\n" for name in files))
    return path


@pytest.mark.slow
def test_pip_installs_the_same_build_twice_and_another_one_of_another_wheel(tmp_path, at):
    found = []
    for place, content in (("a", "x = 1"), ("b", "x = 1"), ("c", "x = 2")):
        wheel, target = _wheel(tmp_path / f"wheel-{content[-1]}", content), at(place)
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--no-index",
            "--no-deps",
            "--target",
            target,
            wheel,
        ]
        subprocess.run(command, check=True, capture_output=True)
        (target / "toy-1.0.dist-info" / "direct_url.json").unlink()
        found.append((build(), edited()))
    assert found[0] == found[1] and found[0][0] != found[2][0] and found[2][1] == {}
