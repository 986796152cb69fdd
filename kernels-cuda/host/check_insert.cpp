// `insert` under the sanitizers (ci/kernels builds it with each): every order of threads gives the same integers, and
// they are those of a plain sum in double precision.

#include "shim.h"

#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

struct Shape {
    int images, n, reach;
    float numerator_steps, weight_steps;
};

static std::vector<long long> run(int n, int images, int order) {
    const int columns = n / 2 + 1, reach = n;
    const double radius = (n - 1) / 2.0;
    std::mt19937 random(n);
    std::uniform_real_distribution<float> uniform(-1, 1);
    std::vector<float2> numerator(images * n * columns);
    std::vector<float> weight(numerator.size()), axes(9 * images);
    for (auto& v : numerator) v = {uniform(random), uniform(random)};
    for (auto& v : weight) v = std::fabs(uniform(random));
    for (int i = 0; i < images; i++) {
        // x and y axis turned about z and then about x, two grid steps a pixel
        const float a = 0.7f * i, b = 0.4f + i;
        const float turned[9] = {std::cos(a),  std::sin(a) * std::cos(b), std::sin(a) * std::sin(b),
                                 -std::sin(a), std::cos(a) * std::cos(b), std::cos(a) * std::sin(b),
                                 0,            -0.01f * std::sin(b),      0.01f * std::cos(b)};
        for (int j = 0; j < 9; j++) axes[9 * i + j] = 2 * turned[j];
    }
    std::vector<int> row_ends(n);
    for (int y = 0; y < n; y++) {
        const double qy = y <= n / 2 ? y : y - n, rest = radius * radius - qy * qy;
        row_ends[y] = rest < 0 ? 0 : static_cast<int>(std::sqrt(rest)) + 1;
    }
    std::vector<long long> grid(3ull * (2 * reach + 1) * (2 * reach + 1) * (reach + 1));
    Shape shape{images, n, reach, 1 << 20, 1 << 20};
    long long* sums = grid.data();
    const float2* n0 = numerator.data();
    const float *w0 = weight.data(), *a0 = axes.data();
    const int* r0 = row_ends.data();
    void* arguments[] = {&sums, &n0, &w0, &a0, &r0, &shape};
    const std::size_t sizes[] = {8, 8, 8, 8, 8, sizeof(Shape)};
    const unsigned blocks[] = {static_cast<unsigned>((n * columns + 127) / 128), static_cast<unsigned>(images), 1};
    const unsigned threads[] = {128, 1, 1};
    char message[300];
    if (shim_launch("insert_slices", blocks, threads, 0, arguments, sizes, 6, order, 1, message, sizeof message)) {
        std::fprintf(stderr, "%s\n", message);
        std::exit(1);
    }
    // weights are conserved: each coefficient's is spread over its neighbours
    double spread = 0, put = 0;
    for (std::size_t i = 2; i < grid.size(); i += 3) spread += static_cast<double>(grid[i]) / (1 << 20);
    for (int i = 0; i < images; i++) {
        for (int y = 0; y < n; y++) {
            for (int x = 0; x < row_ends[y]; x++) {
                if (x == 0 && y > n / 2) continue;
                put += (x == 0 && y == 0 ? 0.5 : 1.0) * weight[(i * n + y) * columns + x];
            }
        }
    }
    if (!(std::fabs(spread - put) <= 1e-4 * put)) {
        std::fprintf(stderr, "box %d: the weights put in sum to %g, those on the grid to %g\n", n, put, spread);
        std::exit(1);
    }
    return grid;
}

int main() {
    for (int n : {1, 5, 12, 16}) {
        const auto forward = run(n, 3, 0);
        if (forward != run(n, 3, 1) || forward != run(n, 3, 2)) {
            std::fprintf(stderr, "box %d: the sums depend on the order of threads\n", n);
            return 1;
        }
    }
    std::puts("insert: ok");
}
