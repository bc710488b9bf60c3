"""The bench runs right kernels rightly, and catches each kind of planted fault."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest

from tests.cuda_shim import fake_cupy
from tests.cuda_shim.errors import ShimError
from tests.cuda_shim.fake_cupy import RawModule, compile_pending

SCALE = """
extern "C" __global__ void scale_add(const REAL* __restrict__ x, REAL* __restrict__ y,
                                     const REAL a, const int n) {
    const int k = blockIdx.x * blockDim.x + threadIdx.x;
    if (k < n) y[k] = a * x[k] + y[k];
}
"""

BLOCK_SUM = """
__device__ __forceinline__ float square(float x) { return x * x; }
extern "C" __global__ void block_sum(const float* x, float* out, int n) {
    __shared__ float part[128];
    const int k = blockIdx.x * blockDim.x + threadIdx.x;
    part[threadIdx.x] = k < n ? square(x[k]) : 0.0f;
    __syncthreads();
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) part[threadIdx.x] += part[threadIdx.x + half];
        __syncthreads();
    }
    if (threadIdx.x == 0) out[blockIdx.x] = part[0];
}
"""

DYNAMIC_SUM = """
extern "C" __global__ void rotate(const double* x, double* y) {
    extern __shared__ double row[];
    row[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = row[(threadIdx.x + 1) % blockDim.x];
}
"""

WARP_SUM = """
extern "C" __global__ void warp_sum(const double* x, double* down, double* all) {
    double v = x[blockIdx.x * 32 + threadIdx.x], w = v;
    for (int by = 16; by > 0; by /= 2) v += __shfl_down_sync(0xffffffffu, v, by);
    for (int by = 16; by > 0; by /= 2) w += __shfl_xor_sync(0xffffffffu, w, by);
    if (threadIdx.x == 0) down[blockIdx.x] = v;
    all[blockIdx.x * 32 + threadIdx.x] = w;
}
"""


def kernel(source: str, name: str, *options: str) -> Callable[..., None]:
    return RawModule(code=source, options=options).get_function(name)


@pytest.mark.parametrize(("c_type", "dtype"), [("float", np.float32), ("double", np.float64)])
def test_an_elementwise_kernel_in_both_precisions(
    cupy_both_orders: ModuleType, c_type: str, dtype: type[np.floating]
) -> None:
    cp = cupy_both_orders
    x, y = np.random.default_rng(1).standard_normal((2, 131)).astype(dtype)
    device = cp.asarray(y)
    scale_add = kernel(SCALE, "scale_add", f"-DREAL={c_type}")
    scale_add((3,), (64,), (cp.asarray(x), device, dtype(0.5), np.int32(131)))
    np.testing.assert_array_equal(device.get(), dtype(0.5) * x + y)


def test_a_block_reduction_with_shared_memory(cupy_both_orders: ModuleType) -> None:
    cp = cupy_both_orders
    x = np.arange(300, dtype=np.float32) % 7
    out = cp.empty(3, np.float32)
    kernel(BLOCK_SUM, "block_sum")((3,), (128,), (cp.asarray(x), out, np.int32(300)))
    padded = np.concatenate([x, np.zeros(84, np.float32)]).reshape(3, 128)
    np.testing.assert_array_equal(out.get(), (padded**2).sum(1))


def test_dynamic_shared_memory(cupy_both_orders: ModuleType) -> None:
    cp = cupy_both_orders
    x, y = cp.arange(40.0), cp.empty(40)
    rotate = kernel(DYNAMIC_SUM, "rotate")
    rotate((1,), (40,), (x, y), shared_mem=40 * 8)
    np.testing.assert_array_equal(y.get(), np.roll(np.arange(40.0), -1))
    with pytest.raises(ShimError, match=r"outside every array: element .* of 'dynamic shared"):
        rotate((1,), (40,), (x, y), shared_mem=39 * 8)


def test_warp_shuffles(cupy_both_orders: ModuleType) -> None:
    cp = cupy_both_orders
    x = np.arange(64.0).reshape(2, 32)
    down, everywhere = cp.empty(2), cp.empty((2, 32))
    kernel(WARP_SUM, "warp_sum")((2,), (32,), (cp.asarray(x), down, everywhere))
    np.testing.assert_array_equal(down.get(), x.sum(1))
    np.testing.assert_array_equal(everywhere.get(), np.repeat(x.sum(1)[:, None], 32, 1))


def test_a_shuffle_from_a_lane_that_does_not_exist_gives_poison(cupy: ModuleType) -> None:
    down, everywhere = cupy.empty(1), cupy.empty(20)
    kernel(WARP_SUM, "warp_sum")((1,), (20,), (cupy.ones(20), down, everywhere))
    assert np.isnan(down.get()).all()


def test_atomic_addition_over_blocks(cupy_both_orders: ModuleType) -> None:
    source = """extern "C" __global__ void count(float* total, int* tickets) {
        atomicAdd(total, 0.5f);
        tickets[atomicAdd(tickets + 12, 1)] = threadIdx.x + 4 * blockIdx.x;
    }"""
    cp = cupy_both_orders
    total, tickets = cp.zeros(1, np.float32), cp.zeros(13, np.int32)
    kernel(source, "count")((3,), (4,), (total, tickets))
    assert total.get() == 6.0
    assert sorted(tickets.get()[:12]) == list(range(12))


def test_float32_denormals_are_flushed_as_cupy_has_them(cupy: ModuleType) -> None:
    y = cupy.zeros(1, np.float32)
    scale_add = kernel(SCALE, "scale_add", "-DREAL=float")
    tiny = cupy.full(1, 1e-39, np.float32)
    scale_add((1,), (1,), (tiny, y, np.float32(0.5), np.int32(1)))
    assert y.get() == 0.0
    assert np.float32(1e-39) * np.float32(0.5) != 0.0  # and the process is as before


def test_many_sources_share_one_call_of_the_compiler(cupy: ModuleType) -> None:
    source = """#define STEP {0}
    typedef int integer;
    __device__ integer step() {{ return STEP; }}
    extern "C" __global__ void shift(int* x) {{ x[threadIdx.x] += step(); }}"""
    modules = [RawModule(code=source.format(step)) for step in (3, 5, 7)]
    assert compile_pending() >= 3
    x = cupy.zeros(4, np.int32)
    for module in modules:
        module.get_function("shift")((1,), (4,), (x,))
    assert (x.get() == 15).all()


def test_one_bad_source_of_a_batch_is_named(cupy: ModuleType) -> None:
    good = RawModule(code='extern "C" __global__ void f(float* x) { x[0] = 1.0f; }')
    bad = RawModule(code='extern "C" __global__ void f(float* x) {\n x[0] = missing; }')
    with pytest.raises(cupy.cuda.compiler.CompileException, match=r"kernel.cu:2:.*missing"):
        fake_cupy._compile([good, bad])
    with pytest.raises(cupy.cuda.compiler.CompileException, match="missing"):
        bad.compile()
    good.get_function("f")
    with pytest.raises(cupy.cuda.driver.CUDADriverError, match=r"'g'.*has f"):
        good.get_function("g")


# Arguments ------------------------------------------------------------------------------------


def launch_scale(
    cp: ModuleType, x: object = None, y: object = None, a: object = None, n: object = None
) -> None:
    kernel(SCALE, "scale_add", "-DREAL=float")(
        (1,),
        (8,),
        (
            cp.ones(8, np.float32) if x is None else x,
            cp.ones(8, np.float32) if y is None else y,
            np.float32(1) if a is None else a,
            np.int32(8) if n is None else n,
        ),
    )


def test_wrong_arguments_are_refused_by_name(cupy: ModuleType) -> None:
    launch_scale(cupy)
    for wrong, message in [
        ({"x": cupy.ones(8)}, "'x' is an array of float64, the kernel declares float32"),
        ({"x": cupy.ones((8, 2), np.float32)[:, 0]}, "'x' has shape .* not C-contiguous"),
        ({"x": cupy.ones((4, 2), np.float32).T}, "not C-contiguous"),
        ({"a": 1.0}, "'a' is a Python float"),
        ({"a": np.float64(1)}, "'a' is float64, the kernel declares float32"),
        ({"n": 8}, "'n' is a Python int"),
        ({"n": np.int64(8)}, "'n' is int64"),
    ]:
        with pytest.raises(ShimError, match=message):
            launch_scale(cupy, **wrong)
    with pytest.raises(TypeError, match=r"Unsupported type <class 'numpy.ndarray'>"):
        launch_scale(cupy, x=np.ones(8, np.float32))


def test_an_alias_of_a_written_restrict_argument_is_refused(cupy: ModuleType) -> None:
    x = cupy.ones(12, np.float32)
    with pytest.raises(ShimError, match="'x' and 'y' overlap"):
        launch_scale(cupy, x=x[:8], y=x[4:])
    launch_scale(cupy, x=x[:4], y=x[4:], n=np.int32(4))


def test_launch_dimensions_are_checked(cupy: ModuleType) -> None:
    x = cupy.zeros(4, np.int32)
    noop = kernel('extern "C" __global__ void noop(int* x) {}', "noop")
    for grid, block, message in [
        ((0,), (4,), "grid"),
        ((1,), (1025,), "block"),
        ((1,), (64, 32), "more than 1024 threads"),
        ((1, 65536), (1,), "grid"),
        ((1.5,), (1,), "not an int"),
        (1, (1,), "tuple"),
    ]:
        with pytest.raises(ShimError, match=message):
            noop(grid, block, (x,))
    with pytest.raises(ShimError, match="dynamic shared memory, limit 49152"):
        noop((1,), (1,), (x,), shared_mem=50_000)
    with pytest.raises(ShimError, match="takes 1 arguments"):
        noop((1,), (1,), (x, x))


# Faults of the kernel -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("k", r"thread \(8,0,0\) of block \(0,0,0\) writes .* element 8 of 'y', which has 8"),
        ("k - 1", r"writes outside every array: element -1 of 'y'"),
        ("4 * k", r"writes outside every array: element 8 of 'y'"),
    ],
)
def test_a_stray_write_is_caught(cupy: ModuleType, index: str, message: str) -> None:
    source = f"""extern "C" __global__ void stray(float* y) {{
        const int k = threadIdx.x; y[{index}] = 1.0f; }}"""
    with pytest.raises(ShimError, match=message):
        kernel(source, "stray")((1,), (9,), (cupy.empty(8, np.float32),))


def test_a_stray_read_is_caught_beside_a_neighbouring_array(cupy: ModuleType) -> None:
    source = """extern "C" __global__ void ahead(const float* h, float* y) {
        y[threadIdx.x] = h[threadIdx.x + 1]; }"""
    both = cupy.ones((3, 4), np.float32)  # step 1 of h runs over into step 2
    with pytest.raises(ShimError, match="reads outside every array: element 4 of 'h'"):
        kernel(source, "ahead")((1,), (4,), (both[1], cupy.empty(4, np.float32)))


def test_a_write_to_a_const_array_is_caught(cupy: ModuleType) -> None:
    source = """extern "C" __global__ void sly(const float* x) { ((float*)x)[0] = 1.0f; }"""
    with pytest.raises(ShimError, match="element 0 of 'x', which the kernel declares const"):
        kernel(source, "sly")((1,), (1,), (cupy.ones(2, np.float32),))


def test_an_index_outside_a_fixed_array_is_caught(cupy: ModuleType) -> None:
    with pytest.raises(ShimError, match="index 128 outside a fixed-size array, line 6"):
        kernel(BLOCK_SUM, "block_sum")(
            (1,), (256,), (cupy.ones(256, np.float32), cupy.empty(1, np.float32), np.int32(256))
        )


@pytest.mark.parametrize("occurrence", [0, 1])
def test_a_missing_barrier_is_a_race(cupy_both_orders: ModuleType, occurrence: int) -> None:
    parts = BLOCK_SUM.split("__syncthreads();")
    source = "__syncthreads();".join(parts[: occurrence + 1]) + "__syncthreads();".join(
        parts[occurrence + 1 :]
    )
    assert source.count("__syncthreads") == 1
    cp = cupy_both_orders
    args = (cp.ones(128, np.float32), cp.empty(1, np.float32), np.int32(128))
    with pytest.raises(ShimError, match=r"race on element|no thread of the block has written"):
        kernel(source, "block_sum")((1,), (128,), args)


def test_a_missing_barrier_also_changes_the_result() -> None:
    # Unchecked, the race shows itself only through the order in which the threads run.
    source = BLOCK_SUM.replace("__syncthreads();\n    for", "\n    for")
    sums = []
    for reverse in (False, True):
        with fake_cupy.installed(checked=False, reverse=reverse) as cp:
            out = cp.empty(1, np.float32)
            kernel(source, "block_sum")(
                (1,), (128,), (cp.ones(128, np.float32), out, np.int32(128))
            )
            sums.append(out.get()[0])
    assert sums[0] != 128.0 or sums[1] != 128.0


@pytest.mark.parametrize(
    ("body", "launch"),
    [
        ("y[0] += 1.0f;", ((1,), (2,))),  # threads of one block
        ("y[0] += 1.0f;", ((2,), (1,))),  # blocks, which nothing orders
        ("y[threadIdx.x] = 1.0f; __syncthreads(); if (blockIdx.x) y[0] = 2.0f;", ((2,), (2,))),
        ("if (threadIdx.x == 1) atomicAdd(y, 1.0f); else y[0] = 0.0f;", ((1,), (2,))),
        ("float v = y[0]; y[threadIdx.x] = v + 1.0f;", ((1,), (64,))),
    ],
)
def test_unordered_accesses_are_races(
    cupy_both_orders: ModuleType, body: str, launch: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    source = f'extern "C" __global__ void racy(float* y) {{ {body} }}'
    with pytest.raises(ShimError, match="race on element 0 of 'y'"):
        kernel(source, "racy")(*launch, (cupy_both_orders.zeros(64, np.float32),))


def test_lanes_are_ordered_by_a_warp_barrier_only(cupy_both_orders: ModuleType) -> None:
    source = """extern "C" __global__ void turn(float* y) {
        float v = y[threadIdx.x ^ 1]; __syncwarp(); y[threadIdx.x] = v; }"""
    cp = cupy_both_orders
    y = cp.arange(32, dtype=np.float32)
    kernel(source, "turn")((1,), (32,), (y,))
    np.testing.assert_array_equal(y.get(), np.arange(32) ^ 1)
    with pytest.raises(ShimError, match="race"):
        kernel(source.replace("__syncwarp();", ""), "turn")((1,), (32,), (y,))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("if (threadIdx.x < 3) __syncthreads();", "threads 0 to 2 are at the barrier of line 2"),
        (
            "if (threadIdx.x < 3) __syncthreads();\n else __syncthreads();",
            "threads 3 to 7 are at the barrier of line 3",
        ),
        (
            "if (threadIdx.x < 3) x[threadIdx.x] = __shfl_down_sync(0xffu, 1.0f, 1);",
            "threads 0 to 2 are at the warp operation of line 2; threads 3 to 7 are at the barrier",
        ),
        ("x[threadIdx.x] = __shfl_down_sync(0x0fu, 1.0f, 1);", "mask 0000000f leaves it out"),
    ],
)
def test_divergence_is_reported(cupy_both_orders: ModuleType, body: str, message: str) -> None:
    source = f'extern "C" __global__ void diverge(float* x) {{\n {body}\n __syncthreads(); }}'
    with pytest.raises(ShimError, match=message):
        kernel(source, "diverge")((1,), (8,), (cupy_both_orders.zeros(8, np.float32),))


# The stand-in module --------------------------------------------------------------------------


def test_the_stand_in_is_importable_only_while_installed() -> None:
    before = sys.modules.get("cupy")
    with fake_cupy.installed():
        import cupy as inside

        assert inside is fake_cupy.module
    assert sys.modules.get("cupy") is before


def test_numpy_arrays_do_not_mix_silently(cupy: ModuleType) -> None:
    x, host = cupy.ones((2, 3)), np.ones((2, 3))
    for mix in (
        lambda: x + host,
        lambda: host + x,
        lambda: cupy.tanh(host),
        lambda: cupy.concatenate([x, host]),
        lambda: cupy.matmul(x, host.T),
        lambda: np.asarray(x),
        lambda: x.__setitem__(0, host[0]),
    ):
        with pytest.raises(TypeError):
            mix()
    assert isinstance(cupy.asarray(host) @ x.T, cupy.ndarray)
    assert isinstance(np.tanh(x), cupy.ndarray)
    assert isinstance(x.sum(), cupy.ndarray)
    assert isinstance(x[0, 0], cupy.ndarray)
    assert isinstance(cupy.asnumpy(x), np.ndarray)
    assert (np.float64(2) * x + 1.0).get().sum() == 18.0


def test_views_share_memory_and_new_memory_is_poisoned(cupy: ModuleType) -> None:
    x = cupy.zeros((3, 4))
    x[1][...] = 5.0
    x[2, 1] = 7.0
    x[0] += 1.0
    assert x.get().sum() == 4 + 20 + 7
    assert np.isnan(cupy.empty(3).get()).all()
    assert np.isnan(cupy.empty_like(x).get()).all()
    out = cupy.empty((3, 3))
    assert cupy.dot(x, x.T, out=out) is out
    np.testing.assert_array_equal(out.get(), x.get() @ x.get().T)
    with pytest.raises(ValueError, match="C-contiguous"):
        cupy.dot(x, x.T, out=out.T[:, :])
    with pytest.raises(AttributeError, match="no 'ElementwiseKernel'"):
        _ = cupy.ElementwiseKernel


# NVRTC ----------------------------------------------------------------------------------------


def test_nvrtc_accepts_the_kernels_of_this_file(compile_sm90: Callable[..., bytes]) -> None:
    for source in (BLOCK_SUM, DYNAMIC_SUM, WARP_SUM):
        assert compile_sm90(source)[:4] == b"\x7fELF"
    assert compile_sm90(SCALE, ("-DREAL=double",))[:4] == b"\x7fELF"


def test_nvrtc_refuses_a_bad_kernel_with_its_log(compile_sm90: Callable[..., bytes]) -> None:
    with pytest.raises(Exception, match=r'identifier "REAL" is undefined'):
        compile_sm90(SCALE)
