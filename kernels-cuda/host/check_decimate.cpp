// `decimate` under the sanitizers (ci/kernels builds it with each): every order of threads gives the same small copy, and that
// of a flat frame is flat.

#include "shim.h"

#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

struct Shape {
    int width, height, columns, rows, block, count, first, tile_columns, has_gain, kind, large;
};
struct Large {
    int index;
    float value;
};

static int order_now;

template <typename... A>
static void launch(const char* name, unsigned x, unsigned y, unsigned block_x, unsigned block_y, unsigned shared,
                   A... arguments) {
    void* pointers[] = {&arguments...};
    const std::size_t sizes[] = {sizeof(A)...};
    const unsigned grid[] = {x, y, 1}, block[] = {block_x, block_y, 1};
    char message[300];
    if (shim_launch(name, grid, block, shared, pointers, sizes, sizeof...(A), order_now, 1, message, sizeof message)) {
        std::fprintf(stderr, "%s\n", message);
        std::exit(1);
    }
}

static std::vector<float> run(int width, int height, int block, bool flat, int order) {
    order_now = order;
    const int count = 4 * block;
    Shape shape{width, height, width / block, height / block, block, count, 1 - 2 * block, 32, 1, flat ? 1 : 0, 1};
    std::mt19937 random(width);
    std::vector<unsigned char> raw(flat ? width * height : (width + 1) / 2 * height, 2);
    if (!flat) {
        for (auto& byte : raw) byte = static_cast<unsigned char>(random() & 255);
    }
    std::vector<float> gain(width * height, 1.5f), taps(count, 1.0f / count), frame(width * height);
    std::vector<float> small(shape.columns * shape.rows);
    std::vector<Large> large = {{width * height - 1, flat ? 2.0f : 40.0f}};
    const float *g = gain.data(), *f = frame.data(), *t = taps.data();
    launch("expand_frame", (width + 127) / 128, height, 128, 1, 0, frame.data(),
           static_cast<const unsigned char*>(raw.data()), g, shape);
    launch("expand_large_counts", 1, 1, 128, 1, 0, frame.data(), static_cast<const Large*>(large.data()), g, shape);
    const unsigned shared = 8 * (31 * block + count) * sizeof(float);
    launch("decimate_frame", (shape.columns + 31) / 32, (shape.rows + 7) / 8, 32, 8, shared, small.data(), f, t, shape);
    for (float value : small) {
        if (flat && !(std::fabs(value - 3) <= 1e-5f)) {
            std::fprintf(stderr, "%d x %d: a frame of 3 is %g\n", width, height, double(value));
            std::exit(1);
        }
    }
    return small;
}

int main() {
    const int cases[][3] = {{4, 4, 4}, {37, 23, 1}, {70, 41, 2}, {150, 44, 4}};
    for (const auto& c : cases) {
        run(c[0], c[1], c[2], true, 0);
        const auto forward = run(c[0], c[1], c[2], false, 0);
        for (int order : {1, 2}) {
            if (forward != run(c[0], c[1], c[2], false, order)) {
                std::fprintf(stderr, "%d x %d: the small copy depends on the order of threads\n", c[0], c[1]);
                return 1;
            }
        }
    }
    std::puts("decimate: ok");
}
