"""What tests look at when a stage runs outside `mlnb run`: what it printed, what it kept, what stayed."""

import getpass
from pathlib import Path

OVERLAY = Path(".mlnb/overlay", getpass.getuser(), "values")  # everybody has one


def printed(notebook):
    return "".join(
        "".join(o.get("text", ""))
        for c in notebook["cells"]
        for o in c.get("outputs", [])
        if o["output_type"] == "stream"
    )


def truth(root):
    "Everything in a store that decides what is fresh."
    return {
        p.relative_to(root).as_posix(): p.read_bytes()
        for p in (root / ".mlnb").rglob("*")
        if p.is_file() and p.relative_to(root).parts[1] in ("records", "refs", "runs", "objects")
    }
