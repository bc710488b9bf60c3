"""The published gallery: everything is listed, every link leads somewhere."""

import re

import pytest

pytest.importorskip("typst")
pytest.importorskip("matplotlib")

from gradcheck_rnn import api
from reports import build


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gallery")
    build.index(str(folder))
    return (folder / "index.html").read_text(encoding="utf-8")


def test_the_index_lists_every_system(page):
    links = re.findall(r'href="([^"#]+)"', page)
    wanted = [f"{name}.html" for name in (*api.names(), *build.COMPARISONS, "audit")]
    assert sorted(links) == sorted(wanted)
    for row in api.catalogue():
        assert row["name"] in page


def test_the_published_gallery_is_whole():
    there = {p.name for p in build.HERE.glob("*.html")}
    assert there == {f"{n}.html" for n in (*api.names(), *build.COMPARISONS, "audit", "index")}
    assert sum(p.stat().st_size for p in build.HERE.glob("*.html")) < 12e6
    for path in build.HERE.glob("*.html"):
        text = path.read_text(encoding="utf-8")
        links = [x for x in re.findall(r'href="([^"#]+)"', text) if not x.startswith("data:")]
        # The audit names its sources by their public addresses.
        own = {x for x in links if not x.startswith("https://")}
        assert own <= there


def test_leftovers_are_removed_and_rerun_gives_the_same_bytes(tmp_path, monkeypatch):
    (tmp_path / "gone.html").write_text("of a system that no longer exists")
    monkeypatch.setattr(build.api, "names", lambda: ["linear", "readout"])
    monkeypatch.setattr(build, "COMPARISONS", {})
    told = []
    build.build(tmp_path, 1, lambda name, done, total: told.append((name, done, total)))
    first = {p.name: p.read_bytes() for p in tmp_path.glob("*.html")}
    assert sorted(first) == ["index.html", "linear.html", "readout.html"]
    assert sorted(d for _, d, _ in told) == [1, 2, 3]
    build.build(tmp_path, 1)
    assert {p.name: p.read_bytes() for p in tmp_path.glob("*.html")} == first
