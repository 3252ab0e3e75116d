"""Let the validator of CycloneDX judge bills of materials: `python scripts/validate_bom.py FILE…`, with a
Python that has `cyclonedx-python-lib[validation]`, no dependency of mlnb. Ends with 1 when one is refused."""

import sys
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator


def main(files: list[str]) -> int:
    "Say of each file what is wrong with it."
    validator, n_refused = JsonStrictValidator(SchemaVersion.V1_6), 0
    for file in files:
        error = validator.validate_str(Path(file).read_text(encoding="utf-8"))
        n_refused += error is not None
        print(f"{file}: {'accepted' if error is None else error}")
    return int(n_refused > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
