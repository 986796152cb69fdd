// CUDA C++ on the host, for tests: kernels compile unchanged as C++, one fiber per CUDA thread, blocks one after another.
//
// What it catches that a GPU would do silently: shared memory read before it is written (it holds NaN at the start of
// every block), results that depend on the order of threads (three orders), a wrong number or size of arguments, grids,
// blocks and shared memory beyond the limits, __syncthreads that not all threads reach, at the same line. Built with
// AddressSanitizer it finds accesses out of bounds, with ThreadSanitizer (one of its fibers per CUDA thread) scatters
// that are not atomic and reads before a barrier.
//
// What it does not have: warp operations with partial masks, textures, dynamic shared memory, libraries.
#pragma once

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
struct int2 {
    int x, y;
};

namespace shim {

struct Index {
    unsigned x, y, z;
};

/// Where the thread that runs now is. Functions, as ThreadSanitizer must not look at what stands behind them.
Index thread_index();
Index block_index();
Index block_size();
Index grid_size();

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
