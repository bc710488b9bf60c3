"""C kernels against the NumPy modules of the same schedule."""

from __future__ import annotations

import ctypes
import dataclasses
import re
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import api
from gradcheck_rnn.codegen.backends.c import print_files
from gradcheck_rnn.codegen.backends.c.config import CNamer
from gradcheck_rnn.codegen.backends.c.header import FLAGS
from gradcheck_rnn.codegen.backends.c.routine import CRoutine
from gradcheck_rnn.codegen.schedule.ops import Access, Assign, Buffer, Number, Pointwise
from gradcheck_rnn.errors import UnsupportedOperation
from gradcheck_rnn.language import cell, cumsum, layer_norm, tanh
from gradcheck_rnn.language.dims import Dim
from gradcheck_rnn.language.network import Network, as_network
from gradcheck_rnn.language.ops.unit_maps import UNIT_MAPS
from tests.codegen.hostile import HOSTILE, ROLES, made
from tests.codegen.support import Arrays, Case, error
from tests.codegen.test_features import FEATURES
from tests.strategies.choices import Seeded
from tests.strategies.random_networks import random_file
from tests.strategies.random_stacks import random_stack_cell

from .support import CC, QUICK, built, files, load, needs_compiler, results, upstream

pytestmark = needs_compiler
#: What the kernels may differ by: both round, in other orders, and elementary functions differ.
EXACT = {"float64": 1e-11, "float32": 1e-3}


def compared(case: Case, module: Any, dtype: str = "float64") -> dict[str, float]:
    """How far each result is from NumPy's in double precision, relative to its size."""
    given = upstream(case)
    found, right = results(case, module, given, dtype), results(case, case.module, given)
    assert set(found) == set(right)
    return {n: error(a, right[n]) for n, a in found.items()}


def agrees(case: Case, module: Any, dtype: str = "float64") -> None:
    """Every result is NumPy's."""
    over = {n: e for n, e in compared(case, module, dtype).items() if not e <= EXACT[dtype]}
    assert not over


@pytest.mark.parametrize("name", api.names())
def test_the_zoo(name: str, tmp_path: Path) -> None:
    case = Case(as_network(api.load(name)))
    agrees(case, built(case, tmp_path))


@pytest.mark.parametrize("name", ["lstm", "slstm", "char_rnn", "mlstm", "multihead_retention"])
def test_single_precision(name: str, tmp_path: Path) -> None:
    case = Case(as_network(api.load(name)))
    agrees(case, built(case, tmp_path), "float32")


@pytest.mark.parametrize("name", sorted(FEATURES))
def test_what_the_zoo_does_not_have(name: str, tmp_path: Path) -> None:
    network = Network(name)
    FEATURES[name](network)
    case = Case(network)
    agrees(case, built(case, tmp_path))


# 33: a scan begins where another ends; 50: sums into some rows; 71: equations that nothing reads;
# 182: sums of sums over steps.
@pytest.mark.parametrize("seed", [*range(4), 33, 50, 71, 182])
def test_random_definitions(seed: int, tmp_path: Path) -> None:
    text, name = random_file(Seeded(seed))
    (tmp_path / "definition.py").write_text(text, encoding="utf-8")
    case = Case(as_network(api.load(f"{tmp_path / 'definition.py'}:{name}")))
    agrees(case, built(case, tmp_path / "kernel"))


@cell(inputs="x: p", states="h: p", params="a: p", outputs="h y")
def delayed(x, h, a):
    return {"h": tanh(x * a), "y": tanh(h) * a}


@cell(inputs="x: p", states="h: p", params="W: p p; g b: p")
def recurrent(x, h, W, g, b):
    return tanh(W @ h + layer_norm(x, g, b))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("order", [(delayed, recurrent), (recurrent, delayed)])
def test_a_loop_in_the_other_direction(order: Any, reverse: bool, tmp_path: Path) -> None:
    """A state without a recurrence is read, and its adjoint is added to, at other steps."""
    first, second = order
    network = Network("both")
    before = network.scan(first, suffix="_1", reverse=reverse, x=network.input("x", "p"))
    x = before.y if first is delayed else before.h
    after = network.scan(second, suffix="_2", reverse=not reverse, x=x)
    network.output(after.y if second is delayed else after.h, before.final("h"), after.final("h"))
    case = Case(network)
    agrees(case, built(case, tmp_path))


@pytest.mark.parametrize("heads", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_random_matrices_and_heads(seed: int, heads: bool, tmp_path: Path) -> None:
    (tmp_path / "definition.py").write_text(random_stack_cell(Seeded(seed), heads), "utf-8")
    case = Case(as_network(api.load(f"{tmp_path / 'definition.py'}:stacked")))
    agrees(case, built(case, tmp_path / "kernel", ("-std=c99", "-Wall", "-Werror", "-O0")))


@pytest.mark.parametrize(
    ("right", "wrong"), [
        ("total += S_row[i * n + j] * k_row[j];", "total += S_row[j * n + i] * k_row[j];"),
        ("_row = k + row * n;", "_row = k;"),
    ],
)  # fmt: skip
def test_a_planted_fault_in_a_product_is_found(right: str, wrong: str, tmp_path: Path) -> None:
    case = Case(as_network(api.load("delta_net")))
    texts = files(case)
    assert right in texts["delta_net.c"]
    for name, text in texts.items():
        changed = text.replace(right, wrong) if name[-1] == "c" else text
        (tmp_path / name).write_text(changed, encoding="utf-8")
    off = compared(case, load(tmp_path / "delta_net.py", ("-std=c99", "-O0")))
    assert max(off.values()) > 1e-3


def test_products_in_parallel(tmp_path: Path) -> None:
    """As many multiplications as it takes until several cores are used."""
    case = Case(as_network(api.load("multihead_retention")))
    sizes = {"T": 3, "B": 2, "H": 3, "n": 40, "m": 41, "d": 5}
    rng = np.random.default_rng(1)
    for n, axes in case.module.SHAPES.items():
        case.arrays[n] = rng.uniform(0.1, 0.9, size=[sizes[a] for a in axes])
    given = {"y": rng.normal(size=(3, 2, 5)), "S_final": rng.normal(size=(2, 3, 40, 41))}
    found = results(case, built(case, tmp_path, ("-O1", "-fopenmp"), short=False), given)
    right = results(case, case.module, given)
    assert max(error(a, right[n]) for n, a in found.items()) <= EXACT["float64"]


@pytest.mark.parametrize("seed", range(4))
def test_hostile_names(seed: int, tmp_path: Path) -> None:
    """Names that C, its library, its macros, C++ or the text itself have."""
    rng = np.random.default_rng(seed)
    own = ["real", "Index", "take", "multiply", "next", "bits", "sizes", "restrict", "sequence"]
    known = [n for n in (*own, *HOSTILE) if n != "loss"]
    names = dict(zip([r for r in ROLES if r not in "pdq"], rng.permutation(known), strict=False))
    names |= dict(zip("pdq", rng.permutation(["row", "unit", "double", "j", "NULL"]), strict=False))
    case = Case(as_network(made({r: str(n) for r, n in names.items()})))
    agrees(case, built(case, tmp_path))


@pytest.mark.parametrize("sizes", [(3, 7, 37, 5), (2, 100, 9, 3), (2, 1, 300, 2), (90, 3, 5, 4)])
def test_products_of_every_size(sizes: tuple[int, int, int, int], tmp_path: Path) -> None:
    """Tiles that end inside, sums and rows longer than a block, more rows than one block."""
    case = Case(as_network(api.load("lstm")))
    steps, batch, p, d = sizes
    rng = np.random.default_rng(0)
    lengths = {"T": steps, "B": batch, "p": p, "d": d}
    for n, axes in case.module.SHAPES.items():
        shape = [lengths[a] for a in axes]
        case.arrays[n] = rng.normal(size=shape) / np.sqrt(shape[-1])
    given = {"h": rng.normal(size=(steps, batch, p)), "c_final": rng.normal(size=(batch, p))}
    module = built(case, tmp_path, ("-O2", "-march=native"), short=False)
    found = results(case, module, given)
    right = results(case, case.module, given)
    assert max(error(a, right[n]) for n, a in found.items()) <= EXACT["float64"]


def test_each_cotangent_alone_and_arguments_left_alone(tmp_path: Path) -> None:
    case = Case(as_network(api.load("lstm")))
    module = built(case, tmp_path)
    before = {n: a.copy() for n, a in case.arrays.items()}
    given = upstream(case)
    for label, g in given.items():
        found, right = (results(case, m, {label: g}) for m in (module, case.module))
        assert max(error(a, right[n]) for n, a in found.items()) <= EXACT["float64"]
    assert all(np.array_equal(a, before[n]) for n, a in case.arrays.items())
    parameters, inputs = case.split(case.arrays)
    _, saved = module.forward(parameters, inputs)
    one, two = (module.backward(parameters, inputs, saved, given) for _ in range(2))
    assert all(np.array_equal(g, two[n]) for n, g in one.items())


def test_memory_of_an_earlier_call_is_used_again(tmp_path: Path) -> None:
    """Whatever is in it; one that is too short or of another dtype is not taken."""
    case = Case(as_network(api.load("gru")))
    module, given = built(case, tmp_path), upstream(case)
    first = results(case, module, given)
    workspace: Arrays = {}
    results(case, module, given, workspace=workspace)
    kept = workspace["memory"]
    for memory in (np.full_like(kept, np.nan), kept[:3].copy(), np.ones(kept.size, np.float32)):
        again = results(case, module, given, workspace={"memory": memory})
        assert all(np.array_equal(first[n], again[n]) for n in first)
    results(case, module, given, workspace=workspace)
    assert workspace["memory"] is kept


def test_a_planted_fault_is_found(tmp_path: Path) -> None:
    case = Case(as_network(api.load("lstm")))
    module = built(case, tmp_path)
    agrees(case, module)
    source = tmp_path / "lstm.c"
    text = source.read_text(encoding="utf-8")
    assert "1 - real_square(tanh_c_j)" in text
    source.write_text(text.replace("1 - real_square(tanh_c_j)", "1 - tanh_c_j"), encoding="utf-8")
    (tmp_path / "lstm_float64.so").unlink()
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    for file in ("lstm.c", "lstm.h", "lstm.py"):
        (tmp_path / file).rename(wrong / file)
    off = compared(case, load(wrong / "lstm.py", QUICK))
    assert off["gradient W_f"] > 1e-3


def test_a_planted_fault_in_blocks_of_steps_is_found(tmp_path: Path) -> None:
    case = Case(as_network(api.load("lstm")))
    built(case, tmp_path)
    source = tmp_path / "lstm.c"
    text = source.read_text(encoding="utf-8")
    assert "inputs->x + first * B * d" in text
    source.write_text(text.replace("inputs->x + first * B * d", "inputs->x"), encoding="utf-8")
    off = compared(case, load(tmp_path / "lstm.py", QUICK))
    assert off["gradient U_f"] > 1e-3


def test_what_one_loop_alone_reads_is_made_there() -> None:
    """And what products over all steps alone read lasts for a block of steps."""
    text = files(Case(as_network(api.load("lstm_layer_norm"))))["lstm_layer_norm.c"]
    assert not re.search(r"real \*const ratio", text)
    assert "d_s_h = take(&next, steps_at_once(T, B) * B * 4 * p);" in text
    assert not re.search(r"_j / scale", text)


def test_elementary_functions(tmp_path: Path) -> None:
    """exp within 2 and tanh within 4 units in the last place; 0, infinity and NaN as they are."""
    from gradcheck_rnn.codegen.backends.c.runtime import ELEMENTARY, TYPES

    text = TYPES + ELEMENTARY + (
        "void both(const real *x, real *e, real *t, Index n)\n"
        "{ for (Index k = 0; k < n; ++k) { e[k] = real_exp(x[k]); t[k] = real_tanh(x[k]); } }\n"
    )  # fmt: skip
    (tmp_path / "f.c").write_text(text)
    rng = np.random.default_rng(0)
    drawn = np.concatenate([rng.uniform(-700, 700, 50_000), rng.uniform(-87, 87, 50_000),
                            rng.normal(size=100_000), rng.normal(size=50_000) * 1e-3])  # fmt: skip
    odd = [0.0, -0.0, 1e4, -1e4, np.inf, -np.inf, np.nan, -730.0]
    for dtype, options in ((np.float64, []), (np.float32, ["-DSINGLE"])):
        made = tmp_path / f"{np.dtype(dtype).name}.so"
        flags = ["-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno"]
        subprocess.run([str(CC), *flags, *options, "-shared", "-fPIC", str(tmp_path / "f.c"), "-lm",
                        "-o", str(made)], check=True)  # fmt: skip
        x = np.concatenate([drawn, odd]).astype(dtype)
        e, t = np.empty_like(x), np.empty_like(x)
        ctypes.CDLL(str(made)).both(*(ctypes.c_void_p(a.ctypes.data) for a in (x, e, t)),
                                    ctypes.c_ssize_t(len(x)))  # fmt: skip
        wide = x.astype(np.longdouble)
        with np.errstate(over="ignore", under="ignore"):
            for found, right, units in ((e, np.exp(wide), 2), (t, np.tanh(wide), 4)):
                nearest = right.astype(dtype)
                assert np.array_equal(np.isnan(found), np.isnan(nearest))
                assert np.array_equal(np.isinf(found), np.isinf(nearest))
                fine = np.isfinite(nearest)
                off = np.abs(found[fine] - right[fine]) / np.spacing(np.abs(nearest[fine]))
                assert float(off.max()) <= units
        assert np.signbit(t[len(drawn) + 1])


def test_quotients_by_reciprocals(tmp_path: Path) -> None:
    """Within 2 units in the last place of x / y wherever that is a normal number, or none."""
    from gradcheck_rnn.codegen.backends.c.runtime import ELEMENTARY, TYPES

    text = TYPES + ELEMENTARY + (
        "void ratios(const real *x, const real *y, real *z, Index n)\n"
        "{ for (Index k = 0; k < n; ++k) { const real shift = shift_of(y[k]);"
        " z[k] = x[k] * shift * (1 / (y[k] * shift)); } }\n"
    )  # fmt: skip
    (tmp_path / "f.c").write_text(text)
    rng = np.random.default_rng(0)
    for dtype, options in ((np.float64, []), (np.float32, ["-DSINGLE"])):
        made = tmp_path / f"{np.dtype(dtype).name}.so"
        flags = ["-O3", "-march=native", "-ffp-contract=fast"]
        subprocess.run([str(CC), *flags, *options, "-shared", "-fPIC", str(tmp_path / "f.c"), "-lm",
                        "-o", str(made)], check=True)  # fmt: skip
        limits = np.finfo(dtype)
        ends = [limits.smallest_subnormal, 7 * limits.smallest_subnormal, limits.tiny, limits.max]
        odd = np.array([*ends, 0.0, np.inf, np.nan, 1.0, 1e-30, 1e30], dtype)
        powers = rng.uniform(limits.minexp - limits.nmant, limits.maxexp, 20_000)
        x, y = (np.concatenate([a.ravel(), rng.permutation(np.exp2(powers)).astype(dtype)])
                for a in np.meshgrid(odd, -odd))  # fmt: skip
        z = np.empty_like(x)
        ctypes.CDLL(str(made)).ratios(*(ctypes.c_void_p(a.ctypes.data) for a in (x, y, z)),
                                      ctypes.c_ssize_t(len(x)))  # fmt: skip
        with np.errstate(all="ignore"):
            right = x.astype(np.longdouble) / y
            nearest = right.astype(dtype)
        assert np.array_equal(np.isnan(z), np.isnan(nearest))
        assert np.array_equal(np.isinf(z), np.isinf(nearest))
        fine = np.isfinite(nearest)
        with np.errstate(over="ignore"):
            off = np.abs(z[fine] - right[fine]) / np.spacing(np.abs(nearest[fine]))
        assert float(off.max()) <= 2


def test_other_compilers_flags_and_a_blas(tmp_path: Path) -> None:
    """C++, OpenMP, products by a BLAS (here a plain one), and sums in vectors."""
    case = Case(as_network(api.load("lstm_layer_norm")))
    (tmp_path / "cblas.h").write_text(_BLAS)
    for i, flags in enumerate((
        ("-x", "c++", "-Wall", "-Wextra", "-Werror", "-O0"), ("-O1", "-fopenmp"),
        ("-O1", "-DUSE_CBLAS", f"-I{tmp_path}"), ("-Wall", "-Werror", *FLAGS[-2:], "-O2"),
    )):  # fmt: skip
        agrees(case, built(case, tmp_path / str(i), flags))


_BLAS = """
enum { CblasRowMajor, CblasNoTrans, CblasTrans };
static void cblas_dgemm(int order, int turn_a, int turn_b, int m, int n, int k, double alpha,
    const double *a, int lda, const double *b, int ldb, double beta, double *c, int ldc)
{
    (void)order;
    for (int i = 0; i < m; ++i) for (int j = 0; j < n; ++j) {
        double sum = 0;
        for (int l = 0; l < k; ++l) {
            sum += (turn_a == CblasTrans ? a[l * lda + i] : a[i * lda + l])
                 * (turn_b == CblasTrans ? b[j * ldb + l] : b[l * ldb + j]);
        }
        c[i * ldc + j] = alpha * sum + (beta != 0 ? beta * c[i * ldc + j] : 0);
    }
}
"""


def test_error_codes_and_no_globals(tmp_path: Path) -> None:
    case = Case(as_network(api.load("elman")))
    module = built(case, tmp_path)
    parameters, inputs = case.split(case.arrays)
    module.forward(parameters, inputs)
    library = ctypes.CDLL(str(tmp_path / "elman_float64.so"))
    names = re.findall(r"ptrdiff_t (\w+);", (tmp_path / "elman.h").read_text())
    pointers = [(ctypes.c_void_p * 20)(*[1 << 20] * 20) for _ in range(4)]
    for count, code in ((-1, 2), (1, 1)):
        sizes = (ctypes.c_ssize_t * len(names))(*[count] * len(names))
        workspace = None if code == 1 else ctypes.c_void_p(1 << 20)
        assert library.elman_f64_forward(sizes, *pointers[:3], workspace) == code
        assert library.elman_f64_backward(sizes, *pointers, workspace) == code
    text = files(case)["elman.c"]
    assert not re.search(
        r"^(?!static|enum|extern|typedef|int |ptrdiff_t |real )\w+ .*;$", text, re.M
    )
    assert not re.search(r"^static (?!inline|const|void)\w+ \w+( =.*)?;$", text, re.M)
    assert "malloc" not in text


# ----------------------------------------------------------------------------------- refusals


@cell(inputs="x: p", states="h: p", params="W: p p")
def summed(x, h, W):
    return tanh(cumsum(W @ h) + x)


def test_an_operation_without_a_text_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    derivation = api.derive(summed)
    known = UNIT_MAPS["cumsum"]
    monkeypatch.setitem(UNIT_MAPS, "cumsum", known)  # what is declared last has the name
    dataclasses.replace(known, c="")
    with pytest.raises(UnsupportedOperation, match="backend c has no text for the map of units"):
        print_files(derivation)


def test_matrices_over_time_are_refused() -> None:
    """Places are rows of units; what is no row would be addressed wrongly."""
    state = Buffer("C", ("T", "B"), (Dim.of({"p": 1}), Dim.of({"q": 1})), "state")
    routine = CRoutine("forward", {"T": "T", "B": "B", "p": "p", "q": "q"}, CNamer(), CNamer(),
                      {}, {}, {})  # fmt: skip
    with pytest.raises(UnsupportedOperation, match="the matrix 'C' that changes with time"):
        routine.write([Pointwise((Assign(Access(state), Number(Fraction(0))),))], [])


def test_sums_of_units(tmp_path: Path) -> None:
    case = Case(as_network(summed))
    agrees(case, built(case, tmp_path))


def test_the_same_text_twice() -> None:
    derivation = api.derive("lstm")
    assert print_files(derivation) == print_files(derivation)


def test_memory_is_the_states_and_their_adjoints(tmp_path: Path) -> None:
    """Of a scan in which exp(Δ A) and its adjoint are matrices of every step."""
    module = built(Case(as_network(api.load("selective_scan"))), tmp_path, short=False)
    sizes = {"T": 24, "B": 2, "n": 40, "m": 36}
    arrays = {n: np.ones([sizes[a] for a in axes]) for n, axes in module.SHAPES.items()}
    given = sum(a.size for a in arrays.values()) + sizes["T"] * arrays["S0"].size
    memory: dict[str, Any] = {}
    module.forward({n: arrays[n] for n in "AD"}, arrays, workspace=memory)
    assert memory["memory"].size < 2.3 * given
