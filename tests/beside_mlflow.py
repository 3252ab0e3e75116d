"""Run in the environment beside: load every MLflow model below a folder and compare its scores with those
that lie beside it; prints a JSON line for each. Nothing of mlnb is imported, and nothing unpickled."""

import json
import os
import sys
import warnings
from pathlib import Path

warnings.simplefilter("ignore")
os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"


def judged(folder):
    "What MLflow says of a model."
    import mlflow
    import numpy as np
    import pandas as pd
    from mlflow.pyfunc.scoring_server import infer_and_parse_data

    model = mlflow.pyfunc.load_model(str(folder))
    rows, scores = (
        json.loads(folder.with_suffix(f".{what}.json").read_text()) for what in ("rows", "scores")
    )
    sent = infer_and_parse_data(rows, model.metadata.get_input_schema())
    frame = pd.read_parquet(folder.with_suffix(".parquet"))
    found = {"json": model.predict(sent), "frame": model.predict(frame)}
    example = model.predict(model.metadata.load_input_example(str(folder)))
    return {
        "name": folder.name,
        "apart": {how: float(np.abs(one - np.array(scores)).max()) for how, one in found.items()},
        "example": len(example),
        "inputs": model.metadata.get_input_schema().input_names(),
        "version": model.metadata.metadata["mlnb"]["version"],
        "mlnb": [name for name in sys.modules if name == "mlnb" or name.startswith("mlnb.")],
    }


if __name__ == "__main__":
    for found in sorted(Path(sys.argv[1]).glob("*/MLmodel")):
        print(json.dumps(judged(found.parent)))
