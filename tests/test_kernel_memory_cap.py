"""A stage that passes its memory limit for a moment only: the operating system sees it, a look five times a
second does not."""

import pytest

from mlnb.kernel.memory_cap import group_root, sweep_groups

OURS = "from mlnb import save\n"
pytestmark = pytest.mark.skipif(
    group_root() is None, reason="no control group with a memory limit can be made here"
)


def test_memory_passed_for_a_moment_ends_the_stage_as_oom_and_leaves_no_group(make_project, mlnb):
    sudden = "for n in range(3):\n    kept = b'x' * (900 * 2**20)\n    del kept"
    child = (
        "import subprocess, sys\nassert subprocess.run([sys.executable, '-c', 'kept = b\"x\" * (900 * "
        "2**20)']).returncode == 0"
    )
    modest = "kept = b'x' * (50 * 2**20)"
    cells = {"sudden": sudden, "child": child, "modest": modest}
    project = make_project(
        {
            f"{n}_{name}.ipynb": ["#| memory: 400MiB\n" + OURS, code, f"save('{name}', 1)"]
            for n, (name, code) in enumerate(cells.items(), 10)
        }
    )
    result = mlnb("run", "demo", "-k", "--json", cwd=project.root)
    assert {e["name"]: (e["state"], e["kind"]) for e in result.json["stages"]} == {
        "sudden": ("failed", "oom"),
        "child": ("failed", "oom"),
        "modest": ("committed", None),
    }, result.stderr
    sweep_groups()
    assert [
        p
        for p in group_root()[0].glob("mlnb-*")
        if "sudden" in p.name or "child" in p.name or "modest" in p.name
    ] == []
