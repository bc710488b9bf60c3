"""Archives that lie about their sizes are refused before they are unpacked."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from gradcheck_rnn import memory_limits
from gradcheck_rnn.errors import UsageError
from gradcheck_rnn.npz import read_npz
from tests.hostile.grammar import archive, bad_headers, npy
from tests.hostile.running import CANARY

#: Headers of arrays that are no numbers but that say what they are.
READABLE = {"descr 2", "descr 4", "descr 5", "descr 6", "descr 8", "long header"}


WRONG = {what: member for what, member in bad_headers() if what not in READABLE}


@pytest.mark.parametrize("what", list(WRONG))
def test_a_header_that_does_not_fit_its_member(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.npz").write_bytes(archive({"W.npy": WRONG[what]}))
    with pytest.raises(UsageError, match="cannot read the weight file"):
        read_npz(Path("a.npz"), "weight file")
    assert not Path(CANARY).exists()


def test_what_numpy_saves_is_read_as_it_was(tmp_path: Path) -> None:
    held = {
        "a": np.arange(6.0).reshape(2, 3), "b/c": np.asfortranarray(np.ones((3, 2), np.float32)),
        "n": np.array(3), "none": np.zeros((0, 4)), "text": np.array("x"),
    }  # fmt: skip
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **held)
        found = read_npz(tmp_path / "a.npz", "file")
        assert list(found) == list(held)
        for name, array in held.items():
            assert found[name].dtype == array.dtype
            assert np.array_equal(found[name], array)


def test_more_than_there_is_memory_for_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "a.npz", W=np.zeros(10**6))
    monkeypatch.setattr(memory_limits, "available", lambda: 10**6)
    with pytest.raises(UsageError, match=r"would need about 22\.9 MiB"):
        read_npz(tmp_path / "a.npz", "file")


def test_a_check_sees_headers_before_anything_is_read(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", W=np.zeros((3, 4)))
    seen = []
    read_npz(tmp_path / "a.npz", "file", lambda name, header: seen.append((name, header[0])))
    assert seen == [("W", (3, 4))]


def test_a_name_that_comes_twice_is_refused(tmp_path: Path) -> None:
    member = npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }", bytes(8))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        made.writestr("W.npy", member)
        with pytest.warns(UserWarning, match="Duplicate"):
            made.writestr("W.npy", member)
    (tmp_path / "a.npz").write_bytes(stream.getvalue())
    with pytest.raises(UsageError, match="'W' twice"):
        read_npz(tmp_path / "a.npz", "file")
