// `transform` under the sanitizers (ci/kernels builds it with each): lines at once and in two parts, rows packed in pairs
// and those that fit into a block, forward against the sum that defines a transform and back; the same bits in every
// order of threads.

#include "shim.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

struct LinePlan {
    int length, root_step, stages, radices[8];
};
struct RowShape {
    LinePlan plan;
    int ny, nx, y0, x0, pairs;
    float scale;
};
struct LineShape {
    LinePlan plan;
    int lines, inner, from_stride, from_outer, from_item, to_stride, to_outer, to_item, at_once, whole;
    int exchange_from, exchange_to;
};

static int order_now = 0;

static LinePlan plan_of(int length, int whole) {
    LinePlan plan{length, whole / length, 0, {}};
    int rest = length;
    for (int radix : {8, 4, 2, 3, 5}) {
        while (rest % radix == 0) {
            plan.radices[plan.stages++] = radix;
            rest /= radix;
        }
    }
    if (rest > 1) plan.radices[plan.stages++] = rest;
    return plan;
}

static std::vector<float2> roots_of(int n) {
    std::vector<float2> roots(n);
    for (int k = 0; k < n; k++) {
        const double angle = -2 * 3.14159265358979323846 * k / n;
        roots[k] = {static_cast<float>(std::cos(angle)), static_cast<float>(std::sin(angle))};
    }
    return roots;
}

template <typename... A>
static void launch(const char* name, int blocks, int rows, int threads, std::size_t shared, A... arguments) {
    const unsigned grid[] = {static_cast<unsigned>(blocks), static_cast<unsigned>(rows), 1};
    const unsigned block[] = {static_cast<unsigned>(threads), 1, 1};
    void* const pointers[] = {static_cast<void*>(&arguments)...};
    const std::size_t sizes[] = {sizeof(arguments)...};
    char message[300];
    if (shim_launch(name, grid, block, shared, pointers, sizes, sizeof...(A), order_now, 1, message, sizeof message)) {
        std::fprintf(stderr, "%s\n", message);
        std::exit(1);
    }
}

/// Columns [ny][columns] of `images` images in place or in two parts.
static void columns(std::vector<float2>& half, int images, int ny, int columns, int first, bool inverse) {
    const auto roots = roots_of(ny);
    const int item = ny * columns, second = ny / first, at_once = 3;
    LineShape shape{plan_of(first, ny), second * columns, columns, second * columns, columns, item,
                    second * columns,   columns,          item,    at_once,          second > 1 ? ny : 0,
                    inverse,            second == 1 && inverse};
    const auto blocks = [&](const LineShape& of) { return (of.lines + at_once - 1) / at_once; };
    launch("transform_lines_in_place", blocks(shape), images, 32, 16 * at_once * first, half.data(),
           const_cast<const float2*>(roots.data()), shape);
    if (second == 1) return;
    LineShape fast{plan_of(second, ny), first * columns, columns, columns, second * columns, item,
                   first * columns,     columns,         item,    at_once, 0,                0,
                   inverse};
    std::vector<float2> to(half.size());
    launch("transform_lines", blocks(fast), images, 32, 16 * at_once * second, to.data(),
           const_cast<const float2*>(half.data()), const_cast<const float2*>(roots.data()), fast);
    half = to;
}

/// The transform of images and the way back; `first` is the first part of the length of a column.
static std::vector<float2> run(int images, int ny, int nx, int first, bool packed, int order) {
    order_now = order;
    std::mt19937 random(ny * nx);
    std::uniform_real_distribution<float> uniform(-1, 1);
    const int width = nx / 2 + 1, pairs = (ny + 1) / 2, y0 = ny / 2, x0 = nx / 2, in_block = 2;
    std::vector<float> pixels(images * ny * nx), back(pixels.size());
    for (auto& v : pixels) v = uniform(random);
    std::vector<float2> half(images * ny * width), lines(images * pairs * nx);
    const auto roots = roots_of(nx);
    RowShape shape{plan_of(nx, nx), ny, nx, y0, x0, in_block, 1.0f / (ny * nx)};
    const LineShape along{shape.plan, 1, 1, 1, 0, nx, 1, 0, nx, 1, 0, 0, 0};
    const auto blocks = [](int count) { return (count + 31) / 32; };
    const auto transform_lines = [&] {
        launch("transform_lines_in_place", 1, images * pairs, 32, 16 * nx, lines.data(),
               const_cast<const float2*>(roots.data()), along);
    };
    const float2* const table = roots.data();
    if (packed) {
        launch("transform_pack_rows", blocks(pairs * nx), images, 32, 0, lines.data(),
               const_cast<const float*>(pixels.data()), shape);
        transform_lines();
        launch("transform_part_rows", blocks(pairs * width), images, 32, 0, half.data(),
               const_cast<const float2*>(lines.data()), shape);
    } else {
        launch("transform_rows_forward", (pairs + in_block - 1) / in_block, images, 32, 16 * in_block * nx, half.data(),
               const_cast<const float*>(pixels.data()), table, shape);
    }
    columns(half, images, ny, width, first, false);
    for (int q = 0; q < images * ny * width; q++) {
        const int image = q / (ny * width), qy = q / width % ny, qx = q % width;
        double re = 0, im = 0;
        for (int p = 0; p < ny * nx; p++) {
            const double turns = static_cast<double>(qy) * (p / nx - y0) / ny + static_cast<double>(qx) * (p % nx - x0) / nx;
            re += pixels[image * ny * nx + p] * std::cos(2 * 3.14159265358979323846 * turns);
            im -= pixels[image * ny * nx + p] * std::sin(2 * 3.14159265358979323846 * turns);
        }
        if (!(std::fabs(re - half[q].x) + std::fabs(im - half[q].y) < 1e-4)) {
            std::fprintf(stderr, "%d x %d: coefficient %d, %d is %g, %g, not %g, %g\n", ny, nx, qy, qx, half[q].x,
                         half[q].y, re, im);
            std::exit(1);
        }
    }
    auto given = half;
    columns(half, images, ny, width, first, true);
    if (packed) {
        launch("transform_join_rows", blocks(pairs * width), images, 32, 0, lines.data(),
               const_cast<const float2*>(half.data()), shape);
        transform_lines();
        launch("transform_unpack_rows", blocks(pairs * nx), images, 32, 0, back.data(),
               const_cast<const float2*>(lines.data()), shape);
    } else {
        launch("transform_rows_inverse", (pairs + in_block - 1) / in_block, images, 32, 16 * in_block * nx, back.data(),
               const_cast<const float2*>(half.data()), table, shape);
    }
    for (std::size_t i = 0; i < pixels.size(); i++) {
        if (!(std::fabs(back[i] - pixels[i]) < 1e-5)) {
            std::fprintf(stderr, "%d x %d: pixel %zu comes back as %g, not %g\n", ny, nx, i, back[i], pixels[i]);
            std::exit(1);
        }
    }
    return given;
}

int main() {
    // rows, columns, the first part of the length of a column; every radix, odd and prime
    const int sizes[][3] = {{1, 1, 1}, {1, 8, 1}, {2, 3, 2}, {5, 7, 5}, {12, 10, 4}, {16, 22, 16}, {15, 24, 3}};
    for (const auto& size : sizes) {
        for (bool packed : {false, true}) {
            const auto forward = run(2, size[0], size[1], size[2], packed, 0);
            for (int order : {1, 2}) {
                const auto other = run(2, size[0], size[1], size[2], packed, order);
                if (std::memcmp(forward.data(), other.data(), forward.size() * sizeof(float2)) != 0) {
                    std::fprintf(stderr, "%d x %d: the result depends on the order of threads\n", size[0], size[1]);
                    return 1;
                }
            }
        }
    }
    std::puts("transform: ok");
}
