"""How often the gate's statistics are wrong, in worlds where it is known how good the models are; the worlds
are those of the slow tests, `tests/gate_battery.py`. `--windows` says how many are looked at: the shares
printed are sure to about .4 / √windows. No time is measured."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import gate_battery as battery


def show(what: str, share: float, wanted: str) -> None:
    print(f"{what:66} {share:6.3f}   {wanted}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=200)
    n = parser.parse_args().windows
    passed, alpha = battery.shares_that_pass(n), battery.ALPHA
    for name, share in passed.at_margin.items():
        show(f"worse by the margin in {name.replace('_', ' ')}: passes it", share, f"at most {alpha}")
    show("worse by the margin in average precision: passes all ten", passed.one_at_margin, f"at most {alpha}")
    show("as good, margins of 3.5 standard errors: passes all ten", passed.equal, "at least .5")
    normal = battery.share_of_normal_figures(10 * n)
    show("as good, ten normal figures, 2.8 errors, correlation .5", normal, "at least .5")
    lucky = battery.share_with_a_lucky_try(n)
    show("ten challengers at the margin on one window: one passes", lucky, f"at most {alpha}")
    world = battery.censored_world()
    for name in ("counted as honest", "left out"):
        found = battery.censored_challengers(world, name, 100)
        show(f"trained where stopped payments are {name}: refused", found.refused / 100, "1")
        show(f"judged where stopped payments are {name}: not computable", found.noticed / 100, "1")


if __name__ == "__main__":
    main()
