// `warp` under the sanitizers (ci/kernels builds it with each): every order of threads gives the same sums, and a flat frame
// stays flat wherever it is read.

#include "shim.h"

#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

struct Shape {
    int width, height, columns, rows, tiles_x, tiles_y, terms, stride, frames, has_gain, kind, slot, count;
};
struct Plan {
    int row, column, tap_y, tap_x;
};
struct Large {
    int index;
    float value;
};

static int order_now;

template <typename... A>
static void launch(const char* name, unsigned x, unsigned y, unsigned block_x, unsigned block_y, A... arguments) {
    void* pointers[] = {&arguments...};
    const std::size_t sizes[] = {sizeof(A)...};
    const unsigned grid[] = {x, y, 1}, block[] = {block_x, block_y, 1};
    char message[300];
    if (shim_launch(name, grid, block, 0, pointers, sizes, sizeof...(A), order_now, 1, message, sizeof message)) {
        std::fprintf(stderr, "%s\n", message);
        std::exit(1);
    }
}

static unsigned blocks(int count) { return static_cast<unsigned>((count + 127) / 128); }

// Two frames in a group: noise in half bytes with a large count and a bad pixel, and one that is 2 everywhere; the sums hold
// them apart.
static std::vector<float> run(int width, int height, int columns, int rows, int order) {
    order_now = order;
    Shape shape{width, height, columns, rows, (columns + 15) / 16, (rows + 15) / 16, 2, (columns + 33) / 32 * 32, 2, 1, 0, 0, 0};
    const int tiles = shape.tiles_x * shape.tiles_y;
    std::mt19937 random(width);
    std::vector<unsigned char> packed((width + 1) / 2 * height), flat(width * height, 2);
    for (auto& byte : packed) byte = static_cast<unsigned char>(random() & 255);
    std::vector<float> gain(width * height, 1.0f), group(2 * columns * rows), taps(1025 * 6);
    std::vector<float> sums(rows * shape.terms * shape.stride);
    for (int i = 0; i <= 1024; i++) {
        // linear interpolation
        taps[6 * i + 2] = 1 - i / 1024.0f;
        taps[6 * i + 3] = i / 1024.0f;
    }
    std::vector<double> motion(24);
    for (auto& c : motion) c = (random() % 1000 - 500) / 100.0;
    std::vector<Plan> plans(2 * tiles);
    std::vector<float> weights = {1, 0, 0, 0, 0, 1, 0, 0};
    std::vector<Large> large = {{width * height / 2, 40.0f}};
    std::vector<int2> pairs = {{0, width * height - 1}};
    for (int slot = 0; slot < 2; slot++) {
        shape.slot = slot;
        shape.kind = slot;
        launch("ready_frame", blocks(width), height, 128, 1, group.data(),
               static_cast<const unsigned char*>(slot ? flat.data() : packed.data()),
               static_cast<const float*>(gain.data()), shape);
        shape.count = 1;
        if (slot == 0) {
            launch("place_large_counts", 1, 1, 128, 1, group.data(), static_cast<const Large*>(large.data()),
                   static_cast<const float*>(gain.data()), shape);
        }
        launch("replace_bad_pixels", 1, 1, 128, 1, group.data(), static_cast<const int2*>(pairs.data()), shape);
        shape.count = columns * rows - width * height;
        if (shape.count) launch("continue_frame", blocks(shape.count), 1, 128, 1, group.data(), shape);
    }
    launch("plan_tiles", blocks(tiles), 2, 128, 1, plans.data(), static_cast<const double*>(motion.data()), shape);
    launch("add_warped", (shape.tiles_x + 1) / 2, shape.tiles_y, 32, 8, sums.data(),
           static_cast<const float*>(group.data()), static_cast<const Plan*>(plans.data()),
           static_cast<const float*>(taps.data()), static_cast<const float*>(weights.data()), shape);
    for (int y = 0; y < rows; y++) {
        for (int x = 0; x < columns; x++) {
            const float value = sums[(y * shape.terms + 1) * shape.stride + x];
            if (!(std::fabs(value - 2) <= 1e-5f)) {
                std::fprintf(stderr, "%d x %d: a frame of 2 is %g at (%d, %d)\n", width, height, double(value), x, y);
                std::exit(1);
            }
        }
    }
    return sums;
}

int main() {
    const int sizes[][4] = {{1, 1, 1, 1}, {19, 7, 19, 7}, {30, 33, 36, 40}, {50, 18, 50, 18}};
    for (const auto& size : sizes) {
        const auto forward = run(size[0], size[1], size[2], size[3], 0);
        for (int order : {1, 2}) {
            if (forward != run(size[0], size[1], size[2], size[3], order)) {
                std::fprintf(stderr, "%d x %d: the sums depend on the order of threads\n", size[0], size[1]);
                return 1;
            }
        }
    }
    std::puts("warp: ok");
}
