// `align` under the sanitizers (ci/kernels builds it with each): for a volume that is linear along one axis all sums are
// those of plain loops in double precision, the same bits whatever the order of threads.

#include "shim.h"

#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

struct alignas(16) Sample {
    float re, im, transfer, over_noise;
};
struct Transfer {
    double ctf[9], amplitude;
};
struct Posed {
    float matrix[9], turns[2];
    int image;
};
struct SampleShape {
    int points, end, shells;
};
struct SliceShape {
    int reach;
    float scale, per_px;
};
struct NormalShape {
    SliceShape slice;
    int points, band, parts;
};
struct ShellShape {
    SliceShape slice;
    int points, shells;
    float modelled;
};

static const int N = 12, END = 6, REACH = 13, IMAGES = 3, POSES = 4, SHELLS = 3, PARAMETERS = 5;
static const float SCALE = 2;
static const double AMPLITUDE = 0.7, VARIANCE = 2, MODELLED = 4.5;

static void launch(const char* name, unsigned blocks, unsigned rows, std::vector<void*> arguments,
                   std::vector<std::size_t> sizes, int order) {
    const unsigned grid[] = {blocks, rows, 1}, block[] = {128, 1, 1};
    char message[300];
    if (shim_launch(name, grid, block, 0, arguments.data(), sizes.data(), sizes.size(), order, 1, message,
                    sizeof message)) {
        std::fprintf(stderr, "%s\n", message);
        std::exit(1);
    }
}

struct Case {
    std::vector<float2> images, points, volume;
    std::vector<Transfer> transfers;
    std::vector<double> noise;
    std::vector<float> window;
    std::vector<Posed> poses;
    std::vector<int> by_shell, starts;

    explicit Case(int count) {
        std::mt19937 random(count);
        std::uniform_real_distribution<float> uniform(-1, 1);
        images.resize(IMAGES * (2 * END + 1) * (END + 1));
        for (auto& v : images) v = {uniform(random), uniform(random)};
        for (int i = 0; i < count; i++) {
            points.push_back({float(random() % 5), float(int(random() % 9) - 4)});
            window.push_back(0.5f + 0.5f * uniform(random));
            by_shell.push_back((i * 7) % count);
        }
        starts = {0, count / 3, count / 3, count};
        // even along kx and odd along y in its imaginary part: a Hermitian volume
        const int edge = 2 * REACH + 1, width = REACH + 1;
        volume.resize(1ull * edge * edge * width);
        for (int i = 0; i < edge * edge * width; i++) volume[i] = {1.0f, 0.1f * float(i / width % edge - REACH)};
        // a quarter of a turn: the CTF is 1
        transfers.assign(IMAGES, {{0, 0, 0, 0, 0.25, 0, 0, 0, 0}, AMPLITUDE});
        noise.assign(IMAGES * (END + 2), VARIANCE);
        for (int i = 0; i < POSES; i++) {
            const float a = 0.7f * i + 0.1f, c = std::cos(a), s = std::sin(a);
            poses.push_back({{c, -s, 0, s, c, 0, 0, 0, 1}, {0.1f * i, -0.03f}, i % IMAGES});
        }
    }
};

// The plain sums of a pose: 21 in the order of the kernel, or those of a shell.
static std::vector<double> plain(const Case& given, const Posed& pose, int shell) {
    std::vector<double> sums(shell < 0 ? 21 : 3);
    const int first = shell < 0 ? 0 : given.starts[shell];
    const int last = shell < 0 ? int(given.window.size()) : given.starts[shell + 1];
    const double tau = 2 * std::acos(-1.0), c = pose.matrix[0], s = pose.matrix[3];
    for (int i = first; i < last; i++) {
        const int point = shell < 0 ? i : given.by_shell[i];
        const double qx = given.points[point].x, qy = given.points[point].y;
        const float2 value = given.images[(pose.image * (2 * END + 1) + int(qy) + END) * (END + 1) + int(qx)];
        const double angle = tau * (qx * pose.turns[0] + qy * pose.turns[1]);
        const double xr = value.x * std::cos(angle) - value.y * std::sin(angle);
        const double xi = value.x * std::sin(angle) + value.y * std::cos(angle);
        const bool modelled = shell < 0 || qx * qx + qy * qy <= MODELLED * MODELLED;
        const double mr = modelled ? AMPLITUDE : 0, mi = mr * 0.1 * SCALE * (s * qx + c * qy);
        if (shell >= 0) {
            sums[0] += (xr - mr) * (xr - mr) + (xi - mi) * (xi - mi);
            sums[1] += xr * mr + xi * mi;
            sums[2] += mr * mr + mi * mi;
            continue;
        }
        const double weight = given.window[point] / VARIANCE, slope = AMPLITUDE * 0.1 * SCALE;
        const double gx = slope * s, gy = slope * c, p = tau / N;
        const double d[PARAMETERS][2] = {
            {0, 0}, {0, 0}, {0, gy * qx - gx * qy}, {p * qx * mi, -p * qx * mr}, {p * qy * mi, -p * qy * mr}};
        sums[0] += weight * (2 * (xr * mr + xi * mi) - mr * mr - mi * mi);
        for (int a = 0, pair = 6; a < PARAMETERS; a++) {
            sums[1 + a] += 2 * weight * (d[a][0] * (xr - mr) + d[a][1] * (xi - mi));
            for (int b = a; b < PARAMETERS; b++) sums[pair++] += 2 * weight * (d[a][0] * d[b][0] + d[a][1] * d[b][1]);
        }
    }
    return sums;
}

static void compare(const char* what, int count, const std::vector<double>& want, const double* got) {
    for (std::size_t i = 0; i < want.size(); i++) {
        if (!(std::fabs(got[i] - want[i]) <= 1e-4 * (std::fabs(want[i]) + 1))) {
            std::fprintf(stderr, "%s of %d points: sum %zu is %g in place of %g\n", what, count, i, got[i], want[i]);
            std::exit(1);
        }
    }
}

static std::vector<double> run(int count, int order) {
    Case given(count);
    std::vector<Sample> samples(1ull * IMAGES * count);
    Sample* s = samples.data();
    const float2 *images = given.images.data(), *points = given.points.data(), *volume = given.volume.data();
    const Transfer* transfers = given.transfers.data();
    const double* noise = given.noise.data();
    const float* window = given.window.data();
    const Posed* poses = given.poses.data();
    const int *by_shell = given.by_shell.data(), *starts = given.starts.data();
    SampleShape sample_shape{count, END, END + 2};
    launch("align_samples", (count + 127) / 128, IMAGES, {&s, &images, &points, &transfers, &noise, &sample_shape},
           {8, 8, 8, 8, 8, sizeof sample_shape}, order);

    const SliceShape slice{REACH, SCALE, float(2 * std::acos(-1.0) / N)};
    const int parts = (count + 4095) / 4096;
    std::vector<double> normal(1ull * POSES * parts * 21), shells(1ull * POSES * SHELLS * 3);
    double *n0 = normal.data(), *s0 = shells.data();
    NormalShape normal_shape{slice, count, count, parts};
    launch("align_normal_equations", POSES, parts, {&n0, &volume, &s, &points, &window, &poses, &normal_shape},
           {8, 8, 8, 8, 8, 8, sizeof normal_shape}, order);
    ShellShape shell_shape{slice, count, SHELLS, float(MODELLED)};
    launch("align_shell_sums", POSES, SHELLS, {&s0, &volume, &s, &points, &by_shell, &starts, &poses, &shell_shape},
           {8, 8, 8, 8, 8, 8, 8, sizeof shell_shape}, order);

    for (int pose = 0; pose < POSES; pose++) {
        std::vector<double> sums(21);
        for (int i = 0; i < parts * 21; i++) sums[i % 21] += normal[pose * parts * 21 + i];
        compare("normal equations", count, plain(given, given.poses[pose], -1), sums.data());
        for (int shell = 0; shell < SHELLS; shell++) {
            compare("shell sums", count, plain(given, given.poses[pose], shell), &shells[(pose * SHELLS + shell) * 3]);
        }
    }
    normal.insert(normal.end(), shells.begin(), shells.end());
    return normal;
}

int main() {
    for (int count : {1, 300, 4500}) {
        const auto forward = run(count, 0);
        if (forward != run(count, 1) || forward != run(count, 2)) {
            std::fprintf(stderr, "%d points: the sums depend on the order of threads\n", count);
            return 1;
        }
    }
    std::puts("align: ok");
}
