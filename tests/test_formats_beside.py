"""What mlnb writes for others, checked by the tools of others in an environment beside. All of it is slow."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from beside import ROOT, run_beside, with_packages_beside
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from mlnb.care.model_signatures import lone_signature, public_pem, read_curve_key, signed_folder
from mlnb.models.input_schema import column_learnt
from mlnb.models.mlflow_folders import MadeFrom, mlflow_files
from mlnb.models.onnx_models import convert_model, exact_onnx, onnx_scores
from mlnb.store.artifacts import put_value
from mlnb.store.errors import UsageError
from mlnb.store.input_columns import InputColumn
from mlnb.store.model_settings import model_declared
from mlnb.store.new_folders import write_folder
from mlnb.store.objects import open_store
from mlnb.store.versions import ModelVersion

pytestmark = pytest.mark.slow

N_ROWS, N_SENT = 400, 60
SUMS = (
    "array",
    "filled",
    "hostile",
    "unknown",
    "vote",
    "words",
)  # whose last bit follows where rows lie in memory
HOSTILE = [
    "a: b",
    "- x\n!!python/object:os.system",
    '"; DROP',
    "név\u2028",
    "{{ x }}",
    "#c",
    " ",
    "'",
    "</script>",
]


def columns():
    "Columns of every kind that a model may take."
    rng = np.random.default_rng(1)
    money = np.round(rng.gamma(2, 30, N_ROWS), 2)
    plain = {
        "amount": money,
        "n": rng.integers(0, 9, N_ROWS),
        "small": rng.integers(0, 9, N_ROWS).astype("int8"),
        "narrow": rng.normal(size=N_ROWS).astype("float32"),
        "night": rng.random(N_ROWS) < 0.3,
        "large": rng.integers(0, 9, N_ROWS).astype("uint32"),
    }
    holes = {"holes": np.where(rng.random(N_ROWS) < 0.2, np.nan, rng.normal(size=N_ROWS))}
    maybe = {"maybe": pd.array(rng.integers(0, 9, N_ROWS), dtype="Int64")}
    maybe["maybe"][:40] = pd.NA
    words = rng.choice(["b", "a", "c"], N_ROWS)
    is_fraud = (money + rng.normal(size=N_ROWS) * 20 > 60).astype(int)
    return plain, holes | maybe, words, is_fraud


def kinds():
    "Models with the rows that they learn from, by name."
    plain, holes, words, _ = columns()
    rows = pd.DataFrame(plain)
    levels = rows.assign(**holes, shop=pd.Categorical(words))
    texts = rows.assign(shop=pd.Series(words, dtype="str"))
    odd = pd.DataFrame(np.random.default_rng(2).normal(size=(N_ROWS, len(HOSTILE))), columns=HOSTILE)
    coded = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["shop"]), remainder="passthrough"
    )
    coded_levels = rows.assign(code=pd.Categorical(np.arange(N_ROWS) % 7))
    boosted = HistGradientBoostingClassifier(max_iter=20, random_state=0)
    line = make_pipeline(StandardScaler(), LogisticRegression())
    return {
        "forest": (RandomForestClassifier(20, n_jobs=2, random_state=0), rows),
        "boosted": (boosted.set_params(categorical_features="from_dtype"), levels),
        "hostile": (LogisticRegression(), odd),
        "pipeline": (make_pipeline(coded, RandomForestClassifier(10, random_state=0)), texts),
        "vote": (VotingClassifier([("a", line), ("b", RandomForestClassifier(5))], voting="soft"), rows),
        "filled": (
            make_pipeline(SimpleImputer(), LogisticRegression(max_iter=999)),
            rows.assign(holes=holes["holes"]),
        ),
        "array": (LogisticRegression(max_iter=999), rows),
        "unknown": (LogisticRegression(max_iter=999), rows),
        "codes": (
            HistGradientBoostingClassifier(max_iter=9, categorical_features="from_dtype"),
            coded_levels,
        ),
        "words": (LogisticRegression(max_iter=999), rows),
    }


def as_sent(rows):
    "Rows as a caller sends them: text for levels, floats for whole numbers that may be missing."
    kinds = {name: str(rows[name].dtype) for name in rows if name != "code"}
    sent = {
        name: {"category": "str", "Int64": "float64"}[kind]
        for name, kind in kinds.items()
        if kind in ("category", "Int64")
    }
    return rows.astype(sent | ({"code": "int64"} if "code" in rows else {}))


def write_model(store, root, name, model, rows, is_fraud):
    "An MLflow model with the rows and scores that it must give."
    labels = np.where(is_fraud, "yes", "no") if name == "words" else is_fraud
    takes = rows.to_numpy(dtype="float64") if name == "array" else rows
    model.fit(takes, labels)
    about = {"stage": "train", "key": "a" * 64, "run": "20260101-120000-aa"}
    declared = model_declared({"artifact": "shop/model", "gate": "gate"})
    version = ModelVersion(model="shop", number=7, output=put_value(store, model), declared=declared, **about)
    inputs = [column_learnt(rows[one], one) for one in rows]
    if name == "unknown":
        inputs = [InputColumn(one) for one in rows]
    write_folder(root / name, mlflow_files(store, version, inputs))
    first = rows.head(N_SENT)
    scores = model.predict_proba(takes[:N_SENT])[:, 1].tolist()
    (root / f"{name}.scores.json").write_text(json.dumps(scores))
    sent = as_sent(first)
    sent.to_parquet(root / f"{name}.parquet")
    split = json.loads(sent.to_json(orient="split", double_precision=15, index=False))
    exact = [
        [cell.item() if hasattr(cell, "item") else cell for cell in row]
        for row in sent.astype(object).to_numpy()
    ]
    split["data"] = [[None if cell != cell else cell for cell in row] for row in exact]
    (root / f"{name}.rows.json").write_text(json.dumps({"dataframe_split": split}))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    "A folder with an MLflow model of every kind."
    root = tmp_path_factory.mktemp("mlflow")
    store, is_fraud = open_store(root / "store"), columns()[3]
    for name, (model, rows) in kinds().items():
        write_model(store, root, name, model, rows, is_fraud)
    return root


def test_mlflow_gives_the_same_scores_for_every_kind_and_runs_no_pickle(written):
    found = [json.loads(line) for line in run_beside("tests/beside_mlflow.py", written).stdout.splitlines()]
    assert [one["name"] for one in found] == sorted(kinds())
    for one in found:
        assert max(one["apart"].values()) <= (1e-15 if one["name"] in SUMS else 0.0), one
        assert (one["example"], one["version"], one["mlnb"]) == (1, 7, [])
    assert next(one["inputs"] for one in found if one["name"] == "hostile") == HOSTILE


def test_mlflow_models_predict_gives_the_same_scores(written):
    sent = ["-i", written / "forest.rows.json", "-t", "json", "--env-manager", "local"]
    done = run_beside("mlflow", "models", "predict", "-m", written / "forest", *sent)
    scores = json.loads(done.stdout.strip().splitlines()[-1])["predictions"]
    assert scores == json.loads((written / "forest.scores.json").read_text())


def test_mlflow_folder_is_the_same_from_another_process(written, tmp_path):
    code = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(ROOT / "tests")!r})
from pathlib import Path
import test_formats_beside as t
root = Path({str(tmp_path)!r})
model, rows = t.kinds()["boosted"]
t.write_model(t.open_store(root / "store"), root, "boosted", model, rows, t.columns()[3])
"""
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={"PATH": "/usr/bin:/bin", "PYTHONHASHSEED": "7"}
    )
    here, there = (
        {
            path.relative_to(root): path.read_bytes()
            for path in sorted((root / "boosted").rglob("*"))
            if path.is_file()
        }
        for root in (written, tmp_path)
    )
    assert here == there


def curve_key(folder, curve):
    "A key in a file, and its public half in another."
    key, path = ec.generate_private_key(curve), folder / f"{curve.name}.pem"
    path.touch(0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = folder / f"{curve.name}.pub"
    public.write_bytes(public_pem(key))
    return read_curve_key(path), public


def verified(model, public, signature):
    "Whether the tool of the OpenSSF accepts a signature."
    words = ["verify", "key", model, "--public_key", public, "--signature", signature]
    return run_beside("model_signing", *words, check=False).returncode == 0


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda one: one.name)
def test_model_signing_accepts_a_signed_folder_and_no_other(written, tmp_path, curve):
    key, public = curve_key(tmp_path, curve)
    whole = {
        str(path.relative_to(written / "hostile")): path.read_bytes()
        for path in (written / "hostile").rglob("*")
        if path.is_file()
    }
    folder = tmp_path / "model"
    write_folder(folder, signed_folder("shop@7", whole, key))
    signature = folder / "model.sig"
    assert verified(folder, public, signature)
    stranger = curve_key(tmp_path, ec.SECP256R1())[1]
    assert not verified(folder, stranger, signature)
    if curve.name != "secp256r1":
        return
    for name in ("MLmodel", "code/mlnb_scores.py"):
        place, before = folder / name, (folder / name).read_bytes()
        place.write_bytes(before[:-1] + b"?")
        assert not verified(folder, public, signature), name
        place.write_bytes(before)
    (folder / "code/more.py").write_bytes(b"")
    assert not verified(folder, public, signature)
    (folder / "code/more.py").unlink()
    (folder / "requirements.txt").unlink()
    assert not verified(folder, public, signature)


def test_model_signing_accepts_a_signed_file(tmp_path):
    key, public = curve_key(tmp_path, ec.SECP256R1())
    model, signature = tmp_path / "m.onnx", tmp_path / "m.onnx.sig"
    model.write_bytes(b"model")
    signature.write_bytes(lone_signature("shop@7", b"model", key))
    assert verified(model, public, signature)
    model.write_bytes(b"modem")
    assert not verified(model, public, signature)


@pytest.fixture(scope="module")
def stated(tmp_path_factory, mlnb_here):
    "A project that has run with a key: its folder, its public key and its provenance."
    root = tmp_path_factory.mktemp("stated")
    mlnb_here("init", "shop", cwd=root)
    public = mlnb_here("audit", "init", cwd=root / "shop").split()[-1]
    mlnb_here("run", "first", cwd=root / "shop")
    mlnb_here("get", "latest", "--as", "slsa", "--out", "made.jsonl", cwd=root / "shop")
    return root / "shop", public


@pytest.fixture(scope="module")
def mlnb_here():
    "The command, run in a folder; gives what it printed."

    def run(*words, cwd):
        command = [Path(sys.executable).with_name("mlnb"), *words]
        return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout

    return run


def test_securesystemslib_and_in_toto_read_where_results_come_from(stated, mlnb_here):
    root, public = stated
    lines = run_beside("tests/beside_provenance.py", root / "made.jsonl", public).stdout.splitlines()
    found = [json.loads(line) for line in lines]
    artifacts = json.loads(mlnb_here("artifacts", "--json", cwd=root))["artifacts"]
    subjects = {name: digest for one in found for name, digest in one["subjects"].items()}
    assert subjects == {f"{one['pipeline']}/{one['name']}": one["digest"] for one in artifacts}
    assert {one["builder"] for one in found} == {f"urn:mlnb:{public}"}
    assert all("pkg:generic/python@" in str(one["used"]) for one in found)


def test_altered_or_foreign_provenance_is_refused(stated, tmp_path):
    root, public = stated
    other = "ed25519:xU1X4XOmfmSJq1pGQcT/KtJi3vOoC4YbjyEbJbrjR4s="
    assert run_beside("tests/beside_provenance.py", root / "made.jsonl", other, check=False).returncode != 0
    envelope = json.loads((root / "made.jsonl").read_text().splitlines()[0])
    for place in (5, len(envelope["payload"]) // 2):
        text = envelope["payload"]
        changed = text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]
        (tmp_path / "bad.jsonl").write_text(json.dumps(envelope | {"payload": changed}) + "\n")
        assert (
            run_beside("tests/beside_provenance.py", tmp_path / "bad.jsonl", public, check=False).returncode
            != 0
        )


def numbers():
    "Rounded money, and who was a fraud."
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({f"x{n}": np.round(rng.gamma(2, 30, N_ROWS), 2) for n in range(4)})
    return rows, (rows.x0 + rows.x1 + rng.normal(size=N_ROWS) * 40 > 120).astype(int)


def scaled(model):
    return make_pipeline(StandardScaler(), model)


def voting(**about):
    members = [("a", scaled(LogisticRegression())), ("b", GaussianNB())]
    return VotingClassifier(members, voting="soft", **about)


EXACT = {
    "linear": LogisticRegression(max_iter=999),
    "scaled": scaled(LogisticRegression()),
    "sgd": scaled(SGDClassifier(loss="log_loss", random_state=0)),
    "bayes": GaussianNB(),
    "network": scaled(MLPClassifier((4,), max_iter=999, random_state=0)),
    "neighbours": KNeighborsClassifier(),
    "calibrated": CalibratedClassifierCV(LogisticRegression(max_iter=999), cv=2),
    "vote": voting(flatten_transform=False),
    "pure tree": DecisionTreeClassifier(random_state=0),
}
REFUSED = {
    "filled": (make_pipeline(SimpleImputer(), scaled(LogisticRegression())), "off by up to"),
    "tree": (DecisionTreeClassifier(max_depth=4, random_state=0), "off by up to"),
    "forest": (RandomForestClassifier(10, random_state=0), "off by up to"),
    "extra trees": (ExtraTreesClassifier(10, max_depth=4, random_state=0), "off by up to"),
    "boosting": (GradientBoostingClassifier(n_estimators=10, random_state=0), "off by up to"),
    "bagging": (BaggingClassifier(n_estimators=3, random_state=0, max_samples=0.5), "off by up to"),
    "ada": (AdaBoostClassifier(n_estimators=5, random_state=0), "off by up to"),
    "discriminant": (LinearDiscriminantAnalysis(), "off by up to"),
    "histogram": (HistGradientBoostingClassifier(max_iter=5), "cannot be converted"),
    "flat vote": (voting(), "cannot be converted"),
    "frozen": (FrozenEstimator(LogisticRegression()), "cannot be converted"),
}
MADE = MadeFrom(model="shop", version=7, digest="a" * 64, run="20260101-120000-aa", commit=None)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [*EXACT, *REFUSED])
def test_onnx_file_is_exact_on_other_rows_or_refused_with_the_reason(kind):
    with_packages_beside()
    rows, is_fraud = numbers()
    model = EXACT[kind] if kind in EXACT else REFUSED[kind][0]
    if kind == "frozen":
        model.estimator.set_params(max_iter=999).fit(rows, is_fraud)
    model.fit(rows, is_fraud)
    inputs = [column_learnt(rows[name], name) for name in rows]
    if kind in REFUSED:
        with pytest.raises(UsageError, match=REFUSED[kind][1]):
            exact_onnx(model, inputs, MADE)
        return
    made = exact_onnx(model, inputs, MADE)
    if kind != "neighbours":  # whose converter counts through a process
        assert exact_onnx(model, inputs, MADE) == made
    there = onnx_scores(
        convert_model(model, 4, made.compared.bits)._replace(data=made.data), rows.to_numpy(), 1
    )
    np.testing.assert_allclose(there, model.predict_proba(rows)[:, 1], rtol=0, atol=1e-9)
    import onnx

    said = {one.key: one.value for one in onnx.load_model_from_string(made.data).metadata_props}
    assert json.loads(said["mlnb"]) == MADE.as_dict() and json.loads(said["inputs"]) == list(rows)
