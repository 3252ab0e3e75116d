"""What stands on a page for elements, controls, types and names that it cannot take over as they are: every
element leaves its text, its value or a note, no secret is shown, and a note says what fits."""

import re

import pytest
from test_publish_media import (
    BUNDLES,
    WIDGET,
    Page,
    article_of,
    code,
    faults,
    html_output,
    page_of,
    shown,
    text,
)

from mlnb.publish.embedding import embed
from mlnb.publish.estimators import MODEL_STYLE
from mlnb.publish.layout import STYLE
from mlnb.publish.ledger import NOTE_STYLE, Ledger
from mlnb.publish.outputs import render_output
from mlnb.publish.places import prose_cell
from mlnb.publish.prose import CLASSES
from mlnb.publish.stand_ins import GROUPS, LET_THROUGH, TITLE_STYLE, stand_ins
from mlnb.publish.styles import PAPER
from mlnb.terminal.publish import left_out_entries, left_out_lines


def test_names_that_a_page_gives_are_in_no_style_sheet_that_reaches_them():
    from pygments.formatters import HtmlFormatter

    styled = (
        "<style>.s1 b, #T_1 .k {color: red}</style><b id=T_1 class='s1 k'>b</b><i style='color: red'>i</i>"
    )
    ledger = Ledger()
    pages = [embed(styled, ledger) for _ in range(3)]
    given = {name for page in pages for _, a in Page(page).found for name in (a.get("class") or "").split()}
    given |= {a[key] for page in pages for _, a in Page(page).found for key in ("id", "data-s") if key in a}
    given -= {"paper"}
    sheets = STYLE + PAPER + NOTE_STYLE + MODEL_STYLE + TITLE_STYLE + HtmlFormatter().get_style_defs()
    taken = set(re.findall(r"[.#]([A-Za-z][\w-]*)", sheets)).union(*CLASSES.values())
    taken |= {"data", "index_name", "blank", "pd-t", "dataframe"}
    taken |= {f"{kind}{n}" for kind in ("row", "col", "level") for n in range(9)}
    assert len(given) == 3 * 5 and not given & taken
    assert not [name for name in given if not re.match(r"(scope|mark)-\d", name)]
    assert not [name for name in taken if name.startswith(("scope-", "mark-"))]


NAMES = """a abbr acronym address applet area article aside audio b base basefont bdi bdo bgsound big blink
blockquote body br button canvas caption center cite code col colgroup content data datalist dd del
details dfn dialog dir div dl dt em embed fieldset figcaption figure font footer form frame frameset h1
h2 h3 h4 h5 h6 head header hgroup hr html i iframe image img input ins isindex kbd keygen label legend
li link listing main map mark marquee math menu menuitem meta meter multicol nav nextid nobr noembed
noframes noscript object ol optgroup option output p param picture plaintext portal pre progress q rb rp
rt rtc ruby s samp search section select shadow slot small source spacer span strike strong sub summary
sup svg table tbody td template textarea tfoot th thead time title tr track tt u ul var video wbr xmp
my-plot o:p string x"""
STANDARD = NAMES.split()
SHOWS_NOTHING = {
    "base",
    "link",
    "meta",
    "param",
    "source",
    "track",
    "area",
    "col",
    "wbr",
    "br",
    "hr",
}  # in a browser, by itself
SHOWN_WITH_TEXT = {"title", "noscript", "template"}
AROUND = ["{}", "before {} behind", "<div>{}</div>", "<ul><li>{}</li></ul>", "<b>a</b>{}<i>c</i>"]


def is_kept(html, words):
    "Whether words are in a part of a page, or a note or a drawing is; and nothing is there that could act."
    assert faults(html) == []
    return words in re.sub(r"<[^>]*>", " ", html) or 'class="gone"' in html or "data:image/svg" in html


@pytest.mark.parametrize("tag", STANDARD)
def test_every_element_leaves_its_text_or_a_note_in_texts_and_in_outputs(tag):
    words = "three words here"
    for form in (f"<{tag}>{words}</{tag}>", f"<{tag.upper()} class=a data-x='>'>{words}</{tag.upper()} >"):
        for html in (around.format(form) for around in AROUND):
            assert is_kept(prose_cell(f"word {html}\n\nmore", None, [], Ledger()), words), html
            assert is_kept(prose_cell(html, None, [], Ledger()), words), html
            assert is_kept(render_output(html_output(html)), words), html


@pytest.mark.parametrize(
    "tag", sorted({*STANDARD} - SHOWS_NOTHING - GROUPS - LET_THROUGH - SHOWN_WITH_TEXT | {"img"})
)
def test_element_that_does_not_only_group_leaves_a_value_or_a_note_without_a_text_too(tag):
    for form in (f"<{tag}></{tag}>", f"<{tag} a=b>", f"<{tag}/>"):
        seen = embed(f"a {form} b", Ledger())
        assert re.sub(r"<(?!img|math)[^>]*>|\s", "", seen) != "ab", form


CONTROLS = {
    "<input type=checkbox checked>": "☑",
    "<INPUT TYPE='radio'>": "○",
    "<input value='typed'>": "typed",
    "<input type=range value=3>": "3",
    "<progress value=3 max=10></progress>": "3 of 10",
    "<progress></progress>": "…",
    "<meter value=0.4>40 %</meter>": "0.4",
    "<select><option>o1<option selected>o2</select>": "o2 (of o1, o2)",
    "<select multiple><option value=1 selected>a</option><option selected label=b></option></select>": "a, b",
    "<select><optgroup label=g><option>o1</optgroup></select>": "o1",
    "<textarea>txt &lt;b&gt; <i></textarea>": "txt &lt;b&gt; &lt;i&gt;",
    "<textarea placeholder=why></textarea>": "why",
    "<math><mfrac><mi>x</mi><mn>2</mn></mfrac></math>": "<mfrac><mi>x</mi><mn>2</mn></mfrac>",
    "<math xmlns='http://www.w3.org/1998/Math/MathML'><mi>&alpha;</mi></math>": "<mi>α</mi>",
}


@pytest.mark.parametrize("html", CONTROLS)
def test_control_shows_its_value_and_nothing_is_in_the_ledger(html):
    for wrapped in (html, f"<table><tr><td>{html}</td></tr></table>"):
        ledger, kept_text = (
            Ledger(),
            shown(**{"text/html": wrapped, "text/plain": "<IPython.core.display.HTML object>"}),
        )
        article = article_of(page_of(code(kept_text), ledger=ledger))
        assert CONTROLS[html] in article and "IPython.core" not in article and ledger.left_out == []
    article = article_of(page_of(text(f"# T\n\nword {html} more")))
    assert CONTROLS[html] in article


def test_tasks_of_a_list_are_ticked_or_not():
    article = article_of(page_of(text("# T\n\n- [ ] open\n- [x] done")))
    assert re.findall(r"<li>(.)\s*(\w+)</li>", article) == [("☐", "open"), ("☑", "done")]


SECRETS = ["<input type=password value=hunter2>", "<INPUT value='hunter2' type = 'PassWord '>"]


@pytest.mark.parametrize(
    "model",
    [
        {"model_name": "PasswordModel", "state": {"value": "hunter2", "description": "pw"}},
        {"model_name": "PasswordModel", "state": {"value": "", "description": "pw"}},
        {"model_name": "TextModel", "state": {"value": "hunter2", "_view_name": "PasswordView"}},
        {"model_name": "VuetifyTextFieldModel", "state": {"value": "hunter2", "type": "password"}},
        {"model_name": "TextModel", "state": {"value": "hunter2", "description": "API token"}},
        {"model_name": "TextareaModel", "state": {"value": ["hunter2"], "placeholder": "Your secret"}},
    ],
)
def test_secret_of_a_widget_is_eight_dots(model):
    box = {"model_name": "TabModel", "state": {"children": ["IPY_MODEL_a"], "titles": ["first <b>"]}}
    view = shown(**{WIDGET: {"model_id": "box"}, "text/plain": "Tab(children=(Password(description='pw'),))"})
    page = page_of(code(view), states={"a": model, "box": box})
    assert "hunter2" not in page and re.search(r"[^•]•{8}[^•]", page) and "<b>first &lt;b&gt;</b>" in page


@pytest.mark.parametrize("html", SECRETS)
def test_secret_of_an_input_is_eight_dots(html):
    assert re.sub("[^•]", "", page_of(text(f"# T\n\n{html}"))) == "•" * 8
    page = page_of(code(html_output(f"<td>{html}<input type=hidden value=hunter2></td>")))
    assert "hunter2" not in page and "•" * 8 in page


def test_what_a_notebook_hid_of_its_widgets_is_on_no_page():
    states = {
        "box": {"model_name": "HBoxModel", "state": {"children": ["IPY_MODEL_a", "IPY_MODEL_b"]}},
        "a": {"model_name": "TextModel", "state": {"value": "behind", "layout": "IPY_MODEL_l"}},
        "b": {"model_name": "TextModel", "state": {"value": "before", "layout": "IPY_MODEL_none"}},
        "l": {"model_name": "LayoutModel", "state": {"display": "none"}},
    }
    page = page_of(code(shown(**{WIDGET: {"model_id": "box"}})), states=states)
    assert "before" in page and "behind" not in page


LABELS = {"_options_labels": ["a", "b", "c"]}
VALUES = {
    "a, c": ("SelectMultipleModel", LABELS | {"index": [0, 2]}),
    "▭": ("SelectMultipleModel", LABELS | {"index": []}),
    "b": ("DropdownModel", LABELS | {"index": 1}),
    "from: 2, 4": ("IntRangeSliderModel", {"value": [2, 4], "description": "from"}),
    "2026-03-09": ("DatePickerModel", {"value": {"year": 2026, "month": 2, "date": 9}}),
    "when: ▭": ("DatePickerModel", {"value": None, "description": "when"}),
    "07:05:00": ("TimePickerModel", {"value": {"hours": 7, "minutes": 5, "seconds": 0, "milliseconds": 0}}),
    "keep: ☑": ("CheckboxModel", {"value": True, "description": "keep"}),
    "rows.csv": ("FileUploadModel", {"value": [{"name": "rows.csv", "content": None}]}),
    "3.0 of 9.0": ("FloatProgressModel", {"value": 3.0, "max": 9.0}),
    "d <i>v</i>": ("HTMLModel", {"value": "<i>v</i>", "description": "d"}),
    "<mi>y</mi></math>": ("HTMLMathModel", {"value": "$y$"}),
    "5 &lt; 6": ("LabelModel", {"value": "5 < 6"}),
}


@pytest.mark.parametrize("said", VALUES)
def test_control_of_a_widget_says_its_value(said):
    name, state = VALUES[said]
    ledger = Ledger()
    page = page_of(
        code(shown(**{WIDGET: {"model_id": "a"}})),
        states={"a": {"model_name": name, "state": state}},
        ledger=ledger,
    )
    assert said in article_of(page) and ledger.left_out == []


def test_bar_between_words_is_not_told_twice():
    parts = {n: {"model_name": "HTMLModel", "state": {"value": f"{n} words"}} for n in "ac"}
    parts["b"] = {"model_name": "FloatProgressModel", "state": {"value": 3.0, "max": 3.0}}
    box = {"model_name": "HBoxModel", "state": {"children": [f"IPY_MODEL_{n}" for n in "abc"]}}
    page = article_of(page_of(code(shown(**{WIDGET: {"model_id": "box"}})), states={**parts, "box": box}))
    assert "a words" in page and "c words" in page and "3.0" not in page


def test_tip_of_a_styled_cell_is_its_title():
    tips = '<style>#T_1 #T_1_row0_col0 .pd-t::after {\n  content: "a <b> \\"tip";\n}</style>'
    cell = "<table id='T_1'><tr><td id='T_1_row0_col0'>1<span class='pd-t'></span></td></tr></table>"
    page = page_of(code(html_output(tips + cell)))
    assert [a["title"] for tag, a in Page(page).found if tag == "td" and "title" in a] == ['a <b> \\"tip']
    assert faults(page) == []
    titled = page_of(
        code(html_output("<td title='one'>1</td><table><tr><td title='two'>1</td></tr></table>"))
    )
    assert 'title="two"' in titled and faults(titled) == []


def test_fallback_of_a_sound_or_film_is_not_printed():
    for tag in ("audio", "video"):
        html = f"<{tag} controls><source src='data:x'>Your browser does not support it.</{tag}>"
        assert "Your browser" not in page_of(code(html_output(html)), text(f"# T\n\n{html}"))


TYPES = {
    "text/csv": ("a,b", "<pre>a,b</pre>"),
    "text/x-anything": (["a\n", "<b>"], "<pre>a\n&lt;b&gt;</pre>"),
    "application/geo+json": ({"type": "Point"}, '"type": "Point"'),
    "application/xml": ("<a/>", "&lt;a/&gt;"),
    "application/x-yaml": ("a: 1", "a: 1"),
}


@pytest.mark.parametrize("mime", TYPES)
def test_output_that_is_text_of_any_type_is_shown_as_text(mime):
    value, said = TYPES[mime]
    ledger = Ledger()
    page = page_of(code(shown(**{mime: value, "text/plain": "<X object>"})), ledger=ledger)
    assert said in article_of(page) and ledger.left_out == []


def test_output_of_a_type_that_no_page_knows_has_a_mend_that_fits():
    ledger = Ledger()
    page_of(code(shown(**{"application/x-new": "1"})), ledger=ledger)
    assert "matplotlib" not in ledger.left_out[0].sentence() and "script" not in ledger.left_out[0].sentence()


@pytest.mark.parametrize(
    "address,what,mend",
    [
        ("data.csv", "Target `data.csv` of a link", "own-pages"),
        ("../helper.py?x#y", "Target `helper.py` of a link", "Copy it"),
        ("pics/", "Target `pics/` of a link", "a notebook"),
        ("a/b/", "Target `b/` of a link", "a notebook"),
        ("x.ipynb", "Target `x.ipynb` of a link", "a notebook"),
        ("#Gone", "Target `#Gone` of a link", "a heading"),
    ],
)
def test_link_that_leads_nowhere_is_called_by_its_name_and_has_a_mend_that_fits(address, what, mend):
    ledger = Ledger()
    page = page_of(text(f"# T\n\n[a]({address})"), ledger=ledger)
    assert (ledger.left_out[0].what, mend in ledger.left_out[0].mend) == (what, True)
    assert "1 link leads nowhere" in page and "not shown" not in page.partition("<article>")[0]


@pytest.mark.parametrize(
    "svg",
    ["<svg width=100><text x=0>a&nbsp;b</text></svg>", "<svg viewBox='0 0 9 9' hidden><path d=M0/></svg>"],
)
def test_drawing_that_html_forgives_is_drawn(svg):
    ledger = Ledger()
    page = page_of(text(f"# T\n\n{svg}"), code(html_output(svg)), ledger=ledger)
    assert page.count("data:image/svg+xml") == 2 and ledger.left_out == []


def test_drawing_that_nobody_can_read_has_a_mend_that_fits():
    ledger = Ledger()
    page_of(text("# T\n\n<svg><g></svg>"), code(html_output("<svg><a:b/></svg>")), ledger=ledger)
    assert [entry.what for entry in ledger.left_out] == ["Drawing"] * 2
    assert all("Close all its elements" in entry.mend for entry in ledger.left_out)


@pytest.mark.parametrize(
    "piece",
    ["<iframe>", "<foo>", "<a '", '<a "', "<!--", "<math>", "<select>", "<x></y>", "<noscript>", "</x "],
)
def test_many_beginnings_of_elements_come_to_an_end(piece):
    for html in (piece * 3_000, piece * 3_000 + "</foo></iframe></math>\"'-->"):
        made = stand_ins(html, Ledger())
        assert made[1].fill(made[0]) is not None


def test_notices_of_pages_that_did_not_change_are_counted_and_not_repeated():
    ledger = Ledger()
    page_of(code(shown(**BUNDLES["Plotly figure"])), ledger=ledger)
    left_out = {"p/r1/a.html": ledger.left_out, "p/r1/b.html": ledger.left_out}
    lines = left_out_lines(left_out_entries(left_out, ("p/r1/b.html",)))
    assert [line.partition(":")[0] for line in lines] == [
        "p/r1/b.html",
        "1 notice of pages that are as they were, see --json",
    ]


@pytest.mark.parametrize("kind", ["raw", "heading"])
def test_cell_that_is_neither_text_nor_code_is_there_folded_and_inert(kind):
    cell = {"cell_type": kind, "source": ["\\\\newpage\n", "<script>attack()</script>"], "metadata": {}}
    page = page_of(text("# T"), cell)
    assert "newpage" in page and "&lt;script&gt;" in page and faults(page) == []
    assert "Raw text" not in page_of(text("# T"), cell | {"source": " \n"})


def test_list_keeps_how_it_counts():
    html = "<ol type=a reversed><li value=3>x</li></ol>"
    assert '<ol type="a" reversed=""><li value="3">' in page_of(text(f"# T\n\n{html}"))


DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def test_animation_is_its_first_frame_and_a_note_without_buttons():
    frame = DOT[:40] + "\\\n" + DOT[40:] + "\\\n"
    script = f'frames[0] = "data:image/png;base64,{frame}"\nframes[1] = "data:image/png;base64,xx=="'
    buttons = "<div class='anim-controls'><input type=range><button>+</button>Once</div>"
    html = f"<div><img id=_anim_img1>{buttons}</div><script>{script}</script>"
    ledger = Ledger()
    article = article_of(page_of(code(html_output(html)), ledger=ledger))
    assert article.count("<img") == 1 and f'base64,{DOT}"' in article and "Once" not in article
    assert [entry.what for entry in ledger.left_out] == ["Animation"]


def test_html_with_nothing_to_see_leaves_no_address_of_an_object():
    told = "<IPython.core.display.HTML object>"
    for html in ("<style>b {color: red}</style>", "<div></div>", ""):
        assert "IPython" not in page_of(code(shown(**{"text/html": html, "text/plain": told})))
    assert "a.B object" in page_of(code(shown(**{"text/plain": "<a.B object at 0x7f>"})))
