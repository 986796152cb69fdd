// `project` under the sanitizers (ci/kernels builds it with each): slices of a volume that is linear along one axis are
// linear, whatever the order of threads.

#include "shim.h"

#include <cstdio>
#include <cstdlib>
#include <vector>

struct Shape {
    int slices, n, reach;
};

static std::vector<float2> run(int n, int slices, int order) {
    const int columns = n / 2 + 1, reach = n + 1, edge = 2 * reach + 1, width = reach + 1;
    const double radius = n / 2.0;
    std::vector<float2> volume(1ull * edge * edge * width);
    for (int z = 0; z < edge; z++) {
        for (int y = 0; y < edge; y++) {
            // even along kx and odd along y in its imaginary part: a Hermitian volume
            for (int x = 0; x < width; x++) volume[(z * edge + y) * width + x] = {1.0f, float(y - reach)};
        }
    }
    std::vector<float> axes(6 * slices);
    for (int i = 0; i < slices; i++) {
        const float a = 0.7f * i;
        const float turned[6] = {2 * std::cos(a), 2 * std::sin(a), 0, -2 * std::sin(a), 2 * std::cos(a), 0};
        for (int j = 0; j < 6; j++) axes[6 * i + j] = turned[j];
    }
    std::vector<int> row_ends(n);
    for (int y = 0; y < n; y++) {
        const double qy = y <= n / 2 ? y : y - n, rest = radius * radius - qy * qy;
        const int end = rest < 0 ? 0 : static_cast<int>(std::sqrt(rest)) + 1;
        row_ends[y] = end < columns ? end : columns;
    }
    std::vector<float2> out(1ull * slices * n * columns);
    Shape shape{slices, n, reach};
    float2* o = out.data();
    const float2* v = volume.data();
    const float* a0 = axes.data();
    const int* r0 = row_ends.data();
    void* arguments[] = {&o, &v, &a0, &r0, &shape};
    const std::size_t sizes[] = {8, 8, 8, 8, sizeof(Shape)};
    const unsigned blocks[] = {static_cast<unsigned>((n * columns + 127) / 128), static_cast<unsigned>(slices), 1};
    const unsigned threads[] = {128, 1, 1};
    char message[300];
    if (shim_launch("project_slices", blocks, threads, 0, arguments, sizes, 5, order, 1, message, sizeof message)) {
        std::fprintf(stderr, "%s\n", message);
        std::exit(1);
    }
    for (int i = 0; i < slices; i++) {
        for (int y = 0; y < n; y++) {
            for (int x = 0; x < row_ends[y]; x++) {
                const float qy = y <= n / 2 ? y : y - n;
                const float want = axes[6 * i + 1] * x + axes[6 * i + 4] * qy;
                const float2 got = out[(1ull * i * n + y) * columns + x];
                if (!(std::fabs(got.y - want) < 1e-4f * n && std::fabs(got.x - 1) < 1e-5f)) {
                    std::fprintf(stderr, "box %d: slice %d at (%d, %g): %g in place of %g\n", n, i, x, qy, got.y, want);
                    std::exit(1);
                }
            }
        }
    }
    return out;
}

int main() {
    for (int n : {1, 5, 12, 16}) {
        for (int order : {0, 1, 2}) run(n, 3, order);
    }
    std::puts("project: ok");
}
