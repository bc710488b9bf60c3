"""The gallery: everything is listed, every link leads somewhere, what is committed is small."""

import re

import pytest

pytest.importorskip("typst")
pytest.importorskip("matplotlib")

from gradcheck_rnn import api
from reports import build


@pytest.mark.parametrize("names", [api.names(), build.PUBLISHED], ids=["whole", "published"])
def test_the_index_lists_every_system(names, tmp_path):
    build.index(str(tmp_path), names)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert set(re.findall(r'href="([^"#]+)"', page)) == build.files(names) - {"index.html"}
    assert ("An excerpt" in page) == (names != api.names())
    for row in api.catalogue():
        assert (f"{row['name']}.html" in page) == (row["name"] in names)


def test_the_published_gallery_is_whole_and_small():
    assert set(build.PUBLISHED) <= set(api.names())
    there = {p.name for p in build.HERE.glob("*.html")}
    assert there == build.files(build.PUBLISHED)
    assert sum(p.stat().st_size for p in build.HERE.glob("*.html")) < 5e6
    for path in build.HERE.glob("*.html"):
        text = path.read_text(encoding="utf-8")
        links = [x for x in re.findall(r'href="([^"#]+)"', text) if not x.startswith("data:")]
        # The audit names its sources by their public addresses.
        own = {x for x in links if not x.startswith("https://")}
        assert own <= there


def test_leftovers_are_removed_and_rerun_gives_the_same_bytes(tmp_path, monkeypatch):
    (tmp_path / "gone.html").write_text("of a system that no longer exists")
    monkeypatch.setattr(build, "COMPARISONS", {})
    told = []
    names = ["linear", "readout"]
    build.build(tmp_path, names, 1, lambda name, done, total: told.append((name, done, total)))
    first = {p.name: p.read_bytes() for p in tmp_path.glob("*.html")}
    assert sorted(first) == ["audit.html", "index.html", "linear.html", "readout.html"]
    assert sorted(d for _, d, _ in told) == [1, 2, 3]
    build.build(tmp_path, names, 1)
    assert {p.name: p.read_bytes() for p in tmp_path.glob("*.html")} == first


def test_comparisons_are_written(tmp_path, monkeypatch):
    models = [("elman", start) for start in ("normal", "identity")]
    monkeypatch.setattr(build, "COMPARISONS", {"few": ("Two starts", models)})
    monkeypatch.setattr(build, "STEPS", 60)
    build.comparison("few", str(tmp_path))
    assert "identity start" in (tmp_path / "few.html").read_text(encoding="utf-8")


def test_the_excerpt_is_taken_out_of_the_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "PUBLISHED", ("linear",))
    whole, out = tmp_path / "whole", tmp_path / "out"
    whole.mkdir()
    out.mkdir()
    for name in build.files(["linear", "readout"]):
        (whole / name).write_text(name)
    (out / "readout.html").write_text("no longer published")
    build.publish(whole, out)
    assert {p.name for p in out.glob("*.html")} == build.files(["linear"])
    assert "linear.html" in (out / "index.html").read_text(encoding="utf-8")


def test_the_index_can_be_searched(tmp_path):
    build.index(str(tmp_path), ["gru", "lstm"])
    html = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert html.index("<main") < html.index('<input type="search"') < html.index('href="gru.html"')
    assert "⊙</mo>" in html
    assert '#"' not in html
