"""Formulas on a page: each kind is drawn, each place read as its author meant it, nothing hostile gets in."""

import re
from html import unescape
from html.parser import HTMLParser
from xml.etree.ElementTree import fromstring

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlnb.publish.delimiters import find_formulas, show_latex
from mlnb.publish.formulas import ATTRIBUTE_FORMS, ELEMENTS, Formulas, formula, safe_mathml
from mlnb.publish.macros import NotShown
from mlnb.publish.outputs import render_output
from mlnb.publish.pages import Facts, render
from mlnb.publish.prose import clean, markdown

KINDS = {  # TeX, and what its MathML holds
    r"\begin{align} a &= b \\ c &= \frac12 \end{align}": ['<mtd class="r q0">', "<mfrac>"],
    r"\begin{align*} a &= b \end{align*}": ['<mtd class="r q0">'],
    r"\begin{aligned} a &= b \\ &= c \end{aligned}": ['<mtd class="l p0">'],
    r"\begin{split} a &= b \\ &= c \end{split}": ['<mtd class="r q0">'],
    r"\begin{eqnarray} a &=& b \\ c &\le& d \end{eqnarray}": ['<mtd class="l p0">', "<mo>≤</mo>"],
    r"\begin{alignat}{2} a &= b &\quad c &= d \end{alignat}": ['<mtd class="r q0">'],
    r"\begin{gather} a \\ b \end{gather}": ["<mtable"],
    r"\begin{multline} a \\ b \end{multline}": ["<mtable"],
    r"\begin{equation} a = b \end{equation}": ["<mi>a</mi><mo>=</mo>"],
    r"f = \begin{cases} 1 & \text{if $x>0$} \\ 0 & \text{else}\end{cases}": [
        "<mo>{</mo>",
        "<mtext>if\xa0</mtext>",
    ],
    r"\begin{pmatrix}1&2\\3&4\end{pmatrix}": ["<mo>(</mo><mtable", "<mn>4</mn>"],
    r"\begin{bmatrix}1&2\end{bmatrix}": ["<mo>[</mo><mtable"],
    r"\begin{bmatrix*}[r]1&2\end{bmatrix*}": ["<mo>[</mo><mtable"],
    r"\begin{vmatrix}1&2\end{vmatrix}": ["<mo>|</mo><mtable"],
    r"\begin{matrix}1&2\end{matrix}": ["<mtable"],
    r"\left(\begin{smallmatrix}1&2\end{smallmatrix}\right)": ["<mtable", 'scriptlevel="1"'],
    r"\begin{array}[t]{@{}c|p{2cm}}1&2\\\hline 3&4\end{array}": ["line-right", "line-top"],
    r"\pmatrix{1 & 2 \cr 3 & 4}": ["<mo>(</mo><mtable", "<mn>4</mn>"],
    r"\underset{x}{\max}": ["<munder>"],
    r"\overset{d}{=}": ["<mover>"],
    r"\stackrel{d}{=}": ["<mover>"],
    r"\underbrace{a+b}_{n}": ["<munder>", "⏟"],
    r"{a \over b}": ["<mfrac><mi>a</mi><mi>b</mi></mfrac>"],
    r"a \le b \leq c": ["<mo>≤</mo>"],
    r"\lVert x \rVert": ["‖"],
    r"\tfrac12 \dfrac12": ['<mfrac displaystyle="false">', '<mfrac displaystyle="true">'],
    r"\bm{x}": ["𝒙"],
    r"\pmb{x}": ["𝒙"],
    r"\boldsymbol{\beta}": ["𝜷"],
    r"\textbf{bold}": ['<mtext class="bold">bold</mtext>'],
    r"\text{a_b, 50% and $x$}": ["<mtext>a_b,\xa050%\xa0and\xa0</mtext><mi>x</mi>"],
    r"\mbox{if }": ["<mtext>if\xa0</mtext>"],
    r"\mathrm{d}x": ['<mi mathvariant="normal">d</mi>'],
    r"\color{red}{x} + y": ['<mrow mathcolor="#FF0000"><mi>x</mi></mrow>'],
    r"\textcolor{blue}{x}": ['mathcolor="#0000FF"'],
    r"\color{#0a0} x": ['mathcolor="#00AA00"'],
    r"\textcolor{darkgreen}{x}": ['mathcolor="#006400"'],
    r"\displaystyle \sum_i": ['displaystyle="true"'],
    r"\Bigl( x \Bigr)": ["minsize="],
    r"\left< x \right>": ["⟨", "⟩"],
    r"\xrightarrow{n\to\infty}": ["→", "∞"],
    r"\operatorname{Var}(X)": ["<mi>Var</mi>"],
    r"\operatorname*{argmax}_x": ["<munder>"],
    r"\mathop{\rm argmin}\limits_x": ["<munder>", "argmin"],
    r"\mathbb{E}": ["𝔼"],
    r"\mathcal{N}": ["𝒩"],
    r"\mathbbm{1}": ["𝟙"],
    r"\sum\limits_{i}": ["<munder>"],
    r"\not= \not\in": ["≠", "∉"],
    r"\sum_{\substack{i\\j}}": ["<munder>", 'scriptlevel="1"'],
    r"\widehat{x}\widetilde{y}": ["<mover"],
    r"\left. x \right|_{a}": ["<msub>"],
    r"\binom{n}{k}": ['linethickness="0"'],
    r"\boxed{x}": ['<mrow class="boxed">'],
    r"\cancel{x}": ['<mrow class="struck">'],
    r"a \nonumber": ["<mi>a</mi>"],
    r"a = b \\ c = d": ["<mtable"],
    r"a &= b \\ &= c": ['<mtd class="r q0">'],
    r"\newcommand{\R}{\mathbb{R}} x\in\R": ["ℝ"],
    r"\newcommand{\p}[2][q]{#1(#2)} \p{x}": ["<mi>q</mi>"],
    r"\def\half{\frac12} \half": ["<mfrac>"],
    r"\DeclareMathOperator*{\argmin}{arg\,min} \argmin_x": ["<munder>"],
    r"\large x \, \unicode{x2260}": ["≠"],
    r"a % \frac{comment": ["<mi>a</mi>"],
    r"\$5": ["<mi>$</mi>"],
}


@pytest.mark.parametrize("tex", KINDS)
def test_kind_of_formula_is_drawn(tex):
    html = formula(tex, True)
    fromstring(html)
    assert html.startswith("<math ") and not [part for part in KINDS[tex] if part not in html], html
    assert formula(tex).startswith("<math "), "in a line"


def shown(text):
    "The formulas of a markdown text as their TeX, and the words around."
    html = markdown(text)
    return list(map(unescape, re.findall(r'alttext="([^"]*)"', html))), re.sub(
        r"<math.*?</math>", "·", html
    ).strip()


PLACES = {
    "a $x$ b": (["x"], "<p>a · b</p>"),
    "a $ x $ b": (["x"], "<p>a · b</p>"),
    "$$\nx\n\n- y\n$$": (["x\n\n- y"], "<p>·</p>"),
    r"\\(x\\) \\[y\\]": (["x", "y"], "<p>· ·</p>"),
    r"\(x^2\) \[\alpha\] \[1\] \(see\)": (["x^2", r"\alpha"], "<p>· · [1] (see)</p>"),
    "\\begin{align}\na &= b\n\\end{align}": (["\\begin{align}\na &= b\n\\end{align}"], "<p>·</p>"),
    "costs $5 and $7": ([], "<p>costs $5 and $7</p>"),
    "from $5,000 to $7,000 and $9.": ([], "<p>from $5,000 to $7,000 and $9.</p>"),
    "$5 and $x$": (["x"], "<p>$5 and ·</p>"),
    r"It is $5 and $7, escaped \$3, then $x_i$.": (["x_i"], "<p>It is $5 and $7, escaped $3, then ·.</p>"),
    r"From $5 to \$7 where $n=3$.": (["n=3"], "<p>From $5 to $7 where ·.</p>"),
    r"\$5, $6, \$7 and $8 for $5\$$": ([r"5\$"], "<p>$5, $6, $7 and $8 for ·</p>"),
    "$5 < x$ or $2$": (["5 < x", "2"], "<p>· or ·</p>"),
    "one $ alone": ([], "<p>one $ alone</p>"),
    r"\$x\$": ([], "<p>$x$</p>"),
    "`$x$` $y$": (["y"], "<p><code>$x$</code> ·</p>"),
    "``$x` $`` $y$": (["y"], "<p><code>$x` $</code> ·</p>"),
    "`$$` and `$$`": ([], "<p><code>$$</code> and <code>$$</code></p>"),
    "```\n$x$ $$y$$\n```": ([], "<pre><code>$x$ $$y$$\n</code></pre>"),
    "~~~\n$x$\n~~~\n\n$y$": (["y"], "<pre><code>$x$\n</code></pre>\n<p>·</p>"),
    "    $x$": ([], "<pre><code>$x$</code></pre>"),
    "a\n\n- $x$\n- $y_1$ and $y_2$": (
        ["x", "y_1", "y_2"],
        "<p>a</p>\n<ul>\n<li>·</li>\n<li>· and ·</li>\n</ul>",
    ),
    "# On $x$": (["x"], "<h2>On ·</h2>"),
    "> $$\n> a\n> $$": (["a"], "<blockquote>\n<p>·</p>\n</blockquote>"),
    "**$x$** and *$y$*": (["x", "y"], "<p><strong>·</strong> and <em>·</em></p>"),
    "$x_1$ and $x_2$ *b*": (["x_1", "x_2"], "<p>· and · <em>b</em></p>"),
    "<b>$x$</b>": (["x"], "<p><b>·</b></p>"),
    "<!-- $x$ --> $y$": (["y"], "·"),
    "[$x$](https://example.org/)": (
        ["x"],
        '<p><a href="https://example.org/" rel="noopener noreferrer">·</a></p>',
    ),
    '![loss $L$](https://example.org/a.png "$x$")': ([], '<p><img title="$x$" alt="loss $L$"></p>'),
}


@pytest.mark.parametrize("text", PLACES)
def test_place_is_read_as_its_author_meant_it(text):
    assert shown(text) == PLACES[text]


def test_bar_in_a_formula_ends_no_cell_of_a_table():
    formulas, words = shown("| p | n |\n| --- | --- |\n| $P(a|b)$ | $\\|x\\|$ |")
    assert formulas == ["P(a|b)", r"\|x\|"] and words.count("<td>·</td>") == 2


def text_of(html):
    return re.sub(r"<[^>]*>", "", html)


def test_macros_and_numbers_belong_to_the_whole_page():
    cells = [
        r"# Loss",
        r"$\newcommand{\R}{\mathbb{R}}$ First \eqref{late}, then (\ref{early}); \ref{nowhere}.",
        r"$$ x \in \R \label{early} $$",
        "\\begin{align} a &= b \\label{late} \\\\ c &= d \\tag{T}\\label{tagged} \\\\ e &= f \\end{align}",
        r"By $\eqref{tagged}$.",
    ]
    notebook = {"cells": [{"cell_type": "markdown", "source": cell, "metadata": {}} for cell in cells]}
    page = render(notebook, Facts("fraud", "train", "committed"))
    assert "First (2), then (1); \\ref{nowhere}." in page and "ℝ" in page
    numbers = re.findall(r'<mtd class="half r"><mtext>(.*?)</mtext>', page)
    assert numbers == ["(1)", "(2)", "(T)"] and "By (T)." in page
    assert "code class=" not in page.split("<article>")[1]


def test_formula_is_defined_anew_and_in_terms_of_others():
    page = Formulas()
    assert page.show(r"\newcommand{\a}{x}") == "" and page.show(r"\renewcommand{\a}{\b} \def\b{y}") == ""
    assert "<mi>y</mi>" in page.show(r"\a") and not page.not_shown
    assert "<mi>y</mi>" not in formula(r"\a"), "another page knows nothing of it"


def output(**data):
    return {
        "output_type": "display_data",
        "data": {name.replace("_", "/"): value for name, value in data.items()},
    }


@pytest.mark.parametrize("around", ["{}", "${}$", "$${}$$", r"$\displaystyle {}$", r"\[{}\]", r"\({}\)"])
def test_output_of_one_formula_is_drawn(around):
    html = render_output(output(text_latex=around.replace("{}", r"\frac{a}{b}"), text_plain="a/b"))
    assert html.startswith('<p><math display="block"') and "<mfrac><mi>a</mi><mi>b</mi></mfrac>" in html


def test_output_of_text_with_formulas_keeps_both():
    html = render_output(output(text_latex=["Let <b>$x$</b> be\n", r"\begin{align}x &= 1\end{align}"]))
    assert text_of(html).startswith("Let &lt;b&gt;x&lt;/b&gt; be") and html.count("<math") == 2


HOSTILE = [
    r"\text{<script>attack()</script>}",
    r"\text{</mtext></math><img src=x onerror=attack()>}",
    r'\text{" onmouseover="attack()}',
    r"\href{javascript:attack()}{x}",
    r"\class{banner}{x} \cssId{made}{x} \style{position:fixed}{x}",
    r"\unicode{x3c}img src=x onerror=attack()\unicode{x3e}",
    r"\mathrm{<img src=x onerror=attack()>}",
    r"\color{red;background:url(https://attacker.example/)}{x}",
    r"\tag{<script>attack()</script>} x",
    r"\operatorname{</mi><script>attack()</script>}",
    r"\begin{<script>}x\end{<script>}",
    r"<math><annotation-xml encoding='text/html'><script>attack()</script></annotation-xml></math>",
    r"<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]>&b;",
    r"\text{&lt;script&gt;attack()&lt;/script&gt;} &#60;b&#62;",
    "x\x00\x0b\ud800\ufffe]]>",
    r"\newcommand{\x}{</math><script>attack()</script>}\x",
    r"\raisebox{-99em}{x}\hspace{-999cm}\kern-500em\rule{999em}{999em}",
    "\ue0000\ue001\ue0001\ue001",
]


class Elements(HTMLParser):
    "Every start tag of a document with its attributes."

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.found = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def harmful(html):
    "Elements and attributes that no formula may have."
    found = Elements(html).found
    tags = [tag for tag, _ in found if tag not in ELEMENTS | {"code", "p", "b"}]
    names = {name for _, attributes in found for name in attributes}
    return tags + sorted(names - ATTRIBUTE_FORMS.keys() - {"class", "alttext", "title"})


@pytest.mark.parametrize("tex", HOSTILE)
def test_hostile_formula_is_shown_and_does_nothing(tex):
    for html in (formula(tex), formula(tex, True), show_latex(f"${tex}$")):
        assert html and not harmful(html) and html == clean_text(html)
    alone = markdown(f"${tex}$")
    assert not re.search(r"<(script|img|annotation)", alone) and "javascript:attack" not in re.sub(
        r"<code.*?</code>", "", alone
    )


def clean_text(html):
    return re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]", "", html)


def test_formula_moves_nothing_far():
    html = formula(r"\raisebox{-99em}{x}\hspace{-999cm}\kern-500em\hspace{9999em} y")
    lengths = [float(number) for number in re.findall(r'(?:width|voffset|lspace)="(-?[\d.]+)', html)]
    assert html.startswith("<math") and all(abs(length) < 100 for length in lengths) and "style" not in html


def test_mathml_that_came_with_a_notebook_is_no_formula():
    attack = (
        "<math><mtext><table><mglyph><style><img src=x onerror=attack()></style></mglyph></table></mtext>"
    )
    assert not {"math", "style"} & {tag for tag, _ in Elements(clean(attack)).found}
    assert "onerror" not in clean(attack)


@pytest.mark.parametrize(
    "markup",
    [
        "<math><mi>x</math>",
        "<math><maction>x</maction></math>",
        "<math><semantics><annotation-xml>x</annotation-xml></semantics></math>",
        "<math><mi>\x00</mi></math>",
        '<!DOCTYPE a [<!ENTITY b "bb">]><math><mi>&b;</mi></math>',
        "<math>" + "<mrow>" * 600 + "</mrow>" * 600 + "</math>",
        "",
    ],
)
def test_markup_of_the_converter_that_is_not_allowed_is_refused(markup):
    with pytest.raises(NotShown):
        safe_mathml(markup, "x")


DEEP = {
    "braces": "{" * 9_000 + "x" + "}" * 9_000,
    "unclosed": "{" * 19_000,
    "commands": r"\hat" * 4_900 + " x",
    "numerators": r"\frac1" * 3_000 + "x",
    "colours": r"\color{red}" * 1_800 + "x",
    "environments": r"\begin{matrix}" * 1_400,
    "a megabyte": "x+" * 500_000,
    "itself": r"\def\a{\a}\a",
    "doubling": "".join(
        rf"\def\{a}{{\{b}\{b}}}" for a, b in zip("abcdefghijklm", "bcdefghijklmn", strict=True)
    )
    + r"\a",
    "copied arguments": r"\def\a#1{" + "#1" * 60 + r"}\a{" + r"\hat" * 4_000 + "}",
}


@pytest.mark.parametrize("tex", DEEP.values(), ids=DEEP)
def test_formula_without_end_is_shown_as_its_source(tex):
    page = Formulas()
    assert page.show(tex, True).startswith('<code class="formula block" title="This formula is shown as its')
    assert page.not_shown[0][0] == tex and "x</mi>" in page.show("x")


SIGNS = (
    r"$ $$ \\( \\) \[ \] \( \) { } & \\ ^ _ # % ~ < > ' ` ``` | - 1. [ ] x 1 é <b> </b> <script> <!-- --> "
    r"\text{ \frac \left( \right) \begin{align} \end{align} \begin{x} \end{x} \sqrt[ \hat \over \limits "
    r"\newcommand{\a} \def\a#1 \a \let \tag{ \label{k} \eqref{k} \color{red} \substack{ \verb| \mathop{"
)
PIECES = st.sampled_from(["\n", "\n\n", " ", "\x00", "\ud800", "\ue0001\ue001", "\u2028", *SIGNS.split()])


@settings(max_examples=150, deadline=None)
@given(st.lists(PIECES, max_size=30).map("".join))
def test_any_text_is_shown_and_brings_no_markup_of_its_own(text):
    html = markdown(text) + show_latex(text) + formula(text) + formula(text, True)
    assert "<script" not in html and "\ue000" not in markdown(text)
    for found in re.findall(r"<math.*?</math>", html, re.S):
        assert not harmful(found) and fromstring(found).tag == "math"


@settings(max_examples=100, deadline=None)
@given(st.lists(PIECES, max_size=30).map("".join))
def test_found_formulas_stand_in_order_and_never_overlap(text):
    places = [place for found in find_formulas(text) for place in (found.start, found.end)]
    assert places == sorted(places) and len(set(places[1::2])) == len(places[1::2])


@pytest.mark.slow
@pytest.mark.parametrize(
    "piece",
    [
        "$ ",
        "$a$ ",
        r"\( ",
        "`$ ",
        "$\n\n",
        r"\ref{a}",
        "$5 and ",
        "> $$\n",
        r"\\[ ",
        "<!-- ",
        "```\n",
        "$$\\label{",
    ],
)
def test_a_megabyte_of_openings_comes_to_an_end(piece):
    text = piece * (1_000_000 // len(piece))
    assert len(find_formulas(text)) <= 20_000
    assert show_latex(text)
