"""What a browser makes of a report: mathematics, numbers and figures are seen, nothing sticks out.

A copy of the page is shown in a frame of the wanted width and measures itself; Chromium prints the
document with what it found.
"""

import html
import json
import shutil
import subprocess

import pytest

pytest.importorskip("typst")
pytest.importorskip("matplotlib")

from gradcheck_rnn import api
from reports import build

CHROMIUM = next(
    (
        p
        for p in ("chromium", "chromium-browser", "google-chrome", "chrome")
        if shutil.which(p) is not None
    ),
    None,
)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no Chromium or Chrome to show pages in"
)

#: Boxes that scroll by themselves may hold more than is seen.
MEASURE = """<script>addEventListener("load", () => {
  const wide = document.documentElement.clientWidth;
  const seen = e => { const r = e.getBoundingClientRect(); return r.width > 2 && r.height > 2; };
  const own = ".scroll, pre, .rhs, .lhs, .eqs, .matrices, .wide";
  parent.postMessage(JSON.stringify({
    wide, scroll: document.documentElement.scrollWidth,
    math: [...document.querySelectorAll("math")].filter(seen).length,
    numbers: [...document.querySelectorAll(".eq .no")].filter(seen).map(e => e.textContent),
    figures: [...document.images].filter(i => i.complete && i.naturalWidth > 0 && seen(i)).length,
    captions: [...document.querySelectorAll("figcaption")].filter(seen).length,
    skipped: document.querySelector("a.skip").hash.slice(1) &&
      document.querySelector("main").id,
    covered: [...document.querySelectorAll(".eq")].filter(e => {
      const n = e.querySelector(".no").getBoundingClientRect();
      const r = e.querySelector(".rhs").getBoundingClientRect();
      return n.left < r.right - 1 && n.right > r.left &&
        n.top < r.bottom - 1 && n.bottom > r.top + 1;
    }).length,
    out: [...document.querySelectorAll("body *")].filter(e =>
      !e.closest(own) && !e.matches(".skip") && e.getBoundingClientRect().right > wide + 1).length,
  }), "*");
});</script></body>"""


def measured(page, width, folder):
    (folder / "inner.html").write_text(page.replace("</body>", MEASURE), encoding="utf-8")
    (folder / "outer.html").write_text(
        f'<iframe src="inner.html" style="border:0;width:{width}px;height:900px"></iframe>'
        '<pre id="found"></pre><script>onmessage = e => '
        'document.getElementById("found").textContent = e.data</script>'
    )
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += ["--virtual-time-budget=8000", "--window-size=1400,1000"]
    command += [
        f"--user-data-dir={folder / 'profile'}",
        "--dump-dom",
        f"file://{folder}/outer.html",
    ]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False).stdout
    text = shown.partition('<pre id="found">')[2].partition("</pre>")[0]
    assert text, "the page did not measure itself"
    return json.loads(html.unescape(text))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    made = api.report("lstm_layer_norm", folder / "out.html")
    return made[0].read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_sticks_out(page, tmp_path, width):
    found = measured(page, width, tmp_path)
    assert found["wide"] == width
    assert found["scroll"] == width
    assert found["out"] == 0
    assert found["covered"] == 0
    assert found["math"] > 100
    assert found["figures"] == 2
    assert found["captions"] == 2
    assert found["skipped"] == "text"
    count = len(found["numbers"])
    assert count > 50
    assert found["numbers"] == [f"({k})" for k in range(1, count + 1)]


@pytest.mark.parametrize("width", [390, 1280])
def test_reports_of_findings_do_not_stick_out_either(tmp_path, width):
    found = api.decay("elman", steps=80, sizes={"p": 6, "d": 3, "q": 2})
    for subject in (found, api.verify("elman_hidden")):
        page = api.report(subject, tmp_path / "found.html")[0].read_text(encoding="utf-8")
        seen = measured(page, width, tmp_path)
        assert seen["scroll"] == width
        assert seen["out"] == 0
        assert seen["figures"] == seen["captions"] == page.count("<img") > 0


def test_the_measure_sees_what_sticks_out(page, tmp_path):
    wide = page.replace("</h1>", "</h1><div style='width:2000px'>wide</div>", 1)
    found = measured(wide, 390, tmp_path)
    assert found["out"] > 0


TYPED = """<script>addEventListener("load", () => {
  const field = document.getElementById("find");
  const seen = what => [...document.querySelectorAll(what)].filter(e => e.getClientRects().length)
    .map(e => e.textContent);
  parent.postMessage(JSON.stringify(["Gated LSTM", "pendulum", "audit", ""].map(words => {
    field.value = words;
    field.dispatchEvent(new Event("input", {bubbles: true}));
    return [seen("tbody tr td:first-child"), seen("main h2").length, seen("#found")];
  })), "*");
});</script></body>"""


def test_the_search_of_the_index(tmp_path, monkeypatch):
    build.index(str(tmp_path), ["elman", "lstm", "gru"])
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    monkeypatch.setattr("tests.report.test_browser.MEASURE", TYPED)
    lstm, none, audit, everything = measured(page, 1000, tmp_path)
    assert lstm == [["LSTM"], 1, [""]]
    assert none == [[], 0, ["nothing here has these words"]]
    assert audit == [[], 1, [""]]
    assert everything == [["Elman", "LSTM", "GRU"], 4, [""]]
