// CUDA C++ on the host, for tests: kernels compile unchanged as C++, one fiber per CUDA thread, blocks one after another.
//
// What it catches that a GPU would do silently: shared memory read before it is written (it holds NaN at the start of
// every block), results that depend on the order of threads (three orders), a wrong number or size of arguments, grids,
// blocks and shared memory beyond the limits, __syncthreads that not all threads reach, at the same line. Built with
// AddressSanitizer it finds accesses out of bounds, with ThreadSanitizer (one of its fibers per CUDA thread) scatters
// that are not atomic and reads before a barrier.
//
// Dynamic shared memory is asked for by SHARED_ARRAY (device_code.cuh), poisoned and limited like static one.
//
// What it does not have: warp operations, textures, libraries.
#pragma once

#define VITREOUS_HOST_SHIM

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static __attribute__((section("shim_shared")))
#define __launch_bounds__(...)

struct float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct int2 {
    int x, y;
};
static inline float2 make_float2(float x, float y) { return {x, y}; }

namespace shim {

struct Index {
    unsigned x, y, z;
};

/// Where the thread that runs now is. Functions, as ThreadSanitizer must not look at what stands behind them.
Index thread_index();
Index block_index();
Index block_size();
Index grid_size();

/// Start of the block's dynamic shared memory.
void* dynamic_shared();

/// Waits for all threads of the block; `line` is where in the kernel.
void barrier(int line);

/// A kernel by name: how many arguments of which size, and how to call it.
struct Kernel {
    const char* name;
    const std::size_t* sizes;
    std::size_t count;
    void (*call)(void* const* arguments);
    const Kernel* next;
};
void add_kernel(Kernel* kernel);

template <auto function>
struct Registered;

template <typename... A, void (*function)(A...)>
struct Registered<function> {
    static inline const std::size_t sizes[] = {sizeof(A)...};

    static void call(void* const* arguments) { unpack(arguments, std::index_sequence_for<A...>{}); }

  private:
    template <std::size_t... I>
    static void unpack(void* const* arguments, std::index_sequence<I...>) {
        function(*static_cast<A*>(arguments[I])...);
    }
};

struct Registration {
    Kernel kernel;
    Registration(const char* name, const std::size_t* sizes, std::size_t count, void (*call)(void* const*))
        : kernel{name, sizes, count, call, nullptr} {
        add_kernel(&kernel);
    }
};

}  // namespace shim

/// Runs a kernel: see shim.cpp.
extern "C" int shim_launch(const char* name, const unsigned* grid, const unsigned* block, std::size_t shared_bytes,
                           void* const* arguments, const std::size_t* sizes, std::size_t count, int order,
                           unsigned long long seed, char* message, std::size_t message_bytes);

/// Makes a kernel known to `shim_launch`.
#define SHIM_KERNEL(function)                                                                        \
    static shim::Registration shim_registration_##function(                                          \
        #function, shim::Registered<function>::sizes,                                                \
        sizeof(shim::Registered<function>::sizes) / sizeof(std::size_t), shim::Registered<function>::call)

#define threadIdx (shim::thread_index())
#define blockIdx (shim::block_index())
#define blockDim (shim::block_size())
#define gridDim (shim::grid_size())
#define __syncthreads() shim::barrier(__LINE__)

// Compiled with -ffp-contract=off, so the plain operators round once each, to nearest.
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
static inline float __fsqrt_rn(float a) { return std::sqrt(a); }
static inline float rsqrtf(float a) { return 1.0f / std::sqrt(a); }
static inline double __dmul_rn(double a, double b) { return a * b; }
static inline double __dadd_rn(double a, double b) { return a + b; }
// the device's are within two units in the last place; these are exact in quarters of a turn, as those are
static inline void sincospif(float x, float* sine, float* cosine) {
    const double quarters = std::nearbyint(2.0 * double(x));
    const double rest = 3.14159265358979323846 * (double(x) - 0.5 * quarters);
    const double s = std::sin(rest), c = std::cos(rest);
    const int turn = static_cast<int>(static_cast<long long>(quarters) & 3);
    *sine = float(turn == 0 ? s : turn == 1 ? c : turn == 2 ? -s : -c);
    *cosine = float(turn == 0 ? c : turn == 1 ? -s : turn == 2 ? -c : s);
}
static inline float sinpif(float x) {
    float sine, cosine;
    sincospif(x, &sine, &cosine);
    return sine;
}
static inline float cospif(float x) {
    float sine, cosine;
    sincospif(x, &sine, &cosine);
    return cosine;
}
static inline int min(int a, int b) { return a < b ? a : b; }
static inline int max(int a, int b) { return a > b ? a : b; }
static inline unsigned __float_as_uint(float a) {
    unsigned bits;
    __builtin_memcpy(&bits, &a, sizeof bits);
    return bits;
}
static inline float __uint_as_float(unsigned bits) {
    float a;
    __builtin_memcpy(&a, &bits, sizeof a);
    return a;
}
static inline long long __double2ll_rn(double a) { return std::llrint(a); }
static inline long long __float2ll_rn(float a) { return std::llrint(a); }

static inline unsigned long long atomicAdd(unsigned long long* address, unsigned long long value) {
    return __atomic_fetch_add(address, value, __ATOMIC_RELAXED);
}
static inline unsigned atomicAdd(unsigned* address, unsigned value) {
    return __atomic_fetch_add(address, value, __ATOMIC_RELAXED);
}
static inline int atomicAdd(int* address, int value) {
    return __atomic_fetch_add(address, value, __ATOMIC_RELAXED);
}
static inline float atomicAdd(float* address, float value) {
    float old, sum;
    __atomic_load(address, &old, __ATOMIC_RELAXED);
    do {
        sum = old + value;
    } while (!__atomic_compare_exchange(address, &old, &sum, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return old;
}
