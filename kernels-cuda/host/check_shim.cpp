// What the shim itself must catch: kernels with planted faults.

#include "shim.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

extern "C" __global__ void reverses(float* out, int missing) {
    __shared__ float tile[32];
    // a missing barrier or a missing write shows as NaN, or as a dependence on the order of threads
    if (missing != 1 || threadIdx.x != 3) tile[threadIdx.x] = float(threadIdx.x);
    if (missing != 2) __syncthreads();
    out[threadIdx.x] = tile[31 - threadIdx.x];
}

extern "C" __global__ void leaves_early(float* out) {
    if (threadIdx.x == 5) return;
    __syncthreads();
    out[threadIdx.x] = 1;
}

extern "C" __global__ void diverges(float* out) {
    if (threadIdx.x < 16) {
        __syncthreads();
    } else {
        __syncthreads();
    }
    out[threadIdx.x] = 1;
}

SHIM_KERNEL(reverses);
SHIM_KERNEL(leaves_early);
SHIM_KERNEL(diverges);

static float out[32];
static char message[300];

static int launch(const char* name, std::size_t count, int missing, int order, unsigned threads = 32) {
    float* pointer = out;
    void* arguments[] = {&pointer, &missing};
    const std::size_t sizes[] = {sizeof pointer, sizeof missing};
    const unsigned grid[] = {1, 1, 1}, block[] = {threads, 1, 1};
    return shim_launch(name, grid, block, 0, arguments, sizes, count, order, 1, message, sizeof message);
}

static void expect(bool holds, const char* what) {
    if (!holds) {
        std::fprintf(stderr, "the shim does not catch: %s (%s)\n", what, message);
        std::exit(1);
    }
}

int main() {
    expect(launch("reverses", 2, 0, 2) == 0 && out[0] == 31 && out[31] == 0, "nothing: a good kernel fails");
    expect(launch("reverses", 2, 1, 0) == 0 && std::isnan(out[28]), "shared memory that was never written");
    expect(launch("reverses", 2, 2, 0) == 0 && std::isnan(out[0]), "a missing barrier");
    expect(launch("leaves_early", 1, 0, 0) && std::strstr(message, "has returned"), "an early return");
    expect(launch("diverges", 1, 0, 0) && std::strstr(message, "waits at line"), "a divergent barrier");
    expect(launch("reverses", 1, 0, 0) && std::strstr(message, "arguments"), "a missing argument");
    expect(launch("reverses", 2, 0, 0, 2048) && std::strstr(message, "block"), "too large a block");
    expect(launch("unknown", 1, 0, 0) && std::strstr(message, "no such kernel"), "an unknown kernel");
    std::puts("shim: ok");
}
