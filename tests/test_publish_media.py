"""What pages make of pictures, links, colours, estimators, widgets and figures of scripts: nothing is lost in
silence, nothing hostile becomes active, and no file leaves the project that was not meant to."""

import base64
import json
import os
import re
import struct
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlnb.notebook.scaffold import notebook_of
from mlnb.publish.bitmaps import MOST_DOTS, Refused, bitmap_kind, count_dots
from mlnb.publish.drawings import redraw
from mlnb.publish.embedding import embed, with_drawings
from mlnb.publish.estimators import diagram
from mlnb.publish.history import RunPage, StagePage
from mlnb.publish.layout import STYLE, source_hash
from mlnb.publish.ledger import Ledger
from mlnb.publish.links import PageLinks, SiteMap, linked_files
from mlnb.publish.outputs import notebook_without_places
from mlnb.publish.page_cells import join_outputs
from mlnb.publish.pages import Facts, render
from mlnb.publish.pictures import LARGEST_PICTURE, Pictures
from mlnb.publish.site import Building, run_files
from mlnb.publish.styles import plain_declarations, read_scope
from mlnb.store.settings import Project, read_project
from mlnb.terminal.publish import left_out_entries, left_out_lines

DOT = base64.b64decode("R0lGODlhAQABAAAAACw=")
DOT_TEXT = "R0lGODlhAQABAAAAACw="
DOT_URI = f"data:image/gif;base64,{DOT_TEXT}"
WIDGET = "application/vnd.jupyter.widget-view+json"
OWN_ID = re.compile(r"(content|made|failed|(part|sub|to|gone)-\d+|scope-\d+-\d+)")
VOID = {"img", "br", "hr", "wbr", "col", "meta", "link"}


class Page(HTMLParser):
    """Start tags with attributes, and whether every element is closed in order."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.found, self.open, self.is_balanced = [], [], True
        self.feed(html)
        self.is_balanced &= not self.open

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        self.is_balanced &= bool(self.open) and self.open.pop() == tag


def faults(html):
    "What is on a page that could act, fetch, or pretend to be the page."
    page = Page(html)
    bad = [] if page.is_balanced else ["unbalanced"]
    for tag, attributes in page.found:
        if tag in ("script", "iframe", "object", "embed", "base", "form", "input", "svg", "video", "audio"):
            bad.append(tag)
        for name, value in attributes.items():
            value = value or ""
            if name.startswith("on") or name in ("style", "srcset", "action", "background", "poster", "data"):
                bad.append((tag, name))
            if name == "src" and not value.startswith("data:image/"):
                bad.append((tag, name, value))
            if name == "href" and tag == "a" and not re.match(r"https?:|mailto:|#|[\w./%-]+(#|$)", value):
                bad.append((tag, name, value))
            if name in ("id", "name") and not OWN_ID.fullmatch(value) and tag != "meta":
                bad.append((tag, name, value))
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    further = style[1].removeprefix(STYLE) if style else ""
    for forbidden in (
        "url(",
        "@import",
        "expression",
        "position",
        "</",
        "\\",
        "javascript",
        "fixed",
        "z-index",
    ):
        bad += [forbidden] * (forbidden in further)
    return bad


def text(source, **about):
    return {"cell_type": "markdown", "source": source, "metadata": {}, **about}


def code(*outputs):
    return {"cell_type": "code", "source": "x", "outputs": list(outputs), "metadata": {}}


def shown(**data):
    return {"output_type": "display_data", "metadata": {}, "data": data}


def html_output(html):
    return shown(**{"text/html": html})


def page_of(*cells, ledger=None, states=None):
    states = {"application/vnd.jupyter.widget-state+json": {"state": states}} if states else {}
    notebook = {"cells": list(cells), "metadata": {"widgets": states}}
    return render(notebook, Facts("p", "a", "committed"), None, ledger)


def article_of(page):
    return page[page.index("<article>") : page.index('<h2 id="made">')]


def anywhere(address):
    return DOT_URI, ""


ATTACKS = [
    "<img src=x onerror=attack()>",
    "<img src='javascript:attack()'>",
    "<img src='plan.gif' onload=attack() style='position:fixed'>",
    "<img src='data:text/html;base64,PHNjcmlwdD4='>",
    '<img src="data:image/png;base64,AA" onerror="attack()">',
    "<img src='mlnb-gone:1'><a href='mlnb-gone:1'>x</a>",
    "<img src='//attacker.example/x.png'><img src='\\\\attacker.example\\x'>",
    "<a href='JaVaScRiPt:attack()'>a</a><a href='java\tscript:attack()'>a</a>",
    "<a href='data:text/html,<script>attack()</script>'>a</a><a href='vbscript:attack()'>b</a>",
    "<a href='//attacker.example/x'>a</a><a href='attachment:x'>b</a>",
    "<a href='20_b.ipynb\" onclick=\"attack()'>a</a>",
    "<base href='https://attacker.example/'><meta http-equiv=refresh content='0;url=//attacker.example'>",
    "<style>#a{background:url(//attacker.example/x)}@import '//attacker.example';</style><b id=a>b</b>",
    "<style>body{display:none}main,.banner,#made{color:red}</style><b id=made class=banner>b</b>",
    "<style>b{color:red;position:fixed;z-index:9}</style></style><script>attack()</script>",
    "<style>b{color:\\65xpression(x())}b{color:'</style><script>attack()</script>'}</style>",
    "<style>b{content:'x';behavior:url(x);-moz-binding:url(x);width:expression(1)}</style>",
    "<div style='background:url(//attacker.example/x);color:red' id=made class='state ok'>✓ Committed</div>",
    "<p style='position:fixed;top:0;width:9999px;color:red;font-size:900px'>over</p>",
    "<svg onload=attack()><script>attack()</script><a href='javascript:attack()'><rect/></a></svg>",
    "<svg><foreignObject><iframe src='//attacker.example'></iframe></foreignObject></svg>",
    "<svg><image href='//attacker.example/x'/><use href='//attacker.example/y#z'/></svg><svg>",
    "<math><mtext><table><mglyph><style><img src=x onerror=attack()></style></mglyph></table></mtext></math>",
    "<iframe srcdoc='<script>attack()</script>'></iframe><object data=x></object><embed src=x>",
    "<div class='sk-top-container'><label><script>attack()</script><img src=x onerror=attack()></label>",
    "<div class='sk-top-container'><div class='sk-item'><label>&lt;script&gt;attack()&lt;/script&gt;</label>",
    "<a id='made'></a><a name='content'></a><h2 id='failed' style='color:red'>x</h2>",
    "<form action='//attacker.example'><input name=a><button formaction='javascript:attack()'>go",
    "<input value='<script>attack()</script>'><textarea></p><img src=x onerror=attack()></textarea>",
    "<select><option><script>attack()</script><option label='<img src=x onerror=attack()>'></select><embed>",
    "<math><mi onclick=attack() href='javascript:attack()'>x</mi><mtext><img src=x onerror=attack()></math>",
    "<math></math><math><annotation-xml encoding='text/html'><script>attack()</script></math>",
    "<object data='x.png\" onerror=\"attack()'></object><embed src='javascript:attack().png'>",
    "<noscript><p title='</noscript><img src=x onerror=attack()>'></noscript><title><script>attack()",
    "<x`<script> onclick=attack()><y/onclick=attack()><iframe srcdoc='</span><script>attack()</script>'>",
    "<b title='\ue0020\ue003<iframe>'>\ue0021\ue003</b><iframe></iframe><abbr title='\" onclick=\"x'>",
    '<style>#a::after{content:"\'><script>attack()</script>"}</style><table><td id=a>1</table><embed src=x>',
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_hostile_markup_acts_nowhere_on_a_page(attack):
    caught = {"model_name": "OutputModel", "state": {"outputs": [html_output(attack)]}}
    label = {"model_name": "HTMLModel", "state": {"value": attack, "description": attack}}
    slider = {"model_name": attack, "state": {"value": attack, "description": attack}}
    page = page_of(
        text(f"# {attack}\n> {attack}\n\n{attack}\n\n[{attack}]({attack})\n\n## {attack}\n![](<{attack}>)"),
        text(f"[a](#x {attack}) ![p](attachment:p.gif)", attachments={"p.gif": {attack: attack}}),
        code(html_output(attack), html_output(f"<table><tr><td>{attack}</td></tr></table>")),
        code(shown(**{"text/markdown": attack}), shown(**{attack: attack})),
        code(*(shown(**{WIDGET: {"model_id": m}}) for m in ("a", "b", "c", attack))),
        states={"a": caught, "b": label, "c": slider},
        ledger=Ledger(anywhere, lambda address: ("b.html#part-1", "")),
    )
    assert faults(page) == []
    assert [a for tag, a in Page(article_of(page)).found if "banner" in (a.get("class") or "")] == []


def test_the_scan_sees_the_attacks_when_nothing_protects():
    assert [attack for attack in ATTACKS if not faults(attack) and "</style>" not in attack] == []


WORDS = """<b |<img |<a |<style>|</style>|<svg>|</svg>|</a>|<td>|<h2 |>|</h2>|src=|href=|style=|id=|class=|'|"
plan.gif|#made|javascript:x|onerror=x |color:red;|url(x)|{|}|.a|#T_1|scope-1-1|mark-1-1|mlnb-gone:1|<!--|-->
&quot;|data:image/gif;base64,R0lGODlhAQABAAAAACw=|<table |</table>|<div class='sk-item'>|<math>
</math>|<mi |<select>|<option
<iframe |<foo|<input |type=|title=|<textarea>|<noscript>|</noscript>|value=
</iframe>|\\""".replace("\n", "|").split("|")
WORDS.append("\ue0020\ue003")
PIECES = st.lists(st.sampled_from(WORDS), max_size=25).map("".join)


@settings(max_examples=25, deadline=None)
@given(PIECES)
def test_any_mixture_of_pieces_stays_balanced_and_inert(html):
    ledger = Ledger(anywhere, lambda address: ("b.html", ""))
    assert faults(f"<style>{STYLE}{ledger.style()}</style>{embed(html, ledger)}") == []
    assert faults(page_of(code(html_output(html)), ledger=Ledger(anywhere))) == []


CSS_WORDS = """color|background|width|position|:|;|red|#fff|url(|)|rgb(1,2,3)|9999px|-5em|\\|3c |<|</style>
'|"|@import|{|}|!important|/*|*/|linear-gradient(|expression(|var(--bg)|calc(1px| |,|#a|.b|>|td"""
CSS = st.lists(st.sampled_from(CSS_WORDS.replace("\n", "|").split("|")), max_size=20).map("".join)


@settings(max_examples=50, deadline=None)
@given(CSS)
def test_any_css_is_written_anew_within_its_scope_or_dropped(css):
    plain = plain_declarations(css)
    assert not re.search(r"url|[<>{}\\@'\"]|position|expression|var|calc|9999|-5em", plain)
    for rule in read_scope(f"<style>{css}</style>", 7).rules:
        selectors, _, declarations = rule.partition(" {")
        assert all(one.strip().startswith(".scope-7 ") for one in selectors.split(","))
        assert declarations.count("}") == 1 and "<" not in rule and "\\" not in rule


def test_hostile_texts_with_many_beginnings_come_to_an_end():
    n = 50_000
    assert with_drawings("</svg>" + "<svg>" * n).count("<svg>") == n
    assert read_scope("</style>" + "<style>" * n, 1).rules == []
    assert "box" in diagram("<div class='sk-item'><label>a</label>" * 1_000, Ledger())


@pytest.fixture
def project(tmp_path):
    root = tmp_path / "shop"
    (root / "nbs/p").mkdir(parents=True)
    (root / "img").mkdir()
    (root / ".mlnb/objects").mkdir(parents=True)
    (root / ".git").mkdir()
    for path in (
        "nbs/p/plan.gif",
        "img/my plan.gif",
        ".mlnb/objects/a.gif",
        ".git/a.gif",
        "nbs/p/.hidden.gif",
    ):
        (root / path).write_bytes(DOT)
    (tmp_path / "outside.gif").write_bytes(DOT)
    (root / "nbs/p/key.png").write_text("-----BEGIN PRIVATE KEY-----")
    return root


@pytest.mark.parametrize(
    "address,said",
    [
        *((same, "") for same in ("plan.gif", "./plan.gif", "plan.gif?raw=1#x", "plan%2Egif", "inner.gif")),
        *((same, "") for same in ("../../img/my plan.gif", "../../img/my%20plan.gif", "/abs/plan.gif")),
        *((out, "outside") for out in ("/etc/passwd", "../../../outside.gif", "leads/passwd", "out.gif")),
        *((out, "outside") for out in ("%2e%2e/%2e%2e/%2e%2e/outside.gif",)),
        ("../../.mlnb/objects/a.gif", "store"),
        *((out, "hidden") for out in ("../../.git/a.gif", ".hidden.gif")),
        ("key.png", "no PNG"),
        *((out, "plain file") for out in (".", "..", "pipe.gif")),
        *((out, "no such file") for out in ("gone.gif", "plan.GIF")),
        *((out, "another host") for out in ("http://e.org/a.gif", "//e.org/a.gif", "HTTPS://e.org/x")),
        *((out, "names no file") for out in ("file:///etc/x", "", "//", "#x", "a%00.gif", "javascript:x")),
        ("circle.gif", ""),
        ("x" * 5000, ""),
        ("http://[", "cannot be read"),
        ("large.gif", "larger than 5 MB"),
    ],
)
def test_picture_is_taken_from_the_project_only_and_else_the_reason_is_said(project, address, said):
    folder = project / "nbs/p"
    (folder / "inner.gif").symlink_to("../../img/my plan.gif")
    (folder / "out.gif").symlink_to("../../../outside.gif")
    (folder / "leads").symlink_to("/etc")
    (folder / "circle.gif").symlink_to("circle.gif")
    os.mkfifo(folder / "pipe.gif")
    with (folder / "large.gif").open("wb") as large:
        large.write(DOT)
        large.truncate(LARGEST_PICTURE + 1)
    address = address.replace("/abs", str(folder))
    uri, why = Pictures(project, project / ".mlnb", folder)(address)
    is_shown = said == "" and address not in ("circle.gif", "x" * 5000)
    assert (uri == DOT_URI, bool(why), said in why) == (is_shown, not is_shown, True)


def test_pictures_of_a_page_have_a_limit_together(project):
    pictures = Pictures(project, project / ".mlnb", project / "nbs/p", allowance=2 * len(DOT))
    assert [bool(pictures("plan.gif")[0]) for _ in range(3)] == [True, True, False]
    assert "the pictures of this page are larger" in pictures("plan.gif")[1]


def test_file_that_cannot_be_read_is_said_and_stops_nothing(project, monkeypatch):
    def broken(*args):
        raise OSError(5, "input/output error")

    pictures = Pictures(project, project / ".mlnb", project / "nbs/p")
    monkeypatch.setattr("mlnb.publish.pictures._open_plainly", broken)
    assert pictures("plan.gif") == ("", "it cannot be read")
    n_open = len(os.listdir("/proc/self/fd"))
    assert [pictures(name)[0] for name in ("plan.gif", "..", "key.png")] == ["", "", ""]
    assert len(os.listdir("/proc/self/fd")) == n_open


def test_link_put_in_the_place_of_a_picture_meanwhile_is_not_followed(project, monkeypatch):
    place, open_plainly = project / "nbs/p/plan.gif", Pictures.find.__globals__["_open_plainly"]

    def swapped(path, flags):
        place.unlink()
        place.symlink_to("/etc/passwd")
        return open_plainly(path, flags)

    monkeypatch.setattr("mlnb.publish.pictures._open_plainly", swapped)
    assert Pictures(project, project / ".mlnb", project / "nbs/p")("plan.gif")[0] == ""


def safe_svg(data):
    try:
        return redraw(data).svg
    except Refused:
        return b""


SVG = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">{}</svg>'


@pytest.mark.parametrize(
    "inside",
    [
        "<script>attack()</script>",
        "<g onclick='attack()'/>",
        "<a xlink:href='javascript:attack()'><text>t</text></a>",
        "<image xlink:href='https://attack()/'/>",
        "<use href='other.svg#attack()'/>",
        "<foreignObject><p xmlns='http://www.w3.org/1999/xhtml' onclick='attack()'>t</p></foreignObject>",
        "<foreignObject><iframe xmlns='http://www.w3.org/1999/xhtml' src='//attack()'/></foreignObject>",
        "<image href='data:image/png;base64,attack()'/>",
        "<rect style='--x: url(https://attack())'/>",
        "<style>@import url(https://attack())</style>",
        "<rect style='fill:url(https://attack())'/>",
        "<rect fill='url(//attack())'/>",
        "<set attributeName='onclick' to='attack()'/>",
        "<animate attributeName='href' values='javascript:attack()'/>",
        "<handler>attack()</handler>",
        "<image href='data:image/svg+xml;base64,attack()'/>",
        "<g xml:base='https://attack()/'/>",
    ],
)
def test_drawing_keeps_what_draws_and_nothing_else(inside):
    svg = safe_svg(SVG.format(inside + "<circle r='1' fill='red'/>").encode())
    assert b"attack()" not in svg and b'<circle r="1" fill="red"' in svg


@pytest.mark.parametrize(
    "data",
    [
        b'<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>' + SVG.format("&b;").encode(),
        ('<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE a [<!ENTITY a "a">]>' + SVG.format("&a;")).encode(
            "utf-16"
        ),
        b'<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + SVG.format("&a;").encode(),
        SVG.format("<g>" * 5000 + "</g>" * 5000).encode(),
        SVG.format("<g>").encode(),
        b'<?xml version="1.0" encoding="nonsense"?>' + SVG.format("").encode(),
        b"<svg/>",
        b"\x00\xff",
        b"",
    ],
)
def test_drawing_that_is_unsound_or_swells_is_refused(data):
    assert safe_svg(data) == b""


def stage(name, *sources, each=None, run="r1"):
    cells = [text(source) for source in sources]
    return StagePage(
        name, "committed", Facts("p", name, "committed"), {"cells": cells}, made_in=run, each=each
    )


def run_page(run, *stages, pipeline="p", head=False):
    return RunPage(run, pipeline, "default", "committed", None, None, {}, stages, head)


def site_of(root, *runs):
    notebooks = {(root / f"nbs/p/{name}.ipynb").resolve(): ("p", name) for name in ("a", "b", "fold")}
    notebooks[(root / "nbs/q/z.ipynb").resolve()] = ("q", "z")
    project = Project(root, root / ".mlnb", root / "reports")
    return SiteMap(project, notebooks, list(runs), {"own-pages/who.html"})


LINKED = """# A
[1](#Two-words!) [2](#two-words) [3](#deep) [4](#Deep-1) [5](#spot) [6](#nowhere) [7](b.ipynb#Results)
[8](../q/z.ipynb#End) [9](fold.ipynb) [10](rows.csv) [11](../../own-pages/who.html) [12](#A)

<a id="spot"></a>
## Two words!
### Deep
#### Deep
### Never linked
"""


def test_links_lead_to_pages_and_headings_and_what_leads_nowhere_is_said(project):
    folds = [stage("fold", "# F", each={"n": n}) for n in (0, 1)]
    run = run_page("r1", stage("a", LINKED), stage("b", "# B", "## Results"), *folds)
    old, head = (
        run_page(n, stage("z", "# Z\n### End", run=n), pipeline="q", head=n == "q1") for n in ("q2", "q1")
    )
    building = Building(None, "Shop", site_of(project, run, old, head))
    page = run_files(run, building)["a.html"]
    hrefs = re.findall(r'<a href="([^"]*)" rel="[^"]*">\d+</a>', page)
    assert hrefs == [
        *("#part-1", "#part-1", "#sub-1", "#sub-2", "#to-1", "b.html#part-1", "../../q/q1/z.html#sub-1"),
        *("index.html", "../../own-pages/who.html", "#content"),
    ]
    assert [f'id="{place}"' in page for place in ("sub-1", "sub-2", "to-1", "sub-3")] == [True] * 3 + [False]
    assert page.count('<small class="soft">(no such heading)') == 1
    said = [(entry.what, entry.why) for entry in building.left_out["p/r1/a.html"]]
    assert said == [
        ("Target `#nowhere` of a link", "no such heading"),
        ("Target `rows.csv` of a link", "no page of this site"),
    ]
    assert 'id="sub-1"' in run_files(head, building)["z.html"]
    assert faults(page) == []


TEXTS = {
    "a": [LINKED, "![](plan.gif) ![](gone.png) <img src='/etc/passwd'> ![](https://e.org/a.png)"],
    "b": [r"# $\href{x}{y}$", "<video src='a.mp4'></video>", "costs $5", r"$a$ and $$\href{x}{y}$$"],
    "d": ["# D", "- [ ] task\n\nList<String> <progress value=1></progress> <b>b</b>"],
    "c": ["# Whole", "- [x] done <br> <b>b</b>", "![](plan.gif) [b](b.ipynb) [site](https://e.org) $a^2$"],
}


def test_check_warns_of_what_publish_leaves_out_in_the_same_words_and_cells(tmp_path, asked):
    folder = tmp_path / "nbs"
    folder.mkdir()
    (tmp_path / "settings.ini").write_text("[mlnb]\n[pipeline.p]\nnotebooks = nbs\n")
    (folder / "plan.gif").write_bytes(DOT)
    for name, sources in TEXTS.items():
        built = notebook_of([("markdown", source, ()) for source in sources])
        (folder / f"{name}.ipynb").write_text(json.dumps(built))
    run, project = run_page("r1", *(stage(n, *texts) for n, texts in TEXTS.items())), read_project(tmp_path)
    building = Building(None, "Shop", SiteMap(project, linked_files(project), [run]))
    run_files(run, building)
    left = {page: entries for page, entries in building.left_out.items() if entries}
    assert {page: len(entries) for page, entries in left.items()} == {
        "p/r1/a.html": 8,
        "p/r1/b.html": 3,
        "p/r1/d.html": 1,
    }
    will = {entry.said() for entries in left.values() for entry in entries}
    found = asked("check", "--json", cwd=tmp_path)
    told = [p for p in found.json["problems"] if p["rule"] == "not-shown"]
    assert {p["message"] for p in told} == will and found.code == 0
    assert {(p["file"], p["cell"]) for p in told} == {
        ("nbs/a.ipynb", 1),
        ("nbs/a.ipynb", 2),
        ("nbs/b.ipynb", 1),
        ("nbs/b.ipynb", 2),
        ("nbs/b.ipynb", 4),
        ("nbs/d.ipynb", 2),
    }
    assert all(p["mend"] and p["level"] == "warning" for p in told)


SOUND = {"cell_type": "markdown", "id": "a", "metadata": {}, "source": "![](gone.png) $\\href{a}{b}$"}


@pytest.mark.parametrize(
    "cells",
    [
        [SOUND, {"cell_type": "markdown", "id": "b", "metadata": {}}],
        [SOUND, None],
        [SOUND | {"metadata": None}],
        [SOUND | {"source": ["$", 5]}],
        [SOUND | {"attachments": [1]}],
        [SOUND | {"attachments": {"a.png": 3}, "source": "![](attachment:a.png)"}],
        [SOUND | {"source": "\ud800 ![](\0a.png) [x](http://[) [y](#) <a href='%ff.x'>q</a> <img src>"}],
        [SOUND | {"source": "[a" * 3_000 + "$" * 999}],
    ],
)
def test_check_of_a_notebook_that_is_broken_or_hostile_ends_with_problems_and_no_fault(
    tmp_path, asked, cells
):
    (tmp_path / "settings.ini").write_text("[mlnb]\n[pipeline.p]\nnotebooks = nbs\n")
    (tmp_path / "nbs").mkdir()
    whole = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "nbs" / "10_a.ipynb").write_text(json.dumps(whole))
    assert asked("check", "--json", cwd=tmp_path).code in (0, 2)


def test_formulas_that_stay_source_are_in_the_ledger_wherever_they_stand():
    wrong = r"$\href{%s}{y}$"
    latex = code(shown(**{"text/latex": wrong % "d"}), shown(**{"text/markdown": wrong % "e"}))
    ledger = Ledger()
    page = page_of(text(f"# T {wrong % 'a'}\n> {wrong % 'b'}"), text(wrong % "c"), latex, ledger=ledger)
    assert [entry.what for entry in ledger.left_out] == [f"Formula `\\href{{{x}}}{{y}}`" for x in "abcde"]
    assert [
        page.count(f'<code class="formula{b}" id="gone-{n}"')
        for n, b in enumerate(["", "", "", " block", ""], 1)
    ] == [1] * 5
    assert ">5 formulas shown as source" in page and faults(page) == [] and "&lt;code" not in page


def test_part_of_a_fan_out_links_to_the_same_part(project):
    folds = [stage(name, "# F", each={"n": n}) for name in ("fold", "a") for n in (0, 1)]
    run = run_page("r1", *folds)
    links = PageLinks(site_of(project, run), run, folds[3], project / "nbs/p/a.ipynb")
    assert links("fold.ipynb")[0] == "fold.n-1.html"


def test_page_without_anything_special_has_no_byte_more(project):
    row = "<tr style='text-align: right;'><td>1</td></tr>"
    frame = f"<style scoped>.dataframe td {{top: 0}}</style><table class='dataframe'>{row}</table>"
    cells = [
        text("# T\n## H\n### Deep\n[a](https://e.org)"),
        code(html_output(frame), shown(**{"image/gif": DOT_TEXT})),
    ]
    page = page_of(*cells)
    assert re.search(r"<style>(.*?)</style>", page, re.DOTALL)[1] == STYLE
    assert not re.search("data-s|gone|paper|not shown|<h3 ", article_of(page))


def test_styled_table_keeps_its_colours_in_the_one_style_sheet_of_the_page():
    styled = (
        "<style type='text/css'>#T_9a_row0_col0, #T_9a_row1_col0 {background-color: #ff0; font-weight: bold;}"
        "#T_9a caption {color: green; position: absolute}</style><table id='T_9a'><caption>c</caption><tr>"
        "<td id='T_9a_row0_col0' class='data row0 col0'>1</td></tr></table>"
    )
    page = page_of(code(html_output(styled)), code(html_output(styled)))
    style = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    assert len(style) == 1 and source_hash(style[0]) in page.replace("&#39;", "'")
    ids = re.findall(r'<td id="([^"]+)">', page)
    assert len(set(ids)) == 2
    for name in ids:
        assert re.search(
            rf"#{name}[, ][^{{]*{{color:#1d1f23;background-color:#ff0;font-weight:bold;}}", style[0]
        )
    assert "T_9a" not in page and faults(page) == []


BUNDLES = {
    "Plotly figure": {
        "application/vnd.plotly.v1+json": {"data": []},
        "text/html": "<div class='plotly-graph-div'>",
    },
    "Altair chart": {
        "application/vnd.vegalite.v5+json": {},
        "text/plain": "<VegaLite 5 object>\n\nIf you see",
    },
    "Bokeh figure": {"application/javascript": "draw()", "application/vnd.bokehjs_exec.v0+json": ""},
    "Map": {"text/html": "<div><span>Make this Notebook Trusted to load map: File</span><iframe srcdoc='x'>"},
    "Embedded page": {
        "text/html": "<iframe src='https://e.org'></iframe>",
        "text/plain": "<a.IFrame at 0x7f>",
    },
    "Sound": {"text/html": "<audio controls><source src='data:audio/wav;base64,x'></audio>"},
    "PDF document": {"application/pdf": "JVBERi0="},
    "Drawing of a script": {
        "text/html": "<div id=a></div><script>draw()</script>",
        "text/plain": "<X object>",
    },
    "Output of type `application/x-new`": {"application/x-new": "1"},
}


@pytest.mark.parametrize("name", BUNDLES)
def test_what_only_a_script_draws_has_a_note_a_mend_and_a_place_in_the_account(name):
    ledger = Ledger()
    page = page_of(code(shown(**BUNDLES[name])), ledger=ledger)
    assert [(entry.what, bool(entry.mend)) for entry in ledger.left_out] == [(name, True)]
    assert ">1 not shown" in page and 'id="gone-1"' in article_of(page)
    pictured = Ledger()
    page = page_of(code(shown(**BUNDLES[name], **{"image/gif": DOT_TEXT})), ledger=pictured)
    assert "<img" in article_of(page) and pictured.left_out == []


def test_library_that_is_only_loaded_leaves_nothing_and_no_note():
    ledger = Ledger()
    loads = [
        {"text/html": "<style>.bk-notebook-logo {}</style><div>Loading BokehJS ...</div>"},
        {"application/javascript": "x", "application/vnd.bokehjs_load.v0+json": "x"},
        {"text/html": "<script>window.PlotlyConfig = {MathJaxConfig: 'local'};</script>"},
    ]
    page = page_of(code(*(shown(**data) for data in loads)), ledger=ledger)
    assert (ledger.left_out, "Loading" in page) == ([], False)


def test_widgets_show_what_they_held_and_unknown_ones_say_their_name():
    outputs = [
        {"output_type": "stream", "name": "stdout", "text": "caught text"},
        html_output("<b>caught html</b>"),
    ]
    states = {
        "box": {"model_name": "VBoxModel", "state": {"children": [f"IPY_MODEL_{name}" for name in "abcdef"]}},
        "a": {"model_name": "OutputModel", "state": {"outputs": outputs}},
        "b": {"model_name": "HTMLModel", "state": {"value": "<i>words</i>"}},
        "c": {"model_name": "IntSliderModel", "state": {"description": "depth", "value": 3}},
        "d": {
            "model_name": "ImageModel",
            "state": {"format": "png"},
            "buffers": [{"path": ["value"], "data": DOT_TEXT}],
        },
        "e": {"model_name": "FancyModel", "state": {}},
        "f": {"model_name": "FigureModel", "model_module": "jupyterlab-plotly", "state": {}},
    }
    ledger = Ledger()
    page = page_of(
        code(shown(**{WIDGET: {"model_id": "box"}, "text/plain": "VBox()"})), states=states, ledger=ledger
    )
    for expected in ("caught text", "<b>caught html</b>", "<i>words</i>", "depth: 3", DOT_URI):
        assert expected in page
    assert [entry.what for entry in ledger.left_out] == ["Widget `Fancy`", "Plotly figure"]


def test_widgets_that_catch_one_another_come_to_an_end():
    def catching(*names):
        return {
            "model_name": "OutputModel",
            "state": {"outputs": [shown(**{WIDGET: {"model_id": n}}) for n in names]},
        }

    page = page_of(
        code(shown(**{WIDGET: {"model_id": "a"}})),
        states={"a": catching("a", "b", "b"), "b": catching("a", "b")},
    )
    assert len(page) < 200_000 and "Widget is not shown" in page


@pytest.mark.parametrize(
    "state", [None, [], {"a": 5}, {"a": {"state": None}}, {"a": {"state": {"outputs": [5, {}]}}}]
)
def test_broken_states_of_widgets_stop_no_page(state):
    notebook = {"cells": [code(shown(**{WIDGET: {"model_id": "a"}}))], "metadata": {}}
    for widgets in (state, {"application/vnd.jupyter.widget-state+json": {"state": state}}):
        notebook["metadata"] = {"widgets": widgets}
        page = render(notebook, Facts("p", "a", "committed"))
        assert "not shown" in page


def test_states_of_widgets_go_with_the_outputs_and_name_no_folder_of_the_machine():
    caught = {"output_type": "stream", "name": "stdout", "text": "read /srv/shop/rows.csv"}
    kept = {"a": {"model_name": "OutputModel", "state": {"outputs": [caught]}}}
    view = shown(**{WIDGET: {"model_id": "a"}})
    executed = {
        "cells": [code(view)],
        "metadata": {"widgets": {"application/vnd.jupyter.widget-state+json": {"state": kept}}},
    }
    joined = join_outputs({"cells": [text("# New"), code()], "metadata": {"x": 1}}, executed)
    plain = notebook_without_places(joined, Path("/srv/shop"), Path("/srv/store"))
    page = render(plain, Facts("p", "a", "committed"))
    assert "read ./rows.csv" in page and "/srv/shop" not in page and plain["metadata"]["x"] == 1


@pytest.mark.slow
def test_estimator_is_its_boxes_and_not_its_help():
    pipeline = pytest.importorskip("sklearn.pipeline")
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import FunctionTransformer

    model = pipeline.make_pipeline(
        pipeline.FeatureUnion([("<b>one</b>", FunctionTransformer()), ("two", "passthrough")]),
        LogisticRegression(C=3),
    )
    bundle = {"text/html": model._repr_html_(), "text/plain": repr(model)}
    article = article_of(page_of(code(shown(**bundle))))
    words = re.sub(r"<[^>]*>", " ", article).split()
    assert len(words) < 60 and "LogisticRegression" in words and "3" in words
    assert not re.search("rerun|Documentation|Fitted|copy", article)
    assert [article.count(f'class="{name}"') for name in ("steps", "beside")] >= [1, 1]
    assert "&lt;b&gt;one&lt;/b&gt;" in article


def test_pictures_of_the_cell_are_found_by_markdown_and_html_alike():
    attachments = {"a b.gif": {"image/gif": base64.b64encode(DOT).decode()}}
    source = "# T\n\n![md](<attachment:a b.gif>) <img src='attachment:a%20b.gif'> ![](attachment:gone.gif)"
    ledger = Ledger()
    page = page_of(text("# T"), text(source, attachments=attachments), ledger=ledger)
    assert article_of(page).count(DOT_URI) == 2
    assert [entry.what for entry in ledger.left_out] == ["Picture `gone.gif`"]


def test_publish_names_the_newest_page_of_each_notebook_and_json_all():
    entry = Ledger().left_out or []
    ledger = Ledger()
    page_of(code(shown(**BUNDLES["Plotly figure"])), ledger=ledger)
    entry = ledger.left_out
    entries = left_out_entries({"p/r2/a.html": entry, "p/r1/a.html": entry, "q/r1/a.html": entry})
    assert [one.page for one in entries] == ["p/r2/a.html", "p/r1/a.html", "q/r1/a.html"]
    assert [line.split(":")[0] for line in left_out_lines(entries)] == ["p/r2/a.html", "q/r1/a.html"]


def label(inner, place="x='0' width='90' height='20'"):
    return f"<foreignObject {place}><p xmlns='http://www.w3.org/1999/xhtml'>{inner}</p></foreignObject>"


def multiplied(kind, use, n=9, times=10):
    parts = [f"<{kind} id='k0'><rect width='9' height='9'/></{kind}>"]
    parts += [f"<{kind} id='k{i}'>" + use % f"#k{i - 1}" * times + f"</{kind}>" for i in range(1, n)]
    return "".join(parts) + use % f"#k{n - 1}"


FILTERED = "<filter id='f'>{}</filter><rect filter='url(#f)'/>"
COSTLY = {
    "use": multiplied("g", "<use href='%s'/>"),
    "use of old": multiplied("symbol", "<use xlink:href=' %s'/>"),
    "use never drawn": f"<defs>{multiplied('g', '''<use href='%s'/>''')}</defs>",
    "use through style": multiplied("g", "<use href='%s' style='fill: red'/>"),
    "pattern": multiplied("pattern", "<rect fill='url(%s)'/>"),
    "pattern inherited": multiplied("pattern", "<g stroke=\"url('%s')\"><rect/></g>"),
    "mask": multiplied("mask", "<rect style='/**/mask: url(&quot;%s&quot;)'/>"),
    "clip": multiplied("clipPath", "<rect clip-path='URL( %s )'/>"),
    "marker": multiplied("marker", "<path d='M0 0L5 5L9 9' marker-mid='url(%s)'/>"),
    "vertices": "<marker id='m'><path d='M0 0'/></marker><path d='M0 0"
    + "h1" * 200_000
    + "' marker='url(#m)'/>",
    "sheet": "<style>.a {fill: url(#k8)}"
    + "".join(f"#k{i} rect {{fill: url(#k{i - 1})}}" for i in range(1, 9))
    + "</style>"
    + "".join(f"<pattern id='k{i}'>{'<rect/>' * 10}</pattern>" for i in range(9))
    + "<rect class='a'/>",
    "circle of all": "".join(f"<g id='k{i}'>{'<use href=`#k%d`/>' * 9}</g>" for i in range(9)).replace(
        "`", "'"
    )
    % (*[*range(9)] * 9,),
    "dashes": "<path d='M0 0H1000' stroke-dasharray='1e-9'/>",
    "dashes inherited": "<g style='stroke-dasharray: .000001 .000001'><circle r='1000'/></g>",
    "dashes of a sheet": "<style>path {stroke-dasharray: 1e-7px}</style><path d='M0 0H1000'/>",
    "dashes by length": "<path d='M0 0H1' pathLength='1e9' stroke-dasharray='1'/>",
    "octaves": FILTERED.format("<feTurbulence numOctaves='999999'/>"),
    "blur": FILTERED.format("<feGaussianBlur stdDeviation='1e8'/>"),
    "growth": FILTERED.format("<feMorphology radius='1e5'/>"),
    "place": "<filter id='f' x='-1e6%' width='2e6%' height='2e6%'><feFlood/></filter><g filter='url(#f)'/>",
    "steps": FILTERED.format("<feFlood/>" * 300),
    "functions": "<g style='filter: blur(1px)'/>" * 300,
    "text": f"<text>{'a' * 2_000_000}</text>",
    "deep": "<g>" * 250 + "</g>" * 250,
    "deep use": "<g id='k0'/>" + "".join(f"<use id='k{i}' href='#k{i - 1}'/>" for i in range(1, 250)),
}


QUICK = ("use", "dashes", "dashes of a sheet", "octaves", "place", "deep", "deep use")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in COSTLY]
)
def test_drawing_that_no_browser_would_finish_is_refused(name):
    with pytest.raises(Refused, match=r"draws more than|deep"):
        redraw(SVG.format(COSTLY[name]).encode())


def test_refused_drawing_is_said_wherever_it_stands(project):
    drawing = SVG.format(COSTLY["octaves"])
    (project / "nbs/p/bomb.svg").write_text(drawing)
    written = base64.b64encode(drawing.encode()).decode()
    cells = (
        text("# T\n\n![](bomb.svg)"),
        text(f"# T\n\n<img src='data:image/svg+xml;base64,{written}'>"),
        text("# T\n\n![](attachment:a)", attachments={"a": {"image/svg+xml": written}}),
        code(html_output(drawing)),
        code(shown(**{"image/svg+xml": drawing, "text/plain": "the curve"})),
        code(shown(**{WIDGET: {"model_id": "a"}})),
    )
    image = {"state": {"format": "svg+xml"}, "buffers": [{"path": ["value"], "data": written}]}
    for cell in cells:
        ledger = Ledger(Pictures(project, project / ".mlnb", project / "nbs/p"))
        page = page_of(text("# T"), cell, ledger=ledger, states={"a": {"model_name": "ImageModel", **image}})
        assert "svg+xml;base64" not in page
        assert ["draws more than" in entry.why for entry in ledger.left_out] == [True]


HARMLESS = {
    "matplotlib": "<defs><clipPath id='c'><rect width='9' height='9'/></clipPath><path id='m' "
    "d='M0 3C1 3 2 3 3 0z'/></defs><g clip-path='url(#c)'>"
    + "<use xlink:href='#m' x='1' y='2' style='stroke: #1f77b4'/>"
    * 5000
    + "</g>"
    "<path d='M0 0 L 400 300' style='fill: none; stroke-dasharray: 3.7,1.6'/>",
    "mermaid": "<style>@keyframes a {from {x: 0}} .node rect {fill: #ECECFF}</style>"
    "<filter id='f' height='130%'><feDropShadow dx='4' dy='4' stdDeviation='0'/></filter>"
    "<marker id='e'><path d='M0 0L9 5z'/></marker>"
    + "<g class='node' filter='url(#f)'><rect/></g><path d='M0 0L5 5' marker-end='url(#e)'/>"
    * 100,
    "graphviz": "<g><a xlink:href='x.html' xlink:title='t'><ellipse rx='9'/><text>node</text></a></g>" * 300,
    "one gradient": "<style>.a {fill: url(#g)}</style><linearGradient id='g'><stop/></linearGradient>"
    + "<path class='a' d='M0 0H9'/>" * 900,
    "circle": "<pattern id='p'><rect fill='url(#p)'/></pattern><rect fill='url(#p)'/>"
    "<g id='g'><use href='#g'/></g>",
}


@pytest.mark.parametrize("name", HARMLESS)
def test_drawing_that_a_program_made_for_people_is_shown_whole(name):
    drawing = SVG.format(HARMLESS[name])
    redrawn = redraw(drawing.encode())
    kept = [redrawn.svg.count(f"<{tag}".encode()) for tag in ("use", "path", "rect", "ellipse", "text")]
    assert kept == [drawing.count(f"<{tag}") for tag in ("use", "path", "rect", "ellipse", "text")]
    assert redrawn.lost == "" and (b"fill: #ECECFF" in redrawn.svg) == (name == "mermaid")


def test_labels_of_a_drawing_in_html_are_kept_as_text_and_said(project):
    drawing = SVG.format(
        label("LABEL <b>one</b><br/>and two") + "<g transform='scale(2)'>" + label("three") + "</g>"
    )
    (project / "nbs/p/flow.svg").write_text(drawing)
    ledger = Ledger(Pictures(project, project / ".mlnb", project / "nbs/p"))
    output = code(shown(**{"image/svg+xml": drawing}))
    page = page_of(text("# T"), text("![](flow.svg) ![](flow.svg)"), text(drawing), output, ledger=ledger)
    drawn = [base64.b64decode(one) for one in re.findall(r'svg\+xml;base64,([^"]+)', page)]
    lines = [re.findall(rb"<tspan[^>]*>([^<]*)<", svg) for svg in drawn]
    assert lines == [[b"LABEL one", b"and two", b"three"]] * 4
    assert [entry.what for entry in ledger.left_out] == [
        "A part of picture `flow.svg`",
        "A part of picture `flow.svg`",
        "A part of a drawing",
        "A part of a drawing",
    ]
    assert [page.count(f'id="gone-{n}"') for n in range(1, 5)] == [1] * 4 and faults(page) == []


@pytest.mark.parametrize(
    "inside,said",
    [
        (f"<switch>{label('LABEL')}<text>own</text></switch>", ""),
        (label("<img src='x'/>"), "HTML that is no text"),
        ("<image href='https://e.org/a.png'/>", "fetches nothing"),
        (f"<image href='{DOT_URI}'/>", ""),
        (label(""), ""),
    ],
)
def test_what_is_lost_of_a_drawing_is_said_and_nothing_else(inside, said):
    redrawn = redraw(SVG.format(inside).encode())
    assert said in redrawn.lost and bool(said) == bool(redrawn.lost)
    assert b"LABEL" not in redrawn.svg


def png(width, height):
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0) + bytes(4)


def huge(kind, side=60_000):
    frame = b"\x2c" + struct.pack("<HHHH", 0, 0, side, side)
    return {
        "png": png(side, side),
        "gif": b"GIF89a" + struct.pack("<HHBBB", side, side, 0, 0, 0),
        "gif frame": b"GIF89a"
        + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0)
        + bytes(6)
        + b"!\xf9\x04abcd\0"
        + frame,
        "jpeg": b"\xff\xd8\xff\xe0\0\4ab\xff\xff\xc2\0\x11\x08" + struct.pack(">HH", side, side),
        "webp": b"RIFF\0\0\0\0WEBPVP8X" + bytes(8) + (side - 1).to_bytes(3, "little") * 2,
        "webp lossless": b"RIFF\0\0\0\0WEBPVP8L" + bytes(5) + struct.pack("<I", (1 << 28) - 1),
        "webp lossy": b"RIFF\0\0\0\0WEBPVP8 " + bytes(10) + struct.pack("<HH", 16_383, 16_383),
    }[kind]


KINDS = ("png", "gif", "gif frame", "jpeg", "webp", "webp lossless", "webp lossy")


@pytest.mark.parametrize("kind", KINDS)
def test_picture_that_unpacks_to_gigabytes_is_refused_wherever_it_stands(kind, project):
    data = huge(kind)
    assert count_dots(data) > MOST_DOTS
    written, mime = base64.b64encode(data).decode(), f"image/{bitmap_kind(data)}"
    (project / "nbs/p/bomb.png").write_bytes(data)
    drawing = SVG.format(f"<image href='data:{mime};base64,{written}'/><rect/>")
    ledger = Ledger(Pictures(project, project / ".mlnb", project / "nbs/p"))
    named = text("![](bomb.png) ![](attachment:a)", attachments={"a": {mime: written}})
    inside = text(f"<img src='data:{mime};base64,{written}'>")
    page = page_of(text("# T"), named, inside, code(shown(**{mime: written})), ledger=ledger)
    assert written not in page and len(ledger.left_out) == 4
    assert {entry.why for entry in ledger.left_out} == {"it has more than 100 megapixels"}
    assert written.encode() not in redraw(drawing.encode()).svg


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(KINDS), st.integers(0, 60), st.binary(max_size=30))
def test_any_beginning_of_a_picture_is_measured_without_a_fault(kind, n_kept, rest):
    assert count_dots(huge(kind, 300)[:n_kept] + rest) >= 0


FORMS = {  # type → good, bad (no such thing, or broken), what shows that it is there
    "text/html": ("<b>HTML</b>", "<script>draw()</script>", "HTML"),
    "text/markdown": ("MARKDOWN", "<!-- nothing -->", "MARKDOWN"),
    "image/svg+xml": (SVG.format("<rect/>"), "<html/>", "svg+xml;base64"),
    "image/png": (base64.b64encode(png(2, 2)).decode(), "aGk=", "image/png;base64"),
    "text/latex": ("$LATEX$", "$$ $$", "formula"),
    "text/plain": ("PLAIN", "<x.Y at 0x7f>", "PLAIN"),
    "application/json": ({"JSON": 1}, {}, "JSON"),
}


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(list(FORMS)), st.sampled_from(["good", "bad", "empty", "odd"]), min_size=1
    )
)
def test_some_form_of_an_output_is_shown_or_its_absence_is_said(chosen):
    odd = {"good": 0, "bad": 1}
    data = {
        mime: FORMS[mime][odd[how]] if how in odd else {"empty": "", "odd": 5}[how]
        for mime, how in chosen.items()
    }
    ledger = Ledger()
    article = article_of(page_of(text("# T"), code(shown(**data)), ledger=ledger))
    good = [mime for mime, how in chosen.items() if how == "good"]
    is_shown = any(FORMS[mime][2] in article or "<math" in article for mime in good)
    assert is_shown or not good or "5" in re.findall(r">\s*(5)\s*<", article)
    bad_pictures = {mime for mime in data if mime.startswith("image/") and mime not in good}
    if bad_pictures and "<img" not in article:
        assert {entry.what for entry in ledger.left_out} >= {
            f"Form `{mime}` of an output" for mime in bad_pictures
        }
    assert all(f'id="gone-{n}"' in article for n in range(1, len(ledger.left_out) + 1))


def test_form_that_cannot_be_read_gives_way_to_the_next(monkeypatch):
    deep = "<div class='sk-top-container'>" + "<div class='sk-item'>" * 3_000
    data = {"text/html": deep, "image/png": ["aG", "k="], "text/latex": " ", "text/plain": ["the ", "curve"]}
    ledger = Ledger()
    page = page_of(text("# T"), code(shown(**data)), ledger=ledger)
    assert "<pre>the curve</pre>" in page
    assert "Form `image/png` of an output" in {entry.what for entry in ledger.left_out}
