// `template_correlation` under the sanitizers (ci/kernels builds it with each): the best of all templates at every place
// against the sums that define their scores, templates in two launches, the same in every order of threads.

#include "shim.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <random>
#include <utility>
#include <vector>

struct LinePlan {
    int length, root_step, stages, radices[8];
};
struct CorrelationShape {
    LinePlan plan;
    int n, tiles, first_y, first_x, rows, columns, in_bank, template_before, templates, at_once;
};

static int order_now = 0;

template <typename... A>
static void launch(const char* name, int x, int y, int z, std::size_t shared, A... arguments) {
    const unsigned grid[] = {static_cast<unsigned>(x), static_cast<unsigned>(y), static_cast<unsigned>(z)};
    const unsigned block[] = {32, 1, 1};
    void* const pointers[] = {static_cast<void*>(&arguments)...};
    const std::size_t sizes[] = {sizeof(arguments)...};
    char message[300];
    if (shim_launch(name, grid, block, shared, pointers, sizes, sizeof...(A), order_now, 1, message, sizeof message)) {
        std::fprintf(stderr, "%s\n", message);
        std::exit(1);
    }
}

static std::vector<float2> roots_of(int n) {
    std::vector<float2> roots(n);
    for (int k = 0; k < n; k++) {
        const double angle = -2 * 3.14159265358979323846 * k / n;
        roots[k] = {static_cast<float>(std::cos(angle)), static_cast<float>(std::sin(angle))};
    }
    return roots;
}

/// Half transforms of images [count][n][n], by their definition.
static std::vector<float2> transforms(const std::vector<float>& images, int count, int n) {
    const int width = n / 2 + 1;
    std::vector<float2> half(count * n * width);
    for (int i = 0; i < static_cast<int>(half.size()); i++) {
        const int image = i / (n * width), qy = i / width % n, qx = i % width;
        double re = 0, im = 0;
        for (int p = 0; p < n * n; p++) {
            const double angle = -2 * 3.14159265358979323846 * ((qy * (p / n) + qx * (p % n)) % n) / n;
            re += images[image * n * n + p] * std::cos(angle);
            im += images[image * n * n + p] * std::sin(angle);
        }
        half[i] = {static_cast<float>(re), static_cast<float>(im)};
    }
    return half;
}

static std::pair<std::vector<float>, std::vector<int>> run(int n, int first, int rows, int columns, int order) {
    order_now = order;
    const int tiles = 2, templates = 3, at_once = 2, width = n / 2 + 1;
    std::mt19937 random(n);
    std::uniform_real_distribution<float> uniform(-1, 1);
    std::vector<float> images(tiles * n * n), references(templates * n * n), scales(templates);
    for (auto& v : images) v = uniform(random);
    for (auto& v : references) v = uniform(random);
    for (auto& v : scales) v = 1 + 0.1f * uniform(random);
    const auto tile_half = transforms(images, tiles, n), bank = transforms(references, templates, n), roots = roots_of(n);
    CorrelationShape shape{{n, 1, 0, {}}, n, tiles, first, first, rows, columns, 0, 0, 0, at_once};
    int rest = n;
    for (int radix : {4, 2, 3, 5}) {
        for (; rest % radix == 0; rest /= radix) shape.plan.radices[shape.plan.stages++] = radix;
    }
    if (rest > 1) shape.plan.radices[shape.plan.stages++] = rest;
    std::vector<float> score(tiles * rows * columns);
    std::vector<int> which(score.size());
    // two templates, then the last
    for (int before : {0, 2}) {
        shape.template_before = shape.in_bank = before;
        shape.templates = std::min(2, templates - before);
        // of exactly the size needed, so that AddressSanitizer sees an access beyond it: rows after a tile's last are not
        // there for the last tile and template
        const int inside = std::min(rows, n - first);
        std::vector<float2> between(((shape.templates * tiles - 1) * rows + inside) * width);
        launch("correlation_columns", (width + at_once - 1) / at_once, tiles, shape.templates, 16 * at_once * n,
               between.data(), tile_half.data(), bank.data(), roots.data(), shape);
        launch("correlation_best", (rows / 2 + at_once - 1) / at_once, tiles, 1, at_once * (16 * n + 16 * columns),
               score.data(), which.data(), const_cast<const float2*>(between.data()),
               const_cast<const float*>(scales.data()), roots.data(), shape);
    }
    for (int i = 0; i < static_cast<int>(score.size()); i++) {
        const int tile = i / (rows * columns), y = first + i / columns % rows, x = first + i % columns;
        if (y >= n) continue;
        double best = -std::numeric_limits<double>::infinity(), chosen = 0;
        for (int t = 0; t < templates; t++) {
            double sum = 0;
            for (int p = 0; p < n * n; p++) {
                const int at = (p / n - y + n) % n * n + (p % n - x + n) % n;
                sum += static_cast<double>(images[tile * n * n + p]) * references[t * n * n + at];
            }
            sum *= scales[t];
            best = std::max(best, sum);
            if (t == which[i]) chosen = sum;
        }
        if (!(std::fabs(score[i] - best) < 1e-3 && std::fabs(chosen - best) < 1e-3)) {
            std::fprintf(stderr, "tile of %d px, place %d, %d: %g by template %d, not %g\n", n, y, x, score[i], which[i],
                         best);
            std::exit(1);
        }
    }
    return {score, which};
}

int main() {
    // edge, first place, rows, columns; in the third the last row of a pair is beyond the tile
    const int sizes[][4] = {{1, 0, 2, 1}, {8, 2, 4, 5}, {9, 2, 8, 7}, {14, 3, 6, 8}};
    for (const auto& size : sizes) {
        const auto forward = run(size[0], size[1], size[2], size[3], 0);
        for (int order : {1, 2}) {
            if (forward != run(size[0], size[1], size[2], size[3], order)) {
                std::fprintf(stderr, "tile of %d px: the result depends on the order of threads\n", size[0]);
                return 1;
            }
        }
    }
    std::puts("template_correlation: ok");
}
