"""Hostile inputs: numbers, names, paths, damaged files and misused options over all commands."""

from __future__ import annotations

import functools
import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.hostile.running import CANARY, Hostile

Files = Mapping[str, "bytes | Callable[[Path], None]"]

CELL = b"""\
from gradcheck_rnn.language import cell, tanh

@cell(inputs="x: d", states="h: p", params="W: p p; U: p d; b: p")
def mine(h, x, W, U, b):
    h = tanh(W @ h + U @ x + b)
    return {"h": h}
"""
CASE = b"""\
import numpy as np
from gradcheck_rnn import gradient_case

@gradient_case
def square():
    W = np.arange(6.0).reshape(2, 3) / 7
    return lambda W: float(np.sum(W ** 2)), lambda W: 2 * W, W
"""
KERNEL = ("verify", "k.py", "--definition", "elman")
EVIL = f"open({CANARY!r}, 'w').write('x')"

WHOLE = (
    "-1",
    "1.5",
    "1e11",
    "nan",
    "inf",
    "-inf",
    "0x10",
    "½",
    "",
    " ",
    "1_0",
    "--",
    "true",
    "9" * 5000,
)
HUGE = ("100000000000", "99999999999999999999999")
#: command, option with whole numbers, what goes before, those that are right after all.
COUNTS = (
    (("prove", "elman"), "--seed", ("1_0",)),
    (("derive", "elman"), "--truncate", ("1_0",)),
    (("vectors", "elman", "-o", "v.json"), "--seed", ("1_0",)),
    (("verify", "elman"), "--seed", ("1_0",)),
    (("verify", "elman"), "--shapes", ("1_0",)),
    (("verify", "elman"), "--shape", ("1_0",)),
    (("verify", "elman"), "--jobs", ("1_0",)),
    (("decay", "elman"), "--steps", ("1_0",)),
    (("decay", "elman"), "--burn-in", ("1_0",)),
    (("decay", "elman"), "--seed", ("1_0",)),
    (("decay", "elman"), "--draws", ("1_0",)),
)
SIZES = (
    "p", "p=", "=3", "p=0", "p=-1", "p=1.5", "p=x", "p=1e3", "p=٣", "p=²", "p =3", "p=3=4", "", "p=nan",
    "zz=3", "T B=3", "p=100000000000", "p=99999999999999999999999", "p=3,d=2", "\np=3",
)  # fmt: skip


def bad_numbers() -> Iterator[Hostile]:
    for argv, option, fine in COUNTS:
        for text in WHOLE:
            if text not in fine:
                yield Hostile(f"number {option}", (*argv, option, text))
    for text in ("nan", "inf", "-inf", "x", "", "1e400", "0x1p3", "1,5"):
        yield Hostile("number --gain", ("decay", "elman", "--gain", text))
    for text in (
        "0s",
        "-1s",
        "nans",
        "infs",
        "1h",
        "s",
        "",
        " ",
        "1e400s",
        "-5",
        "0",
        "1.5",
        "½",
        "x",
    ):
        yield Hostile("number --budget", ("verify", "elman", "--budget", text))
    for text in HUGE:
        yield Hostile("huge", ("decay", "elman", "--steps", text))
        yield Hostile("huge", ("decay", "elman", "--steps", "100", "--burn-in", text))
        yield Hostile("huge", ("decay", "elman", "--draws", text))
        yield Hostile("huge", ("verify", "elman", "--shapes", text))
        for command in (("vectors", "elman", "-o", "v.npz"), ("decay", "elman")):
            yield Hostile("huge", (*command, "--size", f"p={text}"))
            yield Hostile("huge", (*command, "--size", f"d={text}"))
        for dim in ("T", "B"):
            yield Hostile("huge", ("vectors", "elman", "-o", "v.json", "--size", f"{dim}={text}"))
        for command, option in ((("prove",), "--seed"), (("verify",), "--seed")):
            yield Hostile("huge seed", (*command, "elman", option, text), refused=False)
        yield Hostile(
            "huge seed", ("decay", "elman", "--steps", "60", "--seed", text), refused=False
        )
    yield Hostile("huge", ("decay", "elman", "--steps", "3000000000"))
    yield Hostile("huge", ("decay", "elman", "--size", "p=20000"))
    yield Hostile("huge", ("vectors", "lstm", "-o", "v.npz", "--size", "p=3000"))
    for text in SIZES:
        for command in (("vectors", "elman", "-o", "v.npz"), ("decay", "elman", "--steps", "60")):
            yield Hostile("size", (*command, "--size", text))


OPTIONS = {
    ("derive", "elman"): (
        ("--form", "matrix", "kronecker"), ("--layout", "numerator", "denominator"),
        ("--format", "text", "json"), ("--notation", "a.toml", "b.toml"), ("--truncate", "2", "3"),
        ("--loss", "mean_squared_error", "softmax_cross_entropy"), ("--output", "a", "b"), ("-o", "a", "b"),
        ("--steps", None, None), ("--rtrl", None, None),
    ),
    ("prove", "elman"): (("--seed", "1", "2"), ("--exact", None, None), ("--json", None, None)),
    ("generate", "elman"): (("--backend", "numpy", "cupy"), ("--output", "a.py", "b.py")),
    ("verify", "elman"): (
        ("--seed", "1", "2"), ("--budget", "10s", "5s"), ("--undecided", "fail", "warn"),
        ("--shapes", "1", "2"), ("--shape", "0", "1"), ("--jobs", "1", "2"), ("--json", None, None),
        ("--definition", "elman", "lstm"), ("--against", "a.npz", "b.npz"), ("--dtype", "float32", "float64"),
    ),
    ("vectors", "elman"): (("--output", "a.npz", "b.npz"), ("--seed", "1", "2")),
    ("decay", "elman"): (
        ("--input", "a.txt", "b.txt"), ("--steps", "60", "70"), ("--init", "normal", "zero"),
        ("--gain", "1", "2"), ("--burn-in", "3", "4"), ("--seed", "1", "2"), ("--device", "numpy", "cupy"),
        ("--output", "a.png", "b.png"), ("--draws", "1", "2"), ("--start", "zeros", "drawn"),
    ),
    ("report", "elman", "-o", "a.html"): (("--notation", "a.toml", "b.toml"), ("--loss", "a", "b")),
    ("cells",): (("--json", None, None),),
}  # fmt: skip


def options() -> Iterator[Hostile]:
    for argv, all_ in OPTIONS.items():
        for option, first, second in all_:
            one = (option,) if first is None else (option, first)
            two = (option,) if second is None else (option, second)
            yield Hostile("option twice", (*argv, *one, *two))
            if first is not None:
                yield Hostile("option twice", (*argv, f"{option}={first}", *two)
                              if option.startswith("--") else (*argv, *one, *one))  # fmt: skip
                yield Hostile("option without value", (*argv, option))
                yield Hostile("option with nothing", (*argv, option, ""))
        yield Hostile("unknown option", (*argv, "--no-such"))
        yield Hostile("unknown option", (*argv, "-z"))
        yield Hostile("unknown option", (*argv, "--see", "1"))
        yield Hostile("extra argument", (*argv, "--", "--x", "y\nz", "q"))
    for argv in (
        ("derive",), ("prove",), ("generate",), ("verify",), ("vectors",), ("decay",), ("report",),
        ("nope",), ("",), ("--nope",), ("derive", "elman", "lstm"), ("prove", "elman", "--all"),
        ("report", "elman"), ("vectors", "elman"), ("verify", "elman", "--all"),
        ("derive", "elman", "--format", "Text"), ("derive", "elman", "--format", "html"),
        ("derive", "elman", "--wrt", "nothing"), ("derive", "elman", "--wrt", ""),
        ("verify", "elman", "--select", ""), ("verify", "elman", "--select", "zz"),
        ("generate", "elman", "--loss", "zz"), ("derive", "elman", "--loss", "__class__"),
        ("verify", "elman", "--dask", "tcp://no.such.host:1"), ("verify", "elman", "--dask", ""),
        ("decay", "elman", "--init", "chaos"), ("decay", "elman", "--start", "nowhere"),
        ("decay", "elman", "--steps", "5"), ("decay", "elman", "--steps", "100", "--burn-in", "90"),
        ("decay", "elman", "--steps", "100", "--burn-in", "100"),
        ("decay", "elman", "--device", "cupy"), ("decay", "softmax_readout"),
        ("verify", "elman", "--against", "no.npz", "--seed", "1"), ("verify", "elman", "--dtype", "float32"),
    ):  # fmt: skip
        yield Hostile("misuse", argv)


NAMES = (
    "", " ", ".", "..", "/", "//", "\\", "~", "*", "?", "lstm ", " lstm", "LSTM", "lstm\n", "lstm\x1b[31m",
    "ｌｓｔｍ", "lstm.py", "lstm.py:", "lstm:x", ":", "::", "a:b:c", "no/such/file.py", "no.py:mine",
    "../../../../etc/passwd", "/etc/passwd", "/etc/passwd:mine", "/dev/null", "/dev/zero", "/dev/null.py",
    "None", "class", "lambda", "__import__('os')", "${HOME}", "$(touch x)", "`id`", "<script>", "%s%n",
    "x" * 300, "x" * 5000, "x" * 300 + ".py", "\udcff", "\u202eelman", "é", "e\u0301", "elman\x00", "0",
    "[red]x[/red]", "{x}", "ellman", "-", "@file",
)  # fmt: skip


def names() -> Iterator[Hostile]:
    for name in NAMES:
        for command in (("derive",), ("verify",), ("decay",), ("report", "-o", "r.html")):
            yield Hostile("name", (*command, "--", name))
        yield Hostile("name wrt", ("derive", "elman", f"--wrt={name}"))
        yield Hostile("name select", ("verify", "elman", f"--select={name}"))
        yield Hostile("name loss", ("generate", "elman", f"--loss={name}"))
        yield Hostile(
            "name definition",
            ("verify", "k.py", f"--definition={name}"),
            {"k.py": b"def forward(p, i): pass\ndef backward(p, i, s, c): pass\n"},
        )
        yield Hostile(
            "name dtype",
            ("verify", "r.json", "--against", "v.json", f"--dtype={name}"),
            {"v.json": vectors("json"), "r.json": results("json")},
        )


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


def _folder(path: Path) -> None:
    path.mkdir()


def _closed(path: Path) -> None:
    path.mkdir()
    path.chmod(0o500)


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _link(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


PATHS: dict[str, bytes | Callable[[Path], None] | None] = {
    "missing": None, "folder": _folder, "loop": _loop, "fifo": _fifo, "zero": _link("/dev/zero"),
    "full": _link("/dev/full"), "null": _link("/dev/null"), "empty": b"", "binary": bytes(range(256)) * 40,
    "nul": b"\0" * 100, "utf16": "names = 1\n".encode("utf-16"), "latin": b"x = '\xe9\xff'\n",
    "bom": b"\xef\xbb\xbf", "deep": b"[" * 100_000, "deeper": b'{"a":' * 100_000, "dashes": b"-" * 10_000,
    "mem": _link("/proc/self/mem"), "tty": _link("/dev/tty"), "proc": _link("/proc/kmsg"),
}  # fmt: skip
READERS: dict[str, tuple[tuple[str, ...], Files]] = {}


def readers() -> dict[str, tuple[tuple[str, ...], Files]]:
    """Every place where a command reads a file: the command, with ``@`` for the file's name."""
    weights = {".npz": ("decay", "elman", "--weights", "@.npz"),
               ".safetensors": ("decay", "elman", "--weights", "@.safetensors"),
               ".pt": ("decay", "elman", "--weights", "@.pt")}  # fmt: skip
    return {
        "notation": (("derive", "elman", "--notation", "@.toml"), {}),
        "notation of report": (("report", "elman", "-o", "r.html", "--notation", "@.toml"), {}),
        "definition": (("derive", "@.py"), {}),
        "target": (("verify", "@.py"), {}),
        "against npz": (("verify", "r.npz", "--against", "@.npz"), {"r.npz": results("npz")}),
        "against json": (("verify", "r.json", "--against", "@.json"), {"r.json": results("json")}),
        "results npz": (("verify", "@.npz", "--against", "v.npz"), {"v.npz": vectors("npz")}),
        "results json": (("verify", "@.json", "--against", "v.json"), {"v.json": vectors("json")}),
        **{f"weights {k}": (v, {}) for k, v in weights.items()},
        "input txt": (("decay", "elman", "--input", "@.txt"), {}),
        "input csv": (("decay", "elman", "--input", "@.csv"), {}),
        "start": (("decay", "elman", "--start", "@.npz"), {}),
    }


def paths() -> Iterator[Hostile]:
    # What an empty or a plain file may rightly be.
    fine = {("notation", n) for n in ("empty", "null", "bom")} | {
        ("notation of report", n) for n in ("empty", "null", "bom")
    }
    fine |= {("input txt", n) for n in ("binary", "deep", "deeper", "dashes", "nul", "bom")}
    for reader, (argv, files) in readers().items():
        for name, content in PATHS.items():
            suffix = next(a for a in argv if a.startswith("@"))[1:]
            words = tuple(f"{name}{suffix}" if a.startswith("@") else a for a in argv)
            made = dict(files) if content is None else {**files, f"{name}{suffix}": content}
            yield Hostile(f"path: {reader}", words, made, refused=(reader, name) not in fine)


def outputs() -> Iterator[Hostile]:
    writers = {
        ".txt": ("derive", "elman", "-o", "@"), ".py": ("generate", "elman", "-o", "@"),
        ".npz": ("vectors", "linear", "-o", "@"), ".json": ("vectors", "linear", "-o", "@"),
        ".html": ("report", "elman", "-o", "@"), ".pdf": ("verify", "c.py", "--report", "@"),
        ".png": ("decay", "elman", "--steps", "60", "--no-remedies", "-o", "@"),
        ".svg": ("decay", "elman", "--steps", "60", "--no-remedies", "-o", "@"),
    }  # fmt: skip
    for suffix, argv in writers.items():
        for name, files in {
            f"no/dir/x{suffix}": {}, f"d{suffix}": {f"d{suffix}": _folder}, f"loop{suffix}": {f"loop{suffix}": _loop},
            f"file.txt/x{suffix}": {"file.txt": b"x"}, "": {}, ".": {}, "/": {}, f"{'x' * 300}{suffix}": {},
            f"full{suffix}": {f"full{suffix}": _link("/dev/full")}, f"/proc/x{suffix}": {}, f"/proc/version{suffix}": {},
            f"gone{suffix}": {f"gone{suffix}": _link("no/such/folder/x")}, "x.docx": {}, f"a\0b{suffix}": {},
        }.items():  # fmt: skip
            refused = not (name == "x.docx" and suffix in (".txt", ".py"))
            words = tuple(name if a == "@" else a for a in argv)
            yield Hostile("output", words, {"c.py": CASE, **files}, refused=refused)


# -- vectors and results --------------------------------------------------------------------------


@functools.cache
def vectors(suffix: str) -> bytes:
    from gradcheck_rnn import api
    from gradcheck_rnn.verify.vectorfiles import dump

    return dump(api.vectors("elman", sizes={"p": 2, "d": 3, "q": 5, "T": 4, "B": 6}), f".{suffix}")


def entries(content: bytes) -> dict[str, Any]:
    with np.load(io.BytesIO(content)) as held:
        return {k: held[k] for k in held.files}


@functools.cache
def results(suffix: str) -> bytes:
    """Right results: what the vectors say, in double precision."""
    held = entries(vectors("npz"))
    kept = {
        k: v
        for k, v in held.items()
        if k.startswith(("gradients/", "outputs/")) and k != "outputs/loss"
    }
    if suffix == "npz":
        return zipped(kept)
    grads: dict[str, Any] = {}
    for k, v in kept.items():
        if k.startswith("gradients/"):
            _, probe, name = k.split("/")
            grads.setdefault(probe, {})[name] = v.tolist()
    outs = {k.partition("/")[2]: v.tolist() for k, v in kept.items() if k.startswith("outputs/")}
    return json.dumps({"dtype": "float64", "gradients": grads, "outputs": outs}).encode()


def zipped(held: Mapping[str, Any], **options: Any) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **held, **options)
    return stream.getvalue()


def npy(header: str, data: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    """A member of an npz with a header of one's own."""
    text = header.encode("latin-1", "replace") + b"\n"
    width = "<H" if version == (1, 0) else "<I"
    return b"\x93NUMPY" + bytes(version) + struct.pack(width, len(text) & 0xFFFF) + text + data


def archive(members: Mapping[str, bytes], **lies: int) -> bytes:
    """A zip of raw members; ``file_size`` and others are changed in the directory."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as z:
        for name, data in members.items():
            z.writestr(name, data)
        for info in z.filelist:
            for key, value in lies.items():
                setattr(info, key, value)
    return stream.getvalue()


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (EVIL,)


def bad_headers() -> Iterator[tuple[str, bytes]]:
    """Headers and archives that lie, by name."""
    good = "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 2), }"
    eight = bytes(32)
    for k, shape in enumerate((
        "(100000000000,)", "(100000, 100000, 100)", "(-1,)", "(2.5,)", "('a',)", "2", "(99999999999999999999999,)",
        "(True,)", "[2, 2]", "(4294967296, 4294967296)",
    )):  # fmt: skip
        yield f"shape {k}", npy(good.replace("(2, 2)", shape), eight)
    for k, descr in enumerate((
        "'|O'", "'<f99'", "'<c16'", "'|S5'", "'<U3'", "[('a', '<f8')]", "'<M8[s]'", "3", "'|V8'", "None", "'<f8,<f8'",
    )):  # fmt: skip
        yield f"descr {k}", npy(good.replace("'<f8'", descr), eight)
    yield "object", npy(good.replace("'<f8'", "'|O'"), pickle.dumps(Evil()))
    yield "code", npy(f"__import__('builtins').exec({EVIL!r})", eight)
    yield "no dict", npy("[1, 2]", eight)
    yield "deep header", npy("(" * 5000, eight)
    yield "long header", npy(good.ljust(60000), eight)
    yield "version", npy(good, eight, (9, 9))
    yield "short", npy(good, eight[:7])
    yield "long", npy(good, eight * 1000)
    yield "no magic", b"x" * 100
    yield "nothing", b""


def damaged_npz() -> Iterator[tuple[str, bytes]]:
    """Archives that are no vectors, no results and no weights."""
    for name, member in bad_headers():
        yield name, archive({"W.npy": member, "gradients/all/W.npy": member})
    good = npy("{'descr': '<f8', 'fortran_order': False, 'shape': (2, 2), }", bytes(32))
    for key in ("file_size", "compress_size", "header_offset", "CRC"):
        for value in (0, 7, 2**31 - 1):
            yield f"zip {key} {value}", archive({"W.npy": good}, **{key: value})
    yield (
        "bomb",
        archive(
            {
                "W.npy": npy(
                    "{'descr': '<f8', 'fortran_order': False, 'shape': (250000000,), }",
                    bytes(2_000_000_000),
                )
            }
        )
        if BOMBS
        else b"",
    )
    yield "pickle", pickle.dumps(Evil())
    yield "single", good
    yield "no npy", archive({"W.txt": b"1 2 3"})
    yield "empty zip", archive({})
    yield "path", archive({"../../x.npy": good, "/etc/x.npy": good})
    yield "object array", zipped({"W": np.array([Evil()], dtype=object)}, allow_pickle=True)
    whole = zipped({"W": np.eye(2)})
    for k in range(0, len(whole), 37):
        yield f"cut {k}", whole[:k]
    for k in range(5, len(whole), 41):
        yield f"flipped {k}", whole[:k] + bytes([whole[k] ^ 0xFF]) + whole[k + 1 :]


#: A zip bomb of 2 GB costs seconds to make; the benchmark makes it.
BOMBS = False


def edited_npz() -> Iterator[tuple[str, bytes, bool]]:
    """Vectors with one entry changed: (what, content, whether it must be refused)."""
    held = entries(vectors("npz"))
    about = json.loads(str(held["about"]))
    for k, text in enumerate(
        ("", "{", "[]", "3", "null", "{}", '"x"', "[" * 100_000, '{"format": "other"}')
    ):
        yield f"about {k}", zipped({**held, "about": np.array(text)}), True
    for key in ("format", "cell", "probes", "roles", "sizes"):
        for value in (None, 3, [], {}, "x", ["x"], {"x": 1}):
            made = {**about, key: value}
            yield (
                f"about.{key}",
                zipped({**held, "about": np.array(json.dumps(made))}),
                key == "format" or (key == "cell" and not isinstance(value, str | int)),
            )
        made = {k: v for k, v in about.items() if k != key}
        yield (
            f"about without {key}",
            zipped({**held, "about": np.array(json.dumps(made))}),
            key in ("format", "cell"),
        )
    yield "about missing", zipped({k: v for k, v in held.items() if k != "about"}), True
    for key in (
        "gradients/all/W",
        "gradients_low/all/W",
        "bounds/float64/all/W",
        "outputs/h",
        "bounds/float64/outputs/h",
        "outputs_low/h",
    ):
        v = held[key]
        yield f"no {key}", zipped({k: a for k, a in held.items() if k != key}), True
        for what, made in {
            "short": v[:-1], "flat": v.reshape(-1)[:1], "text": np.full(v.shape, "x"), "bool": np.ones(v.shape, bool),
            "complex": v + 1j, "nan": np.full(v.shape, np.nan), "negative": -np.abs(v) - 1, "scalar": np.array(1.0),
        }.items():  # fmt: skip
            wrong = what != "negative" or "bounds" in key
            yield f"{what} {key}", zipped({**held, key: made}), wrong
    yield "no bounds", zipped({k: v for k, v in held.items() if not k.startswith("bounds")}), True
    yield "nothing but about", zipped({"about": held["about"]}), True
    yield (
        "slashes",
        zipped({**held, "gradients/": np.eye(2), "bounds": np.eye(2), "gradients": np.eye(2)}),
        True,
    )


def edited_json(content: bytes, keys: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """JSON with one place damaged, at every level that is there."""
    whole = json.loads(content)

    def put(at: tuple[str, ...], value: Any) -> bytes:
        made = json.loads(content)
        inner = made
        for k in at[:-1]:
            inner = inner[k]
        if value is KeyError:
            del inner[at[-1]]
        else:
            inner[at[-1]] = value
        return json.dumps(made).encode()

    spots: list[tuple[str, ...]] = []
    for key in keys:
        spot: tuple[str, ...] = ()
        inner = whole
        for part in key.split("."):
            spot = (*spot, part)
            inner = inner[part]
            if spot not in spots:
                spots.append(spot)
    for spot in spots:
        for value in (
            KeyError,
            None,
            3,
            "x",
            [],
            {},
            [[]],
            [[1], [1, 2]],
            {"x": 1},
            True,
            [["a", "b"]],
            10**400,
            [None],
        ):
            if value is KeyError and spot == ("outputs",):
                continue
            yield f"{'.'.join(spot)} = {value!r}"[:60], put(spot, value)
    text = content.decode()
    yield (
        "twice",
        (text[:-2] + ', "cell": "x", "dtype": "float32"' + text.rstrip()[-1:])
        .replace('"dtype"', '"dtype": "float64", "dtype"', 1)
        .encode(),
    )
    yield "comma", text.replace(",", ",,", 1).encode()
    yield "cut", content[: len(content) // 2]
    yield "list", b"[" + content + b"]"


def exchange() -> Iterator[Hostile]:
    right = {
        "v.npz": vectors("npz"),
        "v.json": vectors("json"),
        "r.npz": results("npz"),
        "r.json": results("json"),
    }

    def judged(kind: str, left: str, against: str, made: bytes, refused: bool = True) -> Hostile:
        bad = left if left not in right else against
        files = {n: c for n, c in right.items() if n in (left, against)}
        return Hostile(kind, ("verify", left, "--against", against), {**files, bad: made}, refused)

    for _, made in damaged_npz():
        yield judged("damaged vectors", "r.npz", "x.npz", made)
        yield judged("damaged results", "x.npz", "v.npz", made)
    for _, made, refused in edited_npz():
        yield judged("edited vectors", "r.npz", "x.npz", made, refused)
    spots = (
        "probes.all.gradients.W",
        "probes.all.bounds.float64.W",
        "outputs.h",
        "output_bounds.float64.h",
        "cell",
        "format",
    )
    for what, made in edited_json(vectors("json"), spots):
        fine = (
            what.startswith(("cell = 'x'", "cell = 3", "cell = 10"))
            or what == "probes.all.bounds.float64.W = [None]"
        )
        yield judged("edited vectors", "r.json", "x.json", made, not fine)
    for what, made in edited_json(results("json"), ("gradients.all.W", "outputs.h", "dtype")):
        # What results leave out is undecided, which is an answer.
        gone = "<class 'KeyError'>" in what or what in (
            "gradients.all = {}",
            "gradients = {}",
            "outputs = {}",
            "outputs.h = 3",
        )
        yield judged("edited results", "x.json", "v.json", made, not gone)
    for text in (b"NaN", b"Infinity", b"-Infinity"):
        changed = json.dumps(json.loads(vectors("json")), separators=(", ", ": ")).encode()
        head, _, tail = changed.partition(b'"gradients": {"W": [[')
        number, comma, rest = tail.partition(b",")
        del number
        yield judged(
            "not finite", "r.json", "x.json", head + b'"gradients": {"W": [[' + text + comma + rest
        )


# -- weights, inputs, notation --------------------------------------------------------------------


def safetensors() -> Iterator[tuple[str, bytes]]:
    def made(header: Any, data: bytes = bytes(64), length: int | None = None) -> bytes:
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        return struct.pack("<Q", len(text) if length is None else length) + text + data

    w = {"dtype": "F64", "shape": [2, 2], "data_offsets": [0, 32]}
    yield "length", made({"W": w}, length=2**62)
    yield "length 0", made({"W": w}, length=0)
    yield "offsets", made({"W": {**w, "data_offsets": [0, 2**40]}})
    yield "negative", made({"W": {**w, "data_offsets": [-5, 32]}})
    yield "shape", made({"W": {**w, "shape": [10**11]}})
    yield "dtype", made({"W": {**w, "dtype": "X9"}})
    yield "overlap", made({"W": w, "U": w})
    yield "deep", made(b"[" * 100_000)
    yield "none", made({})
    yield "bf16", made({"W": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}, bytes(4))


def torch_files() -> Iterator[tuple[str, bytes]]:
    try:
        import torch
    except ImportError:
        return

    def saved(value: Any, **options: Any) -> bytes:
        stream = io.BytesIO()
        torch.save(value, stream, **options)
        return stream.getvalue()

    yield "reduce", saved({"W": Evil()})
    yield "old reduce", saved({"W": Evil()}, _use_new_zipfile_serialization=False)
    yield "integer keys", saved({0: torch.eye(2), 1: torch.eye(2)})
    yield "tuple keys", saved({("W", 1): torch.eye(2)})
    yield "mixed keys", saved({"W": torch.eye(2), 1: torch.eye(2), None: torch.eye(2)})
    yield "tensor", saved(torch.eye(2))
    yield "list", saved([torch.eye(2)])
    yield "number", saved(3)
    yield "nested", saved({"a": {"W": torch.eye(2)}})
    yield "complex", saved({"W": torch.eye(2) + 1j})
    yield "bool", saved({"W": torch.eye(2) > 0})
    yield "sparse", saved({"W": torch.eye(2).to_sparse()})
    yield "meta", saved({"W": torch.empty(10**6, 10**6, device="meta")})
    yield "expanded", saved({"W": torch.zeros(1).expand(10**6, 10**6)})
    yield "strided", saved({"W": torch.zeros(4).as_strided((10**5, 10**6), (0, 0))})
    yield "half", saved({"W": torch.eye(2).half()})
    yield "pickle", pickle.dumps(Evil())
    yield "scalar", saved({"weight_hh_l0": torch.tensor(1.0)})
    yield "lists", saved({"weight_hh_l0": [1, 2], "weight_ih_l0": torch.eye(2)})
    yield "vectors", saved({"weight_hh_l0": torch.ones(3), "weight_ih_l0": torch.ones(3)})
    yield "names", saved({"W\n<b>": torch.eye(2)})
    yield "layers", saved({"weight_hh_l0": torch.eye(2), "weight_hh_l999999999": torch.eye(2)})
    yield "digits", saved({"weight_hh_l0": torch.eye(2), "weight_hh_l" + "9" * 5000: torch.eye(2)})
    yield "digit", saved({"weight_hh_l0": torch.eye(2), "weight_hh_l²": torch.eye(2)})


def weights() -> Iterator[Hostile]:
    def of(content: bytes, suffix: str) -> Hostile:
        argv = (
            "decay",
            "elman_hidden",
            "--steps",
            "60",
            "--no-remedies",
            "--weights",
            f"w{suffix}",
        )
        return Hostile(f"weights {suffix}", argv, {f"w{suffix}": content})

    for _, made in damaged_npz():
        yield of(made, ".npz")
    for _, made in safetensors():
        yield of(made, ".safetensors")
    for _, made in torch_files():
        yield of(made, ".pt")
    eye = np.eye(2)
    for held in (
        {"W": eye}, {"W": eye, "U": eye, "b_i": np.ones(3)}, {"W": eye * np.nan, "U": eye, "b_i": np.ones(2)},
        {"W": eye, "U": eye, "b_i": np.ones(2), "more": eye}, {"W": np.zeros((0, 0)), "U": np.zeros((0, 2)), "b_i": np.zeros(0)},
        {"W": np.float64(3), "U": eye, "b_i": np.ones(2)}, {"W": eye[None], "U": eye, "b_i": np.ones(2)},
        {"W": np.array([["a"]]), "U": eye, "b_i": np.ones(2)}, {"W": eye + 1j, "U": eye, "b_i": np.ones(2)},
        {"W": np.eye(2, 3), "U": eye, "b_i": np.ones(2)}, {"W": eye * 1e308, "U": eye * 1e308, "b_i": np.ones(2) * 1e308},
        {"W": np.zeros((2, 2), "M8[s]"), "U": eye, "b_i": np.ones(2)}, {"W": np.zeros((2, 2), bool), "U": eye, "b_i": np.ones(2)},
        {"W": eye, "U": np.zeros((2, 0)), "b_i": np.ones(2)},
    ):  # fmt: skip
        fine = (
            held.get("W") is not None
            and held["W"].shape == (2, 2)
            and np.abs(held["W"]).max() == 1e308
            if held["W"].dtype.kind == "f" and held["W"].size
            else False
        )
        item = of(zipped(held), ".npz")
        yield Hostile(item.kind, item.argv, item.files, refused=not fine)


def inputs() -> Iterator[Hostile]:
    for content in (
        b"a,b\n1,2\n", b"1\n2\n", b"1,2\n3\n", b"nan,1\n2,3\n", b"1e400,1\n2,3\n", b"\n\n\n", b"a,b\n", b"1,x\n2,3\n",
        b'"1,2\n3,4', b"1;2\n3;4\n", b"1,2\n" * 3, b"\0,\0\n1,2\n", b'"' + b"x" * 200_000 + b'"\n1\n', b"1" * 200_000 + b"\n2\n",
        b"1,2\r3,4\r", b"1e308,0\n-1e308,0\n" * 50,
    ):  # fmt: skip
        argv = ("decay", "elman", "--size", "d=2", "--input", "i.csv")
        # Columns are standardised, however large their numbers are.
        yield Hostile("input csv", argv, {"i.csv": content}, refused=b"1e308" not in content)
    for content in (b"", b"a", b"\xff\xfe", b"ab" * 10, bytes(range(128)) * 3):
        yield Hostile(
            "input txt", ("decay", "elman", "--size", "d=2", "--input", "i.txt"), {"i.txt": content}
        )


SECRET = "hidden-2718"
RAW = (
    '"$"', '"$ #read(\\"secret.txt\\") $"', '"#read(\\"secret.txt\\")"', '"\\\\input{secret.txt}"', '"\\\\write18{id}"',
    '"#panic()"', '"bold("', '")"', '"("', '"]"', '"["', '"{"', '"}"', '"\\\\"', '"\\u0000"', '"a\\nb"', '"<script>alert(1)</script>"',
    '"#import \\"secret.txt\\""', '"#image(\\"secret.txt\\")"', '"unknownword"', '"\\\\unknown"', '"_"', '"^"', '"a_"', '"#{"', '"//x"', '"/*x"',
    '"\\\\csname input\\\\endcsname{secret.txt}"', '"\\\\catcode`\\\\%=0"', '"&"', '"%"', '"$$"', '"\\\\end{document}"', '"`id`"',
    '"#let h = 3; h"', '"\\\\def\\\\x{y}"', '"^^5cinput{secret.txt}"', '"\\\\verbatiminput{secret.txt}"',
)  # fmt: skip
TOML = (
    "bold = 3", "bold = 'yes'", "vectors = 'diagonal'", "names = 3", "names = []", "[names]\nQ = 'x'", "[names]\nW = 3",
    "[names]\nW = ''", "[names]\nW = 'a b'", "[names]\nW = {html = 'x'}", "[names]\nW = {latex = 3}", "[names]\nW = {latex = ''}",
    "[names]\nW = 'U'", "[names]\nW = 'x'\nU = 'x'", "other = 1", "bold = true\nbold = false", "[names]\nW = " + "[" * 3000,
    "a" * 100_000, "[" * 5000, "bold = " + "9" * 5000, "[names]\nW = 1979-05-27", "[names]\nW = inf", "[names.W.latex]\nx = 1",
    "names.W.text = 'x'\nnames.W = 'y'", "[names]\n'' = 'x'", "[names]\n\"<b>\" = 'x'", "bold = " + "{a = " * 4000,
)  # fmt: skip


def notation() -> Iterator[Hostile]:
    for text in TOML:
        for command in (("derive", "elman"), ("report", "elman", "-o", "r.html")):
            yield Hostile("notation", (*command, "--notation", "n.toml"), {"n.toml": text.encode()})
    commands: dict[tuple[str, ...], str] = {
        ("derive", "elman", "--format", "latex"): "latex", ("derive", "elman", "--format", "typst"): "typst",
        ("report", "elman", "-o", "r.html"): "typst", ("derive", "elman", "--format", "text"): "text",
        ("derive", "elman", "--format", "markdown"): "latex", ("derive", "elman", "--format", "json"): "text",
    }  # fmt: skip
    for raw in RAW:
        for command, target in commands.items():
            text = f"[names]\nW = {{ {target} = {raw} }}\n"
            yield Hostile(
                f"raw {target}", (*command, "--notation", "n.toml"), {"n.toml": text.encode(), "secret.txt": SECRET.encode()},
                refused=False, absent=(SECRET, *(() if target == "text" else ("<script>alert", "\\input{", "\\write18", "\\csname", "\\catcode", "\\def\\x"))),
            )  # fmt: skip


# -- definitions ----------------------------------------------------------------------------------

MARKUP = (
    "<script>alert(1)</script>",
    '#read("secret.txt")',
    "\\input{secret.txt}",
    "$x$",
    "*b*",
    "_i_",
    "]]><b>",
    "&amp;",
    "@eq-1",
    "`",
    "[red]x[/]",
)


def definitions() -> Iterator[Hostile]:
    for markup in MARKUP:
        text = (
            CELL.decode()
            .replace("def mine", "def mine")
            .replace("    h = tanh", f"    {f'{markup} and more'!r}\n    h = tanh", 1)
            .replace("@cell(", f"@cell(what={markup!r}, source={markup!r}, ")
        )
        for argv in (("derive", "m.py"), ("derive", "m.py", "--format", "latex"), ("derive", "m.py", "--format", "json"),
                     ("derive", "m.py", "--format", "typst"), ("generate", "m.py"), ("report", "m.py", "-o", "r.html"), ("report", "m.py", "-o", "r.pdf")):  # fmt: skip
            absent = (SECRET, *(("<script>alert",) if "html" in argv[-1] else ()))
            yield Hostile(
                "markup",
                argv,
                {"m.py": text.encode(), "secret.txt": SECRET.encode()},
                refused=False,
                absent=absent,
            )
        if "/" not in markup:
            name = f"m{markup}.py"
            yield Hostile(
                "markup in file name",
                ("report", name, "-o", "r.html"),
                {name: CELL, "secret.txt": SECRET.encode()},
                refused=False,
                absent=(SECRET, "<script>alert"),
            )
    for text in (
        "", "1/0", "raise SystemExit", "import sys; sys.exit(0)", "raise BaseException('x')",
        "def f(): f()\nf()", "x = [", "\0", "import no_such_module", "raise ValueError('a\\nb')", "mine = 3", "from gradcheck_rnn import cell\nmine = cell",
        "from gradcheck_rnn import cell\n@cell\ndef mine(h): return h", "from gradcheck_rnn import cell\n@cell()\ndef mine(): return {}",
        "# -*- coding: nonsense -*-", "async def mine(): await", "raise MemoryError", "raise RecursionError", "class mine: pass", "(" * 300,
    ):  # fmt: skip
        for command in (
            ("derive", "m.py:mine"),
            ("verify", "m.py"),
            ("decay", "m.py:mine"),
            ("vectors", "m.py:mine", "-o", "v.npz"),
        ):
            yield Hostile("definition", command, {"m.py": text.encode()})


# -- the API --------------------------------------------------------------------------------------


def api_calls() -> Iterator[Hostile]:
    from gradcheck_rnn import api, check_gradient, check_model, check_vjp

    values: tuple[Any, ...] = (
        3,
        None,
        [1],
        {"a": 1},
        object(),
        1.5,
        b"x",
        ("zz",),
        np.eye(2),
        float("nan"),
        lambda: 0,
        "no such",
        "",
        True,
    )

    def one(kind: str, function: Any, *args: Any, **options: Any) -> Hostile:
        return Hostile(f"api {kind}", (), call=lambda: function(*args, **options))

    for v in values:
        text = isinstance(v, str)
        for f in (
            api.load,
            api.derive,
            api.prove,
            api.generate,
            api.vectors,
            api.verify,
            api.decay,
        ):
            yield one(f"{f.__name__}(target)", f, v)
        if v is not None:
            yield one("load(loss)", api.load, "elman", loss=v)
            yield one("write_vectors(sizes)", api.write_vectors, "elman", "v.npz", sizes=v)
            yield one("write_vectors(loss)", api.write_vectors, "elman", "v.npz", loss=v)
            yield one("verify(select)", api.verify, "elman", select=v)
            yield (
                one("decay(steps)", api.decay, "elman", steps=v)
                if v is not True
                else one("decay(steps)", api.decay, "elman", steps=False)
            )
            yield one("decay(sizes)", api.decay, "elman", sizes=v)
            yield one("decay(inputs)", api.decay, "elman", inputs=v)
            yield one("decay(weights)", api.decay, "elman", weights=v)
            yield (
                one("decay(burn_in)", api.decay, "elman", burn_in="x" if v in (3, True) else v)
                if not isinstance(v, np.ndarray)
                else one("decay(burn_in)", api.decay, "elman", burn_in="x")
            )
            if v not in (3,) if isinstance(v, int | float) else True:
                yield one("verify(seed)", api.verify, "elman", seed=v)
                yield one("verify(budget)", api.verify, "elman", budget=v)
            yield one("verify(definition)", api.verify, "elman", definition=v)
            yield one("render(wrt)", _render, "wrt", v)
            yield one("render(notation)", _render, "notation", v)
            if v != 3 if isinstance(v, int) else True:
                yield one("render(truncate)", _render, "truncate", v)
            yield one("verify(loss)", api.verify, "elman", loss=v)
            if not isinstance(v, bool):
                yield one("decay(remedies)", api.decay, "elman", remedies=v, steps=60)
        if v != 3 if isinstance(v, int) else True:
            yield one("prove(seed)", api.prove, "elman", seed=v)
            yield one("vectors(seed)", api.vectors, "elman", seed=v)
            yield one("decay(seed)", api.decay, "elman", seed=v)
        yield one("generate(backend)", api.generate, "elman", v)
        yield one("render(fmt)", _render, "fmt", v)
        yield one("render(form)", _render, "form", v)
        yield one("render(layout)", _render, "layout", v)
        yield one("verify(undecided)", api.verify, "elman", undecided=v)
        if v != 3 if isinstance(v, int) and not isinstance(v, bool) else True:
            yield one("verify(shape)", api.verify, "elman", shape=v)
        if not isinstance(v, int | float) or v is True:
            yield one("decay(gain)", api.decay, "elman", gain=v)
        yield one("decay(init)", api.decay, "elman", init=v)
        yield one("decay(device)", api.decay, "elman", device=v)
        yield one("verify_many", api.verify_many, v)
        yield one("judge_results", api.judge_results, v, "v.npz")
        yield one("judge_results", api.judge_results, "v.npz", v)
        if not text:
            yield one("report", api.report, v, "r.html")
            yield one("report", api.report, "elman", v)
        yield one("report_plain", api.report_plain, v, "r.html")
        if not callable(v):
            yield one("check_gradient(loss)", check_gradient, v, lambda p: p, np.ones(3))
            if v is not None:
                yield one("check_gradient(gradient)", check_gradient, _square, v, np.ones(3))
            yield one("check_vjp", check_vjp, v, lambda *a: a, np.ones(3))
            for key in ("layout", "dtype", "select", "loss", "forward"):
                if v is not None:
                    given = {"forward": _square, "backward": _twice, key: v}
                    yield one(f"check_model({key})", check_model, api.load("elman"), **given)
            yield one("check_model(model)", check_model, v, forward=_square, backward=_twice)
        yield (
            one("check_gradient(parameters)", check_gradient, _square, _twice, v)
            if not isinstance(v, np.ndarray | float)
            else one("check_gradient(parameters)", check_gradient, _square, _twice, np.array(["a"]))
        )
        if v is not None:
            yield one(
                "check_gradient(select)", check_gradient, _square, _twice, np.ones(3), select=v
            )
            yield one("check_gradient(mode)", check_gradient, _square, _twice, np.ones(3), mode=v)
            if not isinstance(v, int) or v is True:
                yield one(
                    "check_gradient(seed)", check_gradient, _square, _twice, np.ones(3), seed=v
                )
                yield one(
                    "check_gradient(budget)", check_gradient, _square, _twice, np.ones(3), budget=v
                )


def _square(w: Any) -> float:
    return float(np.sum(np.asarray(w) ** 2))


def _twice(w: Any) -> Any:
    return 2 * np.asarray(w)


def _render(name: str, value: Any) -> str:
    from gradcheck_rnn import api

    return api.render(api.derive("elman"), **{name: value})


ALL: dict[str, Callable[[], Iterator[Hostile]]] = {
    "numbers": bad_numbers, "options": options, "names": names, "paths": paths, "outputs": outputs, "exchange": exchange,
    "weights": weights, "inputs": inputs, "notation": notation, "definitions": definitions, "api": api_calls,
}  # fmt: skip
