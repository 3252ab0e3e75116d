"""A URL's secret is shown, logged, stored and published nowhere, in no verb, whether it succeeds or fails."""

import ast
import json
import os
import shutil
from pathlib import Path

import pytest
from every_verb import spoken

from mlnb.notebook.clear_secrets import secrets_in_tree

CANARY = "CANARYs3cr3t77"
OURS = "from mlnb import load, metric, save"
SETTINGS = "[mlnb]\nstore = .mlnb\n[pipeline.demo]\nnotebooks = nbs\n[pipeline.reads]\nnotebooks = reads\n"
STAGES = {
    "10_kept.ipynb": [("parameters", "url: str = 'a'"), OURS, "save('kept', 1)"],
    "reads/10_raw.ipynb": [OURS, "save('n', len(load('raw')))"],
}
FORMS = {
    "key": f"s3://AKIAX:{CANARY}@127.0.0.1/x",
    "password": f"https://u:{CANARY}@127.0.0.1:1/x",
    "token": f"https://ghp_{CANARY}aaaaaaaaaaaaaaaaaa1@127.0.0.1:1/x",
    "query": f"https://127.0.0.1:1/x?token={CANARY}",
    "sas": f"https://127.0.0.1:1/x?sv=1&sig={CANARY}&se=2",
    "presigned": f"https://127.0.0.1:1/x?X-Amz-Signature={CANARY}",
    "fragment": f"https://127.0.0.1:1/x#access_token={CANARY}",
    "encoded": f"https://u:%43{CANARY[1:]}@127.0.0.1:1/x",
    "v6": f"http://u:{CANARY}@[::1]:1/x",
    "ftp": f"ftp://u:{CANARY}@127.0.0.1:1/x",
    "chain": f"simplecache::https://u:{CANARY}@127.0.0.1:1/x",
    "slash": f"https://u:a/{CANARY}@127.0.0.1:1/x",
    "at": f"https://u:a@{CANARY}@127.0.0.1:1/x",
    "unknown": f"nosuch://u:{CANARY}@h/x",
    "bad port": f"http://u:{CANARY}@h:port/x",
    "bracket": f"https://u:{CANARY}@h]/x",
    "upper": f"HTTPS://U:{CANARY}@127.0.0.1:1/x",
    "database": f"postgresql://u:{CANARY}@127.0.0.1:1/db",
    "login": f"u:{CANARY}@h:/x/y",
}
QUICK = ("password", "query", "unknown", "login")
AS_WORD = [
    ["push", "URL"],
    ["pull", "URL"],
    ["verify", "--remote", "URL"],
    ["gc", "--remote", "--force", "URL"],
    ["get", "demo/kept", "--out", "URL"],
    ["get", "demo/kept", "--out=URL"],
    ["runs", "--compare", "--figure", "URL"],
    ["audit", "checkpoint", "--out", "URL"],
    ["audit", "verify", "--checkpoint", "URL"],
    ["audit", "report", "--what", "lost at URL", "--owner", "URL"],
    ["erase", "demo/kept", "--reason", "came from URL"],
    ["init", "URL"],
    ["run", "URL"],
    ["run", "demo", "URL"],
    ["run", "demo", "-f", "URL"],
    ["run", "demo", "-p", "url", "URL"],
    ["run", "demo", "--grid", "url=URL"],
    ["params", "demo", "-p", "url", "URL"],
    ["show", "URL"],
    ["get", "URL"],
    ["why", "URL"],
    ["lineage", "URL"],
    ["dag", "URL"],
    ["status", "--profile", "URL"],
    ["audit", "trust", "ana", "URL"],
    ["kernels", "warm", "URL"],
]
IN_SETTINGS = {
    "remote": ("[mlnb]\n", "[mlnb]\nremote = URL\n", ["push", "pull", "verify --remote origin", "check"]),
    "profile": (
        "[mlnb]\n",
        "[profile.ci.demo]\nurl = URL\n[mlnb]\n",
        ["check", "run demo --profile ci", "params demo --profile ci"],
    ),
    "remote in env": (
        "[mlnb]\n",
        "[mlnb]\nremote = env:CANARY_URL\n",
        ["push", "pull", "verify --remote origin"],
    ),
    "store": ("store = .mlnb", "store = URL", ["status", "check", "publish"]),
    "reports": ("[mlnb]\n", "[mlnb]\nreports = URL\n", ["status", "publish"]),
    "notebooks": ("notebooks = nbs", "notebooks = URL", ["status", "check"]),
    "source": ("[mlnb]\n", "[source.raw]\nurl = URL\n[mlnb]\n", ["run reads", "check", "status", "publish"]),
    "source in env": (
        "[mlnb]\n",
        "[source.raw]\nurl = env:CANARY_URL\n[mlnb]\n",
        ["run reads", "check", "publish"],
    ),
    "connection": (
        "[mlnb]\n",
        "[source.raw]\nsql = SELECT 1 AS x\nconnection = env:CANARY_URL\n[mlnb]\n",
        ["run reads", "check"],
    ),
}


@pytest.fixture(scope="module")
def made(make_shared_project):
    project = make_shared_project(STAGES, SETTINGS)
    assert spoken(["audit", "init"], project.root)[0] == 0
    assert spoken(["run", "demo"], project.root)[0] == 0
    return project.root


@pytest.fixture
def root(made, tmp_path):
    shutil.copytree(made, tmp_path / "shop", symlinks=True)
    return tmp_path / "shop"


def leaks(root, said):
    "Where the canary is, besides the settings that it was written into."
    found = [line for line in b"\n".join(said).split(b"\n") if CANARY[3:].encode() in line]
    for folder, folders, files in os.walk(root):
        found += [name for name in (*folders, *files) if CANARY in name]
        paths = [Path(folder, name) for name in files if name != "settings.ini"]
        found += [path for path in paths if CANARY.encode() in path.read_bytes()]
    return found


def forms(quick):
    return [pytest.param(form, id=form, marks=() if form in quick else pytest.mark.slow) for form in FORMS]


@pytest.mark.parametrize("form", forms(QUICK))
def test_secret_on_the_command_line_goes_nowhere(root, form):
    for words in AS_WORD:
        for more in ([], ["--json"]):
            given = [word.replace("URL", FORMS[form]) for word in words]
            code, *said = spoken([*given, *more], root)
            assert (leaks(root, said), code == 70) == ([], False), (words, said)


@pytest.mark.parametrize("form", forms(("password", "login")))
@pytest.mark.parametrize("place", IN_SETTINGS)
def test_secret_in_a_setting_goes_nowhere(root, monkeypatch, form, place):
    before, after, lines = IN_SETTINGS[place]
    monkeypatch.setenv("CANARY_URL", FORMS[form])
    settings = root / "settings.ini"
    settings.write_text(
        settings.read_text().replace(before, after.replace("URL", FORMS[form], 1), 1)
        if "CANARY_URL" not in after
        else settings.read_text().replace(before, after, 1)
    )
    for line in lines:
        code, *said = spoken(line.split(), root)
        assert (leaks(root, said), code == 70) == ([], False), (line, said)


def test_innocent_url_is_shown_whole(root):
    for url in ("https://127.0.0.1:1/a/b", "nosuch://team/store"):
        said = spoken(["pull", url], root)[2].decode()
        assert url in said, said
    code, _, _ = spoken(
        ["audit", "report", "--what", "see https://docs.example.org/a?page=2", "--owner", "a@b.c"], root
    )
    assert code == 0
    assert "https://docs.example.org/a?page=2" in (root / ".mlnb" / "audit" / "log.jsonl").read_text()


def test_secret_in_the_error_of_a_stage_is_kept_nowhere(make_project, monkeypatch):
    read = "#| env: CANARY_URL\nimport os\nfrom mlnb import save"
    fails = f"{read}\nraise OSError('no ' + os.environ['CANARY_URL'])"
    project = make_project({"10_fails.ipynb": [f"{fails}\nsave('never', 1)"]})
    monkeypatch.setenv("CANARY_URL", FORMS["database"])
    code, *said = spoken(["run", "demo"], project.root)
    assert (code, leaks(project.root, said)) == (1, [])
    assert b"OSError: no $CANARY_URL" in said[0]
    assert spoken(["publish"], project.root)[0] == 0
    assert leaks(project.root, spoken(["show", "latest"], project.root)[1:]) == []


BIG = "'x' * 300_000"
WAYS_TO_FAIL = {
    "raised": "raise OSError('no login with ' + pw)",
    "printed": "print(pw)\nraise OSError('no login')",
    "required": "require(False, f'no login with {pw}')",
    "swallowed": "try:\n    require(False, pw)\nexcept Exception:\n    pass",
    "allowed": ("raises-exception", "raise KeyError(pw)"),
    "huge": f"raise OSError(pw + {BIG} + pw)",
    "flood": f"print(pw)\nprint({BIG})\nprint(pw)\nraise OSError(pw)",
    "killed": "print(pw, flush=True)\nimport time\ntime.sleep(1.5)\nos.kill(os.getpid(), 9)",
}


@pytest.mark.parametrize(
    "way",
    [
        pytest.param(way, marks=() if way in ("printed", "required", "flood") else pytest.mark.slow)
        for way in WAYS_TO_FAIL
    ],
)
def test_value_of_a_declared_variable_is_in_no_failure(make_project, monkeypatch, way):
    asks = "#| env: DB_PASSWORD\nimport os\nfrom mlnb import require, save\npw = os.environ['DB_PASSWORD']"
    project = make_project({"10_fails.ipynb": [asks, WAYS_TO_FAIL[way], "save('never', len(pw))"]})
    monkeypatch.setenv("DB_PASSWORD", CANARY)
    code, *said = spoken(["run", "demo"], project.root)
    assert (code != 0) == (way != "allowed") and leaks(project.root, said) == []
    assert b"$DB_PASSWORD" in b"".join(
        path.read_bytes() for path in project.root.rglob(".mlnb/**/*") if path.is_file()
    )
    assert spoken(["publish"], project.root)[0] == 0
    assert leaks(project.root, spoken(["show", "latest"], project.root)[1:]) == []


AS_VALUE = {
    "header": f"Authorization: Bearer {CANARY}",
    "bearer": f"Bearer {CANARY}",
    "own header": f"accept: a, X-Api-Key: {CANARY}",
    "login": f"u:{CANARY}@h",
    "login with place": f"ana:{CANARY}@db.shop.org:5432/sales",
    "url": f"https://u:{CANARY}@h/x",
}


@pytest.mark.parametrize("text", AS_VALUE.values(), ids=AS_VALUE.keys())
def test_secret_as_the_value_of_a_parameter_is_refused_and_kept_nowhere(root, text):
    for words in (["-p", "url", text], ["--grid", f"url={text}"]):
        code, *said = spoken(["run", "demo", *words], root)
        assert (code, leaks(root, said)) == (2, []), words


@pytest.mark.parametrize("text", AS_VALUE.values(), ids=AS_VALUE.keys())
def test_secret_as_the_default_of_a_parameter_is_a_definition_error(make_project, text):
    project = make_project({"10_kept.ipynb": [("parameters", f"url: str = {text!r}"), OURS, "save('a', 1)"]})
    for words, expected in ((["check"], 2), (["run", "demo"], 2), (["params", "demo"], 0)):
        code, *said = spoken(words, project.root)
        assert code == expected and CANARY.encode() not in b"".join(said), words
    assert not [p for part in ("runs", "records", "objects") for p in project.root.glob(f".mlnb/{part}/*")]


IN_CLEAR = {
    "default": ("api_token: str = 'CANARY1'", "1"),
    "assignment": ("kind: str = 'a'", "DB_PASSWORD = 'CANARY1'"),
    "call": ("kind: str = 'a'", "dict(user='ana', password='CANARY1')"),
    "entry": ("kind: str = 'a'", "headers = {'Authorization': 'Bearer CANARY1'}"),
    "function": ("kind: str = 'a'", "def f(client_secret='CANARY1'):\n    pass"),
    "fallback": ("kind: str = 'a'", "import os\nkey = os.environ.get('API_KEY', 'CANARY1')"),
    "magic": ("kind: str = 'a'", "%env API_TOKEN=CANARY1"),
    "amazon": ("kind: str = 'a'", "x = 'AKIA" + "CANARY1CANARY1CA'"),
    "github": ("kind: str = 'a'", "x = ['ghp_" + "CANARY1' 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaa']"),
    "pem": ("kind: str = 'a'", "x = '''-----BEGIN PRIVATE KEY-----\nCANARY1'''"),
    "url": ("kind: str = 'a'", "x = 'postgresql://ana:CANARY1@db/sales'"),
}
NO_SECRETS = """token_count = 5
max_tokens = 7
password = ""
pad_token = "<pad>"
token = "API_TOKEN"
token_url, author = "https://h/token", "ana"
"""


def test_secret_in_clear_is_a_warning_with_file_cell_and_mend(make_project):
    ways = {f"{n}_{way}.ipynb": cells for n, (way, cells) in enumerate(IN_CLEAR.items(), 10)}
    stages = {
        name: [("parameters", parameters), OURS, cell, f"save('a{name[:2]}', 1)"]
        for name, (parameters, cell) in ways.items()
    }
    read = "#| env: API_KEY\nimport os\nkey = os.environ['API_KEY']\nheader = f'Authorization: Bearer {key}'"
    project = make_project(stages | {"90_none.ipynb": [read, NO_SECRETS, OURS, "save('none', 1)"]})
    code, out, err = spoken(["check", "--json"], project.root)
    found = [p for p in json.loads(out)["problems"] if p["rule"] == "clear-secret"]
    assert (code, b"CANARY1" in out + err) == (0, False)
    assert sorted(p["file"].rpartition("/")[2] for p in found) == sorted(ways)
    assert all(p["level"] == "warning" and "#| env: " in p["mend"] for p in found)
    assert {p["file"].rpartition("_")[2]: p["cell"] for p in found}["default.ipynb"] == 1


ORDINARY = """pd.read_csv(f, dtype={"token": "string", "auth": "category", "password": "int64"})
df.agg({"token": "count"})
df.groupby("u").agg({"pwd": "n_unique"})
df.agg(pw="mean")
df.rename(columns={"pw": "petal_width", "pwd": "dir"})
df["token"] = "a"
auth = "basic"
credentials = "default"
config = {"auth": "kerberos"}
labels = {"token": "Token", "password": "Password of the user"}
ax.plot(x, pw="k")
"https://{user}:{password}@h/x".format(**c)
"https://{token}@h/x".format(**c)
"https://ana:{password}@h/x".format(**c)
"postgresql://%(user)s:%(password)s@h" % c
"postgresql://{}:{}@h/db".format(u, p)
f"postgresql://{u}:{p}@localhost/db"
url = "https://api.h/v1?api_key=%s" % k
url = "https://api.h/v1?api_key={key}&page=2"
password = "%(password)s"
x = "hf_hub_download_all_12345"
"""
SECRET = """password = "hunter2"
password = "changeme"
token = "Abcdefgh"
auth = "s3cr3t"
credentials = "Xk29fjQpw"
login(password="hunter2")
login(password="letmein")
df.assign(token="f3a9c0d1")
d = {"password": "hunter2"}
d = {"token": "AbCdEfGhIj"}
df["token"] = "x8Kq02mmZ"
os.environ["PASSWORD"] = "letmein"
client.token = "word"
"https://{user}:hunter2@h/x"
"https://ana:{password}x@h/x"
"https://api.h/v1?api_key=%s0Kq02mmZ88aa"
"https://api.h/v1?api_key=Kq02mmZ88aab&x={y}"
x = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz01234567"
"""


@pytest.mark.parametrize("line", ORDINARY.splitlines())
def test_ordinary_line_is_no_secret(line):
    assert secrets_in_tree(ast.parse(line)) == []


@pytest.mark.parametrize("line", SECRET.splitlines())
def test_line_with_a_secret_is_said(line):
    assert len(secrets_in_tree(ast.parse(line))) == 1


NAMES_THAT_HOLD_ONE = """d = {"https://u:CANARY1@h/?token": "aaaa1111"}
h = {"Authorization: Bearer CANARY1token": "zzzzzzzz1"}
x["\\x1b]0;CANARY1\\x07password"] = "aaaa1111"
os.environ.get("CANARY1 password", "aaaa1111")
"""


@pytest.mark.parametrize("line", NAMES_THAT_HOLD_ONE.splitlines())
def test_name_that_holds_a_secret_is_not_said(line):
    said = " ".join(secrets_in_tree(ast.parse(f"\n{line}")))
    assert "CANARY1" not in said and "a text in line 2 in clear" in said
    assert secrets_in_tree(ast.parse(f"d = {{'{'x' * 60}_token': 'aaaa1111'}}")) == [
        "a text in line 1 in clear"
    ]


def test_secret_given_to_a_run_is_said_and_not_shown(make_project):
    cells = [("parameters", "api_token: str = ''"), OURS, "save('a', 1)"]
    project = make_project({"10_kept.ipynb": cells})
    code, *said = spoken(["run", "demo", "-n", "-p", "api_token", "CANARY1"], project.root)
    assert code == 0 and b"`api_token` is a secret in clear" in said[1] and b"#| env: API_TOKEN" in said[1]
