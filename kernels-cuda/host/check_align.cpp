// `align` under the sanitizers (ci/kernels builds it with each): of a volume that is constant, logL of an image that is its
// slice is its energy and the gradient by rotations is 0.

#include "shim.h"

#include <cstdio>
#include <cstdlib>
#include <vector>

struct Shape {
    int poses, points, stride, reach;
    float scale, per_px;
};
struct Point {
    float re, im, transfer, over_noise;
};
struct Pose {
    float rotation[9], turns[2];
};

static char message[300];

static void fail(const char* what) {
    std::fprintf(stderr, "align: %s %s\n", what, message);
    std::exit(1);
}

int main() {
    const int reach = 9, points = 150, poses = 2, edge = 2 * reach + 1, width = reach + 1, shells = 5;
    std::vector<float2> volume(1ull * edge * edge * width, float2{2, 0}), q;
    std::vector<int> starts{0};
    for (int i = 0; i < points; i++) q.push_back({1.0f + i % 4, float(i / 4 % 5) - 2});
    for (int s = 1; s <= shells; s++) starts.push_back(points * s / shells);
    std::vector<float> window(points, 1.0f);
    std::vector<Point> images(points, Point{1, 0, 0.5f, 0.25f});
    std::vector<int> image_of(poses, 0);
    std::vector<Pose> list(poses, Pose{{1, 0, 0, 0, 1, 0, 0, 0, 1}, {0, 0}});
    list[1] = Pose{{0, -1, 0, 1, 0, 0, 0, 0, 1}, {0, 0}};
    std::vector<double> out(poses * 21), sums(poses * shells * 3);
    Shape shape{poses, points, points, reach, 2.0f, 0.1f};
    double *o = out.data(), *s = sums.data();
    const float2 *v = volume.data(), *q0 = q.data();
    const float* w = window.data();
    const Point* p = images.data();
    const int *of = image_of.data(), *st = starts.data();
    const Pose* at = list.data();
    float modelled = 100;
    for (int order : {0, 1, 2}) {
        void* arguments[] = {&o, &v, &q0, &w, &p, &of, &at, &shape};
        const std::size_t sizes[] = {8, 8, 8, 8, 8, 8, 8, sizeof(Shape)};
        const unsigned blocks[] = {poses, 1, 1}, threads[] = {128, 1, 1};
        if (shim_launch("normal_equations", blocks, threads, 0, arguments, sizes, 8, order, 1, message, sizeof message)) fail("");
        for (int i = 0; i < poses; i++) {
            if (!(std::fabs(out[21 * i] - 0.25 * points) < 1e-4)) fail("logL is not the energy");
            for (int a = 1; a < 4; a++) {
                if (!(std::fabs(out[21 * i + a]) < 1e-5)) fail("a constant volume has a gradient");
            }
        }
        void* more[] = {&s, &v, &q0, &st, &p, &of, &at, &modelled, &shape};
        const std::size_t more_sizes[] = {8, 8, 8, 8, 8, 8, 8, 4, sizeof(Shape)};
        const unsigned grid[] = {shells, poses, 1};
        if (shim_launch("shell_sums", grid, threads, 0, more, more_sizes, 9, order, 1, message, sizeof message)) fail("");
        for (int i = 0; i < poses * shells; i++) {
            const double count = points / shells;
            if (!(std::fabs(sums[3 * i]) < 1e-4 && std::fabs(sums[3 * i + 1] - count) < 1e-3)) fail("wrong sums by shell");
        }
    }
    std::puts("align: ok");
}
