// CUDA C++ on a CPU: the language surface that the kernels under test are compiled against.
//
// A kernel source is compiled unchanged by g++ behind this header. Threads of a block are fibers
// run one after another by runtime.cpp, so a barrier or a warp exchange is a switch of fibers.
// Only what NVRTC offers without a header belongs here; nvrtc.py checks the other direction.
#pragma once
#include <math.h>

// A kernel stays a function of its own: inlined into its caller it would lose its memory hooks.
#define __global__ __attribute__((noinline))
#define SHIM_UNWATCHED __attribute__((no_sanitize("thread")))
#define __device__ __attribute__((unused))
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __constant__ static
// One section for all static shared memory, so that the runtime can watch it and poison it.
#define __shared__ static __attribute__((section("cuda_shared")))

namespace cuda_on_cpu {

struct Dim3 {
    unsigned x, y, z;
};
enum Warp { warp_exchange, warp_ballot, warp_sync };

// Provided by runtime.cpp. Every call site carries its line: threads that wait at different
// lines are divergent even where the number of waiting threads happens to fit.
extern "C" {
extern const Dim3 shim_thread_index, shim_block_index, shim_block_dim, shim_grid_dim;
void shim_barrier(int line);
unsigned long long shim_warp(int kind, unsigned mask, unsigned long long value, int source_lane,
                             int line);
int shim_lane();
void *shim_dynamic_shared();
void shim_atomic(void *address, int size);
}

// A register of up to eight bytes as it travels between lanes.
template <class T> unsigned long long to_bits(T value) {
    static_assert(sizeof(T) <= 8, "a warp exchange moves at most eight bytes");
    unsigned long long bits = 0;
    __builtin_memcpy(&bits, &value, sizeof(T));
    return bits;
}
template <class T> T from_bits(unsigned long long bits) {
    T value;
    __builtin_memcpy(&value, &bits, sizeof(T));
    return value;
}

inline int position(int width) { return shim_lane() & (width - 1); }
template <class T> T exchange(int line, unsigned mask, T value, int target, int width) {
    // Outside its group of `width` lanes a shift returns the caller's own value.
    int lane = shim_lane();
    int source = target < 0 || target >= width ? lane : (lane & ~(width - 1)) + target;
    return from_bits<T>(shim_warp(warp_exchange, mask, to_bits(value), source, line));
}
template <class T> T shfl_down(int line, unsigned mask, T value, unsigned by, int width = 32) {
    return exchange(line, mask, value, position(width) + static_cast<int>(by), width);
}
template <class T> T shfl_up(int line, unsigned mask, T value, unsigned by, int width = 32) {
    return exchange(line, mask, value, position(width) - static_cast<int>(by), width);
}
template <class T> T shfl_xor(int line, unsigned mask, T value, int by, int width = 32) {
    return exchange(line, mask, value, position(width) ^ by, width);
}
template <class T> T shfl(int line, unsigned mask, T value, int from, int width = 32) {
    return exchange(line, mask, value, from & (width - 1), width);
}
inline unsigned ballot(int line, unsigned mask, int predicate) {
    return static_cast<unsigned>(shim_warp(warp_ballot, mask, predicate != 0, 0, line));
}
inline void sync_warp(int line, unsigned mask = 0xffffffffu) {
    shim_warp(warp_sync, mask, 0, 0, line);
}

// The signature of a kernel: the kinds of its parameters (p pointer, c pointer to const, v value),
// a slash, and NumPy's type characters. Read off the compiled type, so that typedefs and macros
// of the source are already resolved.
template <class T> struct Code;
#define SHIM_CODE(T, c) \
    template <> struct Code<T> { static constexpr char value = c; };
SHIM_CODE(float, 'f') SHIM_CODE(double, 'd') SHIM_CODE(bool, '?') SHIM_CODE(signed char, 'b')
SHIM_CODE(char, 'b') SHIM_CODE(unsigned char, 'B') SHIM_CODE(short, 'h')
SHIM_CODE(unsigned short, 'H') SHIM_CODE(int, 'i') SHIM_CODE(unsigned, 'I') SHIM_CODE(long, 'q')
SHIM_CODE(unsigned long, 'Q') SHIM_CODE(long long, 'q') SHIM_CODE(unsigned long long, 'Q')
#undef SHIM_CODE
template <class T> struct Param { static constexpr char kind = 'v', code = Code<T>::value; };
template <class T> struct Param<T *> { static constexpr char kind = 'p', code = Code<T>::value; };
template <class T> struct Param<const T *> {
    static constexpr char kind = 'c', code = Code<T>::value;
};
template <class... P> SHIM_UNWATCHED const char *signature(void (*)(P...)) {
    static const char text[] = {Param<P>::kind..., '/', Param<P>::code..., 0};
    return text;
}

template <int...> struct Indices {};
template <int N, int... I> struct UpTo : UpTo<N - 1, N - 1, I...> {};
template <int... I> struct UpTo<0, I...> { using type = Indices<I...>; };
template <class... P, int... I>
SHIM_UNWATCHED void spread(void (*kernel)(P...), void **args, Indices<I...>) {
    kernel(*static_cast<P *>(args[I])...);
}
template <class... P> SHIM_UNWATCHED void call(void (*kernel)(P...), void **args) {
    spread(kernel, args, typename UpTo<sizeof...(P)>::type());
}
}  // namespace cuda_on_cpu

// What the launcher looks up in the compiled library.
extern "C" char __start_cuda_shared[] __attribute__((weak, visibility("hidden")));
extern "C" char __stop_cuda_shared[] __attribute__((weak, visibility("hidden")));
#define SHIM_EXPORT(kernel)                                                              \
    extern "C" SHIM_UNWATCHED void kernel##_call(void **args) {                          \
        cuda_on_cpu::call(&kernel, args);                                                \
    }                                                                                    \
    extern "C" SHIM_UNWATCHED const char *kernel##_signature() {                         \
        return cuda_on_cpu::signature(&kernel);                                          \
    }
#define SHIM_EXPORT_SHARED                                                               \
    extern "C" SHIM_UNWATCHED void shim_shared_section(void **begin, void **end) {       \
        *begin = __start_cuda_shared, *end = __stop_cuda_shared;                         \
    }

#define threadIdx cuda_on_cpu::shim_thread_index
#define blockIdx cuda_on_cpu::shim_block_index
#define blockDim cuda_on_cpu::shim_block_dim
#define gridDim cuda_on_cpu::shim_grid_dim
#define warpSize 32

#define __syncthreads() cuda_on_cpu::shim_barrier(__LINE__)
#define __syncwarp(...) cuda_on_cpu::sync_warp(__LINE__ __VA_OPT__(, ) __VA_ARGS__)
#define __shfl_sync(...) cuda_on_cpu::shfl(__LINE__, __VA_ARGS__)
#define __shfl_up_sync(...) cuda_on_cpu::shfl_up(__LINE__, __VA_ARGS__)
#define __shfl_down_sync(...) cuda_on_cpu::shfl_down(__LINE__, __VA_ARGS__)
#define __shfl_xor_sync(...) cuda_on_cpu::shfl_xor(__LINE__, __VA_ARGS__)
#define __ballot_sync(mask, p) cuda_on_cpu::ballot(__LINE__, mask, p)
#define __any_sync(mask, p) (cuda_on_cpu::ballot(__LINE__, mask, p) != 0)
#define __all_sync(mask, p) (cuda_on_cpu::ballot(__LINE__, mask, !(p)) == 0)

inline void __threadfence() {}
inline void __threadfence_block() {}
template <class T> T __ldg(const T *address) { return *address; }

// Atomics: the runtime is told about the access, which itself is left out of the race check.
#define SHIM_ATOMIC(name, T, update)                                                    \
    __attribute__((no_sanitize("thread"), noinline, unused)) static T name(T *at, T v) { \
        cuda_on_cpu::shim_atomic(at, sizeof(T));                                        \
        T old = *at;                                                                    \
        *at = update;                                                                   \
        return old;                                                                     \
    }
#define SHIM_ATOMICS(T)                              \
    SHIM_ATOMIC(atomicAdd, T, old + v)               \
    SHIM_ATOMIC(atomicExch, T, v)
#define SHIM_ATOMIC_ORDER(T)                         \
    SHIM_ATOMIC(atomicMax, T, v > old ? v : old)     \
    SHIM_ATOMIC(atomicMin, T, v < old ? v : old)
SHIM_ATOMICS(int) SHIM_ATOMICS(unsigned) SHIM_ATOMICS(unsigned long long)
SHIM_ATOMICS(float) SHIM_ATOMICS(double)
SHIM_ATOMIC_ORDER(int) SHIM_ATOMIC_ORDER(unsigned) SHIM_ATOMIC_ORDER(unsigned long long)

// Mathematical functions that CUDA has and <math.h> lacks.
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline float rsqrt(float x) { return rsqrtf(x); }
inline float rcbrtf(float x) { return 1.0f / cbrtf(x); }
inline double rcbrt(double x) { return 1.0 / cbrt(x); }
inline float fdividef(float x, float y) { return x / y; }
inline float __fdividef(float x, float y) { return x / y; }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __powf(float x, float y) { return powf(x, y); }
inline float __tanhf(float x) { return tanhf(x); }
inline float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }
inline float normcdff(float x) { return 0.5f * erfcf(-x * 0.70710678118654752f); }
inline double normcdf(double x) { return 0.5 * erfc(-x * 0.70710678118654752); }

#define SHIM_EXTREMA(T)                                       \
    inline T max(T a, T b) { return a > b ? a : b; }          \
    inline T min(T a, T b) { return a < b ? a : b; }
SHIM_EXTREMA(int) SHIM_EXTREMA(unsigned) SHIM_EXTREMA(long) SHIM_EXTREMA(unsigned long)
SHIM_EXTREMA(long long) SHIM_EXTREMA(unsigned long long)
#undef SHIM_EXTREMA
inline float max(float a, float b) { return fmaxf(a, b); }
inline float min(float a, float b) { return fminf(a, b); }
inline double max(double a, double b) { return fmax(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(float a, double b) { return fmax(a, b); }
inline double max(double a, float b) { return fmax(a, b); }
inline double min(float a, double b) { return fmin(a, b); }
inline double min(double a, float b) { return fmin(a, b); }
