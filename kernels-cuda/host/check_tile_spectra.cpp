// `tile_spectra` under the sanitizers (ci/kernels builds it with each): tiles come out with mean 0 and variance 1, cells
// with the mean power of their coefficients, the same in every order of threads. Transforms are checked by
// check_transform.cpp.

#include "shim.h"

#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

struct TileShape {
    int width, cut, columns, cells;
    double flat;
};

static int order_now = 0;

template <typename... A>
static void launch(const char* name, int blocks, int rows, A... arguments) {
    const unsigned grid[] = {static_cast<unsigned>(blocks), static_cast<unsigned>(rows), 1};
    const unsigned block[] = {128, 1, 1};
    void* const pointers[] = {static_cast<void*>(&arguments)...};
    const std::size_t sizes[] = {sizeof(arguments)...};
    char message[300];
    if (shim_launch(name, grid, block, 0, pointers, sizes, sizeof...(A), order_now, 1, message, sizeof message)) {
        std::fprintf(stderr, "%s\n", message);
        std::exit(1);
    }
}

static void must(bool holds, int cut, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "tiles of %d px: %s\n", cut, what);
    std::exit(1);
}

static std::vector<float> run(int height, int width, int cut, int order) {
    order_now = order;
    std::mt19937 random(cut);
    std::uniform_real_distribution<float> uniform(-1, 1);
    std::vector<float> pixels(height * width);
    for (auto& v : pixels) v = 50 + uniform(random);
    const std::vector<int> corners = {0, 0, width - cut, height - cut};
    const int tiles = 2, columns = cut / 2 + 1, cells = 5;
    const TileShape shape{width, cut, columns, cells, 1e-12};
    std::vector<double> sums(2 * tiles * cut);
    std::vector<float2> levels(tiles);
    // no fading, so that the moments of a tile are seen
    std::vector<float> faded(tiles * cut * cut), window(cut, 1.0f), power(tiles * cells);
    const float* image = pixels.data();
    const int* at = corners.data();
    launch("tile_row_sums", (cut + 7) / 8, tiles, sums.data(), image, at, shape);
    launch("tile_levels", tiles, 1, levels.data(), const_cast<const double*>(sums.data()), image, at, shape);
    launch("tile_faded", (cut * cut + 127) / 128, tiles, faded.data(), image, at,
           const_cast<const float2*>(levels.data()), const_cast<const float*>(window.data()), shape);
    for (int tile = 0; tile < tiles; tile++) {
        double mean = 0, variance = 0;
        for (int i = 0; i < cut * cut; i++) mean += faded[tile * cut * cut + i];
        mean /= cut * cut;
        for (int i = 0; i < cut * cut; i++) variance += std::pow(faded[tile * cut * cut + i] - mean, 2) / (cut * cut);
        must(std::fabs(mean) < 1e-4 && std::fabs(variance - 1) < 1e-4, cut, "the moments are not 0 and 1");
    }
    // every coefficient in one cell; the last cell has none
    std::vector<float2> half(tiles * cut * columns);
    for (auto& v : half) v = {uniform(random), uniform(random)};
    std::vector<int> first(cells + 1), members;
    for (int cell = 0; cell < cells; cell++) {
        for (int i = cell; cell < cells - 1 && i < cut * columns; i += cells - 1) members.push_back(i);
        first[cell + 1] = static_cast<int>(members.size());
    }
    launch("tile_cell_power", 1, tiles, power.data(), const_cast<const float2*>(half.data()),
           const_cast<const int*>(first.data()), const_cast<const int*>(members.data()), shape);
    for (int i = 0; i < tiles * cells; i++) {
        const int cell = i % cells, count = first[cell + 1] - first[cell];
        double sum = 0;
        for (int k = first[cell]; k < first[cell + 1]; k++) {
            const float2 v = half[i / cells * cut * columns + members[k]];
            sum += static_cast<double>(v.x) * v.x + static_cast<double>(v.y) * v.y;
        }
        must(std::fabs(power[i] - (count ? sum / count : 0)) < 1e-5, cut, "the power of a cell is not the mean");
    }
    faded.insert(faded.end(), power.begin(), power.end());
    return faded;
}

int main() {
    const int sizes[][3] = {{5, 7, 2}, {13, 11, 11}, {40, 33, 20}};
    for (const auto& size : sizes) {
        const auto forward = run(size[0], size[1], size[2], 0);
        for (int order : {1, 2}) {
            must(forward == run(size[0], size[1], size[2], order), size[2], "the result depends on the order of threads");
        }
    }
    std::puts("tile_spectra: ok");
}
