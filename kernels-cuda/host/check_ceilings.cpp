// `ceilings` under the sanitizers (ci/kernels builds it with each).

#include "shim.h"

#include <cstdio>
#include <vector>

struct Shape {
    int lanes, steps;
    float multiplier, summand;
};

static char message[300];

static bool copies(long long count, int order) {
    std::vector<float4> in(count), out(count);
    for (long long i = 0; i < count; i++) in[i] = {float(i), 1, 2, float(-i)};
    float4* o = out.data();
    const float4* from = in.data();
    void* arguments[] = {&o, &from, &count};
    const std::size_t sizes[] = {8, 8, 8};
    const unsigned blocks[] = {static_cast<unsigned>((count + 127) / 128), 1, 1}, threads[] = {128, 1, 1};
    if (shim_launch("copy_numbers", blocks, threads, 0, arguments, sizes, 3, order, 1, message, sizeof message)) return false;
    for (long long i = 0; i < count; i++) {
        if (out[i].x != in[i].x || out[i].w != in[i].w) return false;
    }
    return true;
}

static bool multiplies(int lanes, int order) {
    std::vector<float> out(lanes);
    Shape shape{lanes, 1, 0.5f, 1.0f};
    float* o = out.data();
    void* arguments[] = {&o, &shape};
    const std::size_t sizes[] = {8, sizeof(Shape)};
    const unsigned blocks[] = {static_cast<unsigned>((lanes + 127) / 128), 1, 1}, threads[] = {128, 1, 1};
    if (shim_launch("multiply_add", blocks, threads, 0, arguments, sizes, 2, order, 1, message, sizeof message)) return false;
    for (int i = 0; i < lanes; i++) {
        // eight chains from i/1024 + 0 .. 7, each halved and raised by 1
        const float want = 8 * (0.5f * (i % 1024) / 1024.0f) + 0.5f * 28 + 8;
        if (!(std::fabs(out[i] - want) < 1e-5f)) return false;
    }
    return true;
}

int main() {
    for (int order : {0, 1, 2}) {
        if (!copies(1, order) || !copies(129, order) || !multiplies(1, order) || !multiplies(130, order)) {
            std::fprintf(stderr, "ceilings: wrong values, order %d: %s\n", order, message);
            return 1;
        }
    }
    std::puts("ceilings: ok");
}
