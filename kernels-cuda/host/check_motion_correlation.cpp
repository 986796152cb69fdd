// `motion_correlation` under the sanitizers (ci/kernels builds it with each): every order of threads gives the same numbers, and
// the rings of the sums hold all of their power.

#include "shim.h"

#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

struct Shape {
    int frames, rows, stride, first, rings;
};

static int order_now;

template <typename... A>
static void launch(const char* name, unsigned x, unsigned y, unsigned z, unsigned block_x, unsigned block_y,
                   A... arguments) {
    void* pointers[] = {&arguments...};
    const std::size_t sizes[] = {sizeof(A)...};
    const unsigned grid[] = {x, y, z}, block[] = {block_x, block_y, 1};
    char message[300];
    if (shim_launch(name, grid, block, 0, pointers, sizes, sizeof...(A), order_now, 1, message, sizeof message)) {
        std::fprintf(stderr, "%s\n", message);
        std::exit(1);
    }
}

static std::vector<double> run(int rows, int stride, int frames, int stacks, int order) {
    order_now = order;
    const int rings = 3, length = rows * stride;
    Shape shape{frames, rows, stride, 0, rings};
    std::mt19937 random(rows);
    std::uniform_real_distribution<float> uniform(-1, 1);
    std::vector<float> spectra(2ull * stacks * frames * length), weights(length), omega_x(stride), omega_y(rows);
    for (auto* list : {&spectra, &weights, &omega_x, &omega_y}) {
        for (auto& value : *list) value = uniform(random);
    }
    std::vector<float2> columns(stacks * frames * stride), turns(stacks * frames * rows), sums(stacks * length);
    for (auto* list : {&columns, &turns}) {
        for (auto& value : *list) {
            const float angle = 3 * uniform(random);
            value = {std::cos(angle), std::sin(angle)};
        }
    }
    std::vector<int> starts, members(length);
    for (int ring = 0; ring <= rings + 1; ring++) starts.push_back(length * ring / (rings + 1));
    for (int i = 0; i < length; i++) members[i] = (i * 7 + 3) % length;
    std::vector<double> measures(7 * stacks * frames), of_sums((rings + 1) * stacks), of_frames(frames * of_sums.size());
    std::vector<float2> products(frames * length);
    const unsigned blocks = static_cast<unsigned>((length + 127) / 128);
    const float *spectrum = spectra.data(), *w = weights.data(), *x = omega_x.data(), *y = omega_y.data();
    const float2 *column = columns.data(), *turn = turns.data(), *sum = sums.data();
    const int *start = starts.data(), *member = members.data();
    launch("sum_moved", blocks, stacks, 1, 128, 1, sums.data(), spectrum, column, turn, shape);
    launch("measure_frames", frames, stacks, 1, 8, 32, measures.data(), sum, spectrum, column, turn, w, x, y, shape);
    launch("ring_power_of_sums", rings + 1, stacks, 1, 64, 1, of_sums.data(), sum, start, member, shape);
    launch("ring_power_of_frames", rings + 1, frames, stacks, 64, 1, of_frames.data(), spectrum, column, turn, start, member,
           shape);
    launch("products_with_others", blocks, frames, 1, 128, 1, products.data(), sum, spectrum, column, turn, w, 0, shape);
    double all = 0, in_rings = 0;
    for (const auto& value : sums) all += double(value.x) * value.x + double(value.y) * value.y;
    for (double value : of_sums) in_rings += value;
    if (!(std::fabs(all - in_rings) <= 1e-5 * all)) {
        std::fprintf(stderr, "%d x %d: the power of the sums is %g, that of their rings %g\n", rows, stride, all, in_rings);
        std::exit(1);
    }
    std::vector<double> numbers = measures;
    numbers.insert(numbers.end(), of_sums.begin(), of_sums.end());
    numbers.insert(numbers.end(), of_frames.begin(), of_frames.end());
    for (const auto& value : products) {
        numbers.push_back(value.x);
        numbers.push_back(value.y);
    }
    return numbers;
}

int main() {
    // members are a permutation where 7 divides no length
    const int cases[][4] = {{3, 8, 1, 1}, {33, 16, 2, 2}, {69, 8, 3, 1}};
    for (const auto& c : cases) {
        const auto forward = run(c[0], c[1], c[2], c[3], 0);
        for (int order : {1, 2}) {
            if (forward != run(c[0], c[1], c[2], c[3], order)) {
                std::fprintf(stderr, "%d x %d: the numbers depend on the order of threads\n", c[0], c[1]);
                return 1;
            }
        }
    }
    std::puts("motion_correlation: ok");
}
