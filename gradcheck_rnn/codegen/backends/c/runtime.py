"""The fixed part of a C file: types, memory, elementary functions, matrix products.

exp and tanh are written without branches, so that a compiler vectorises the loops they stand in.
Errors, measured by the tests: at most 2 units in the last place for exp, 4 for tanh.
"""

from __future__ import annotations

__all__ = ["ELEMENTARY", "MEMORY", "PRODUCTS", "SYSTEMS", "TYPES"]

TYPES = """
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef USE_CBLAS
#include <cblas.h>
#endif

#ifdef __cplusplus
#define RESTRICT __restrict
#else
#define RESTRICT restrict
#endif

#ifdef SINGLE
typedef float real;
typedef uint32_t bits;
#define LIBRARY(name) name##f
#define BLAS(name) cblas_s##name
#else
typedef double real;
typedef uint64_t bits;
#define LIBRARY(name) name
#define BLAS(name) cblas_d##name
#endif
typedef ptrdiff_t Index;

/* Before a loop that adds to totals: every lane of a vector may have a part of each sum. */
#if defined(_OPENMP) || defined(USE_SIMD)
#define PRAGMA(text) _Pragma(#text)
#define LANES_ADD(...) PRAGMA(omp simd reduction(+ : __VA_ARGS__))
#else
#define LANES_ADD(...)
#endif
"""

MEMORY = """
/* ------------------------------------------------------------------------------- memory */

/* Arrays start 64 bytes apart from one another. */
static inline Index room(Index count) { return (count + 15) / 16 * 16; }

static inline real *take(real **next, Index count)
{
    real *taken = *next;
    *next += room(count);
    return taken;
}

static inline Index smallest(Index a, Index b) { return a < b ? a : b; }
static inline Index largest(Index a, Index b) { return a > b ? a : b; }

static inline void fill(real *x, Index count, real value)
{
    for (Index k = 0; k < count; ++k) x[k] = value;
}

/* Rows that are `stride` apart, one after the other; to NULL: not wanted. */
static inline void copy_rows(real *to, const real *from, Index rows, Index width, Index stride)
{
    if (to == NULL) return;
    for (Index row = 0; row < rows; ++row) {
        memcpy(to + row * width, from + row * stride, (size_t)width * sizeof(real));
    }
}
"""

ELEMENTARY = """
/* ---------------------------------------------------------------- elementary functions */

static inline real real_fabs(real x) { return LIBRARY(fabs)(x); }
static inline real real_sqrt(real x) { return LIBRARY(sqrt)(x); }
static inline real real_log(real x) { return LIBRARY(log)(x); }
static inline real real_log1p(real x) { return LIBRARY(log1p)(x); }
static inline real real_sin(real x) { return LIBRARY(sin)(x); }
static inline real real_cos(real x) { return LIBRARY(cos)(x); }
static inline real real_pow(real x, real exponent) { return LIBRARY(pow)(x, exponent); }
static inline real real_square(real x) { return x * x; }

/* A sum with `rounder` has a whole number in its lowest bits. */
#ifdef SINGLE
static const real rounder = 12582912.0f, log2_e = 1.44269504f, ln2_high = 0.693359375f,
                  ln2_low = -2.12194440e-4f, exp_most = 89.0f, exp_least = -104.0f,
                  tanh_most = 10.0f, tiny = 1e-30f, large_power = 18446744073709551616.0f;
enum { fraction_bits = 23, exponent_bias = 127 };
#else
static const real rounder = 6755399441055744.0, log2_e = 1.4426950408889634,
                  ln2_high = 0.693147180369123816490, ln2_low = 1.90821492927058770002e-10,
                  exp_most = 710.0, exp_least = -746.0, tanh_most = 22.0, tiny = 1e-270,
                  large_power = 1.3407807929942597e154;
enum { fraction_bits = 52, exponent_bias = 1023 };
#endif

/* A power of two, mostly 1, for which 1 / (y * shift) has all its digits: x / y is x * shift times
   that, within 2 units in the last place. */
static inline real shift_of(real y)
{
    const real size = real_fabs(y);
    return size < tiny ? large_power : size > 1 / tiny ? 1 / large_power : 1;
}

/* 2 to the whole number in the lowest bits of n + rounder. */
static inline real power_of_two(real n)
{
    const real shifted = n + rounder;
    bits b;
    real power;
    memcpy(&b, &shifted, sizeof b);
    b = (b << fraction_bits) + ((bits)exponent_bias << fraction_bits);
    memcpy(&power, &b, sizeof b);
    return power;
}

/* exp(r) - 1 for |r| <= ln(2) / 2, by Taylor's polynomial: even and odd powers apart. */
static inline real expm1_of(real r)
{
    const real s = r * r;
#ifdef SINGLE
    real even = (real)(1.0 / 720), odd = (real)(1.0 / 5040);
#else
    real even = (real)(1.0 / 479001600), odd = (real)(1.0 / 6227020800);
    even = even * s + (real)(1.0 / 3628800);
    odd = odd * s + (real)(1.0 / 39916800);
    even = even * s + (real)(1.0 / 40320);
    odd = odd * s + (real)(1.0 / 362880);
    even = even * s + (real)(1.0 / 720);
    odd = odd * s + (real)(1.0 / 5040);
#endif
    even = even * s + (real)(1.0 / 24);
    odd = odd * s + (real)(1.0 / 120);
    even = even * s + (real)0.5;
    odd = odd * s + (real)(1.0 / 6);
    return (odd * r + even) * s + r;
}

/* Within 2 units in the last place; 0 and infinity where those are nearest. */
static inline real real_exp(real x)
{
    x = x > exp_most ? exp_most : x;
    x = x < exp_least ? exp_least : x;
    const real n = (x * log2_e + rounder) - rounder;
    const real half = (n * (real)0.5 + rounder) - rounder;
    const real y = expm1_of(x - n * ln2_high - n * ln2_low);
    return (power_of_two(half) + power_of_two(half) * y) * power_of_two(n - half);
}

/* Within 4 units in the last place, near 0 too: by exp(-2|x|) - 1. */
static inline real real_tanh(real x)
{
    real z = LIBRARY(fabs)(x);
    z = -2 * (z > tanh_most ? tanh_most : z);
    const real n = (z * log2_e + rounder) - rounder;
    const real power = power_of_two(n);
    const real y = power * expm1_of(z - n * ln2_high - n * ln2_low) + (power - 1);
    return LIBRARY(copysign)(-y / (2 + y), x);
}

static inline void log_softmax_of(real *x, Index count)
{
    real peak = -(real)INFINITY, total = 0;
    for (Index k = 0; k < count; ++k) peak = x[k] > peak ? x[k] : peak;
    LANES_ADD(total)
    for (Index k = 0; k < count; ++k) total += real_exp(x[k] - peak);
    for (Index k = 0; k < count; ++k) x[k] = x[k] - peak - real_log(total);
}

static inline void softmax_of(real *x, Index count)
{
    log_softmax_of(x, count);
    for (Index k = 0; k < count; ++k) x[k] = real_exp(x[k]);
}
"""

PRODUCTS = """
/* --------------------------------------------------------------------- matrix products */

#if defined(__AVX512F__)
enum { LANES = 64 / sizeof(real), HEIGHT = 8 };
#elif defined(__AVX__)
enum { LANES = 32 / sizeof(real), HEIGHT = 6 };
#else
enum { LANES = 16 / sizeof(real), HEIGHT = 6 };
#endif
/* A tile of a product is HEIGHT (at most MOST) rows of WIDTH entries; work is cut into DEPTH terms
   of a sum and ROWS rows, which the caches hold. */
enum { WIDTH = 2 * LANES, MOST = 8, DEPTH = 256, ROWS = 96 };

static inline Index packed_size(Index terms, Index columns)
{
    return room(terms * ((columns + WIDTH - 1) / WIDTH * WIDTH));
}

/* How many steps go into one product: about DEPTH rows, which are then still in a cache. */
static inline Index steps_at_once(Index steps, Index sequences)
{
    return largest(smallest(steps, DEPTH / largest(sequences, 1)), 1);
}

/* A matrix with entry (k, j) at b[k * row + j * column], as panels of WIDTH columns. */
static void pack(real *RESTRICT to, const real *RESTRICT b, Index row, Index column, Index terms,
                 Index columns)
{
    for (Index j0 = 0; j0 < columns; j0 += WIDTH, to += terms * WIDTH) {
        const Index width = smallest(columns - j0, WIDTH);
        if (width < WIDTH) fill(to, terms * WIDTH, 0);
        if (column == 1) {
            for (Index k = 0; k < terms; ++k) {
                for (Index j = 0; j < width; ++j) to[k * WIDTH + j] = b[k * row + j0 + j];
            }
        } else {
            for (Index j = 0; j < width; ++j) {
                for (Index k = 0; k < terms; ++k) {
                    to[k * WIDTH + j] = b[k * row + (j0 + j) * column];
                }
            }
        }
    }
}

/* One tile: c (+)= a times a panel; `rows` is a constant wherever this is called. */
#if defined(__GNUC__)
typedef real vector __attribute__((vector_size(LANES * sizeof(real))));

static inline __attribute__((always_inline)) void tile(
    const int rows, real *RESTRICT c, Index c_row, const real *RESTRICT a, Index a_row,
    Index a_column, const real *RESTRICT b, Index terms, Index width, int add)
{
    vector sum[MOST][2];
    const vector none = {0};
#pragma GCC unroll 8
    for (int i = 0; i < rows; ++i) sum[i][0] = sum[i][1] = none;
    for (Index k = 0; k < terms; ++k, a += a_column, b += WIDTH) {
        vector left, right;
        memcpy(&left, b, sizeof left);
        memcpy(&right, b + LANES, sizeof right);
#pragma GCC unroll 8
        for (int i = 0; i < rows; ++i) {
            sum[i][0] += a[i * a_row] * left;
            sum[i][1] += a[i * a_row] * right;
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; ++i) {
        real *const to = c + i * c_row;
        if (width == WIDTH) {
            vector was[2];
            memcpy(was, to, sizeof was);
            if (add) {
                sum[i][0] += was[0];
                sum[i][1] += was[1];
            }
            memcpy(to, &sum[i][0], sizeof was[0]);
            memcpy(to + LANES, &sum[i][1], sizeof was[1]);
        } else {
            real edge[WIDTH];
            memcpy(edge, &sum[i][0], sizeof sum[i][0]);
            memcpy(edge + LANES, &sum[i][1], sizeof sum[i][1]);
            for (Index j = 0; j < width; ++j) to[j] = add ? to[j] + edge[j] : edge[j];
        }
    }
}
#else
static inline void tile(
    const int rows, real *RESTRICT c, Index c_row, const real *RESTRICT a, Index a_row,
    Index a_column, const real *RESTRICT b, Index terms, Index width, int add)
{
    for (int i = 0; i < rows; ++i) {
        real sum[WIDTH] = {0};
        for (Index k = 0; k < terms; ++k) {
            const real factor = a[i * a_row + k * a_column];
            for (int j = 0; j < WIDTH; ++j) sum[j] += factor * b[k * WIDTH + j];
        }
        for (Index j = 0; j < width; ++j) {
            c[i * c_row + j] = add ? c[i * c_row + j] + sum[j] : sum[j];
        }
    }
}
#endif

static void tile_n(Index rows, real *c, Index c_row, const real *a, Index a_row,
                   Index a_column, const real *b, Index terms, Index width, int add)
{
    switch (rows) {
    case 1: tile(1, c, c_row, a, a_row, a_column, b, terms, width, add); break;
    case 2: tile(2, c, c_row, a, a_row, a_column, b, terms, width, add); break;
    case 3: tile(3, c, c_row, a, a_row, a_column, b, terms, width, add); break;
    case 4: tile(4, c, c_row, a, a_row, a_column, b, terms, width, add); break;
    case 5: tile(5, c, c_row, a, a_row, a_column, b, terms, width, add); break;
    case 6: tile(6, c, c_row, a, a_row, a_column, b, terms, width, add); break;
    case 7: tile(7, c, c_row, a, a_row, a_column, b, terms, width, add); break;
    default: tile(MOST, c, c_row, a, a_row, a_column, b, terms, width, add);
    }
}

/* Rows of a in blocks of HEIGHT, whose entries of one column lie side by side. */
static void turn(real *RESTRICT to, const real *RESTRICT a, Index a_row, Index a_column,
                 Index height, Index depth)
{
    for (Index i = 0; i < height; i += HEIGHT, to += HEIGHT * DEPTH) {
        const Index some = smallest(height - i, HEIGHT);
        for (Index k = 0; k < depth; ++k) {
            const real *from = a + i * a_row + k * a_column;
            if (some == HEIGHT && a_row == 1) {
                memcpy(to + k * HEIGHT, from, HEIGHT * sizeof(real));
            } else {
                for (Index r = 0; r < some; ++r) to[k * HEIGHT + r] = from[r * a_row];
            }
        }
    }
}

/* c (+)= a b for a packed b; entry (i, k) of a is at a[i * a_row + k * a_column]. The workspace has
   room for ROWS * DEPTH numbers if a_column is not 1. */
static void multiply(real *c, Index c_row, const real *a, Index a_row, Index a_column,
                     const real *b, Index rows, Index columns, Index terms, int add, real *scratch)
{
    if (terms == 0 && !add) {
        for (Index i = 0; i < rows; ++i) fill(c + i * c_row, columns, 0);
    }
    for (Index i0 = 0; i0 < rows; i0 += ROWS) {
        const Index height = smallest(rows - i0, ROWS);
        for (Index k0 = 0; k0 < terms; k0 += DEPTH) {
            const Index depth = smallest(terms - k0, DEPTH);
            const real *part = a + i0 * a_row + k0 * a_column;
            Index part_row = a_row, part_column = a_column, block = HEIGHT * a_row;
            if (a_column != 1) {
                turn(scratch, part, a_row, a_column, height, depth);
                part = scratch;
                part_row = 1;
                part_column = HEIGHT;
                block = HEIGHT * DEPTH;
            }
#ifdef _OPENMP
#pragma omp parallel for schedule(static) if (height * columns * depth > 200000)
#endif
            for (Index j0 = 0; j0 < columns; j0 += WIDTH) {
                const Index width = smallest(columns - j0, WIDTH);
                const real *panel = b + j0 * terms + k0 * WIDTH;
                for (Index i = 0; i < height; i += HEIGHT) {
                    const Index some = smallest(height - i, HEIGHT);
                    tile_n(some, c + (i0 + i) * c_row + j0, c_row, part + i / HEIGHT * block,
                           part_row, part_column, panel, depth, width, add || k0 > 0);
                }
            }
        }
    }
}

/* c (+)= x b, where entry (k, j) of b is at b[k * b_row + j * b_column], and `packed` has b. */
static inline void product(real *c, Index c_row, const real *x, Index x_row, const real *b,
                           Index b_row, Index b_column, Index rows, Index columns, Index terms,
                           int add, const real *packed)
{
#ifdef USE_CBLAS
    const int turned = b_column != 1;
    if (rows * columns * terms > 0) {
        BLAS(gemm)(CblasRowMajor, CblasNoTrans, turned ? CblasTrans : CblasNoTrans, (int)rows,
                   (int)columns, (int)terms, 1, x, (int)x_row, b, (int)(turned ? b_column : b_row),
                   add, c, (int)c_row);
        return;
    }
#endif
    (void)b, (void)b_row, (void)b_column;
    multiply(c, c_row, x, x_row, 1, packed, rows, columns, terms, add, NULL);
}

/* c (+)= the sum over rows of delta' x. */
static inline void outer(real *c, Index c_row, const real *delta, Index delta_row, const real *x,
                         Index x_row, Index rows, Index height, Index width, int add,
                         real *scratch)
{
#ifdef USE_CBLAS
    if (rows * height * width > 0) {
        BLAS(gemm)(CblasRowMajor, CblasTrans, CblasNoTrans, (int)height, (int)width, (int)rows, 1,
                   delta, (int)delta_row, x, (int)x_row, add, c, (int)c_row);
        return;
    }
#endif
    if (rows == 0) multiply(c, c_row, delta, 1, delta_row, x, height, width, 0, add, scratch);
    for (Index k = 0; k < rows; k += DEPTH) {
        const Index terms = smallest(rows - k, DEPTH);
        real *const packed = scratch + ROWS * DEPTH;
        pack(packed, x + k * x_row, x_row, 1, terms, width);
        multiply(c, c_row, delta + k * delta_row, 1, delta_row, packed, height, width, terms,
                 add || k > 0, scratch);
    }
}
"""

SYSTEMS = """
/* ---------------------------------------------------------------------- linear systems */

/* A^-1 B in place of B, or with the transpose of A, by elimination with partial pivoting; A is
   copied to `own`. Entry (i, j) of B is b[i * row + j * column]. A singular A gives no numbers. */
static void eliminate(const real *a, Index n, int turned, real *b, Index row, Index column,
                      Index columns, real *own)
{
    for (Index i = 0; i < n; ++i) {
        for (Index j = 0; j < n; ++j) own[i * n + j] = turned ? a[j * n + i] : a[i * n + j];
    }
    for (Index k = 0; k < n; ++k) {
        Index p = k;
        for (Index i = k + 1; i < n; ++i) {
            if (real_fabs(own[i * n + k]) > real_fabs(own[p * n + k])) p = i;
        }
        if (p != k) {
            for (Index j = k; j < n; ++j) {
                const real kept = own[k * n + j];
                own[k * n + j] = own[p * n + j];
                own[p * n + j] = kept;
            }
            for (Index j = 0; j < columns; ++j) {
                const real kept = b[k * row + j * column];
                b[k * row + j * column] = b[p * row + j * column];
                b[p * row + j * column] = kept;
            }
        }
        for (Index i = k + 1; i < n; ++i) {
            const real factor = own[i * n + k] / own[k * n + k];
            for (Index j = k + 1; j < n; ++j) own[i * n + j] -= factor * own[k * n + j];
            for (Index j = 0; j < columns; ++j) {
                b[i * row + j * column] -= factor * b[k * row + j * column];
            }
        }
    }
    for (Index k = n - 1; k >= 0; --k) {
        for (Index i = k + 1; i < n; ++i) {
            const real factor = own[k * n + i];
            for (Index j = 0; j < columns; ++j) {
                b[k * row + j * column] -= factor * b[i * row + j * column];
            }
        }
        for (Index j = 0; j < columns; ++j) b[k * row + j * column] /= own[k * n + k];
    }
}
"""
