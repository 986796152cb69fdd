// Family `align`: CUDA twin of compute/src/cpu/align. Contract: compute/src/ops/align.rs.
//
// Images are read once (`align_samples`): their values at the points of a lattice, their CTF and noise there. Then one
// block sums over a part of a band for one pose, or over a shell of one image; the host adds up the parts and says where
// to look next (compute/src/levenberg.rs). Sums have a fixed order: no result depends on what else is in the launch.

#include "block_sums.cuh"
#include "lattice_ctf.cuh"
#include "slice_gradient.cuh"

// Points of a band that one block sums over: 32 for each thread, so that sums in single precision are short.
#define POINTS_OF_PART 4096

#define PARAMETERS 5

// logL, gradient, upper triangle of the Hessian row by row.
#define NORMAL_SUMS 21

// Residual, cross, model.
#define SHELL_SUMS 3

// One image at one point.
struct alignas(16) Sample {
    float re, im;
    float transfer;   // CTF times amplitude
    float over_noise; // 1/s2
};

// How an image was made.
struct ImageTransfer {
    LatticeCtf ctf;
    double amplitude;
};

// A pose of an image of the batch.
struct PosedImage {
    float matrix[9]; // rotation, row by row
    float turns[2];  // shift in boxes: turns of the phase per Fourier pixel
    int image;
};

struct SampleShape {
    int points; // of the lattice, that images are read at
    int end;    // largest coordinate of these points
    int shells; // of the noise
};

__device__ static inline float radius_of(float2 q) {
    return (float)sqrt((double)q.x * q.x + (double)q.y * q.y);
}

__device__ static inline float over_noise_at(const double* noise, double radius) {
    const int shell = (int)radius;
    const double fraction = radius - shell;
    const double variance = noise[shell] * (1.0 - fraction) + noise[shell + 1] * fraction;
    // the smallest normal number of single precision
    return (float)(1.0 / fmax(variance, 1.1754943508222875e-38));
}

extern "C" __global__ void align_samples(
    Sample* out,                     // [images][points]
    const float2* images,            // [images][2 end + 1][end + 1]: coefficients, qy from -end, qx from 0
    const float2* points,            // [points]: qx, qy in Fourier pixels
    const ImageTransfer* transfers,  // [images]
    const double* noise,             // [images][shells]: s2
    SampleShape shape) {
    const int point = blockIdx.x * blockDim.x + threadIdx.x;
    const int image = blockIdx.y;
    if (point >= shape.points) return;
    const float2 q = points[point];
    const long long row = (long long)image * (2 * shape.end + 1) + (int)q.y + shape.end;
    const float2 value = images[row * (shape.end + 1) + (int)q.x];
    Sample sample;
    sample.re = value.x;
    sample.im = value.y;
    sample.transfer = (float)transfers[image].amplitude * ctf_at(&transfers[image].ctf, q.x, q.y);
    sample.over_noise = over_noise_at(noise + (long long)image * shape.shells, radius_of(q));
    out[(long long)image * shape.points + point] = sample;
}

// The reference and how slices lie in it.
struct SliceShape {
    int reach;    // grid steps from the origin to the last point
    float scale;  // grid steps per Fourier pixel
    float per_px; // turn of the phase in radians per pixel of shift and Fourier pixel
};

// Image times e^{2 pi i q t / N}: moved back by its shift.
__device__ static inline float2 moved_back(const Sample& sample, const PosedImage& pose, float2 q) {
    float sine, cosine;
    sincospif(2.0f * fmaf(q.x, pose.turns[0], q.y * pose.turns[1]), &sine, &cosine);
    return make_float2(sample.re * cosine - sample.im * sine, sample.re * sine + sample.im * cosine);
}

// Where the point `q` of a slice lies, grid steps along an axis of the volume.
__device__ static inline float place(const PosedImage& pose, int axis, float2 q, float scale) {
    return fmaf(pose.matrix[3 * axis] * scale, q.x, pose.matrix[3 * axis + 1] * scale * q.y);
}

struct NormalShape {
    SliceShape slice;
    int points; // of the lattice, that images were read at
    int band;   // points of the band, the first of these
    int parts;  // of the band
};

// Adds a point to the sums of its thread; `weight` is that of the band over s2.
__device__ static inline void add_point(float* sums, const PosedImage& pose, const Sample& sample, float2 q, float weight,
                                        const SliceShape& shape, const Grid grid) {
    float2 g[3];
    float2 model = value_and_gradient_at(grid, place(pose, 0, q, shape.scale), place(pose, 1, q, shape.scale),
                                         place(pose, 2, q, shape.scale), g);
    const float2 image = moved_back(sample, pose, q);
    model.x *= sample.transfer;
    model.y *= sample.transfer;
    const float2 residual = make_float2(image.x - model.x, image.y - model.y);
    // 2 Re(X conj M) - |M|^2
    const float gain = model.x * (image.x + residual.x) + model.y * (image.y + residual.y);
    sums[0] = fmaf(weight, gain, sums[0]);

    // the gradient along the axes of the image, per Fourier pixel, with the CTF
    const float factor = shape.scale * sample.transfer;
    float2 along[3];
    for (int axis = 0; axis < 3; axis++) {
        const float a = pose.matrix[axis] * factor, b = pose.matrix[3 + axis] * factor, c = pose.matrix[6 + axis] * factor;
        along[axis].x = fmaf(a, g[0].x, fmaf(b, g[1].x, c * g[2].x));
        along[axis].y = fmaf(a, g[0].y, fmaf(b, g[1].y, c * g[2].y));
    }
    const float px = shape.per_px * q.x, py = shape.per_px * q.y;
    const float2 derivatives[PARAMETERS] = {
        make_float2(along[2].x * q.y, along[2].y * q.y),
        make_float2(-along[2].x * q.x, -along[2].y * q.x),
        make_float2(fmaf(along[1].x, q.x, -along[0].x * q.y), fmaf(along[1].y, q.x, -along[0].y * q.y)),
        make_float2(px * model.y, -px * model.x),
        make_float2(py * model.y, -py * model.x),
    };
    int pair = 1 + PARAMETERS;
    for (int a = 0; a < PARAMETERS; a++) {
        const float re = 2.0f * weight * derivatives[a].x, im = 2.0f * weight * derivatives[a].y;
        sums[1 + a] = fmaf(re, residual.x, fmaf(im, residual.y, sums[1 + a]));
        for (int b = a; b < PARAMETERS; b++, pair++) {
            sums[pair] = fmaf(re, derivatives[b].x, fmaf(im, derivatives[b].y, sums[pair]));
        }
    }
}

extern "C" __global__ void __launch_bounds__(SUMMING_THREADS) align_normal_equations(
    double* out,             // [poses][parts][NORMAL_SUMS]
    const float2* volume,    // [2 reach + 1][2 reach + 1][reach + 1]
    const Sample* samples,   // [images][points]
    const float2* points,    // [points]: qx, qy in Fourier pixels
    const float* window,     // [band]: weights of the band
    const PosedImage* poses, // [poses]
    NormalShape shape) {
    const PosedImage pose = poses[blockIdx.x];
    const Sample* image = samples + (long long)pose.image * shape.points;
    const Grid grid = {volume, shape.slice.reach};
    const int part = blockIdx.y;
    const int end = min((part + 1) * POINTS_OF_PART, shape.band);
    float sums[NORMAL_SUMS] = {};
    for (int point = part * POINTS_OF_PART + threadIdx.x; point < end; point += SUMMING_THREADS) {
        const Sample sample = image[point];
        add_point(sums, pose, sample, points[point], window[point] * sample.over_noise, shape.slice, grid);
    }
    __shared__ BlockSums<NORMAL_SUMS> shared;
    block_sums(shared, sums, out + ((long long)blockIdx.x * shape.parts + part) * NORMAL_SUMS);
}

struct ShellShape {
    SliceShape slice;
    int points;     // of the lattice, all read
    int shells;
    float modelled; // radius to which the model reaches, Fourier pixels
};

extern "C" __global__ void __launch_bounds__(SUMMING_THREADS) align_shell_sums(
    double* out,             // [poses][shells][SHELL_SUMS]
    const float2* volume,    // [2 reach + 1][2 reach + 1][reach + 1]
    const Sample* samples,   // [images][points]
    const float2* points,    // [points]: qx, qy in Fourier pixels
    const int* by_shell,     // [points]: the points, shell after shell
    const int* shell_starts, // [shells + 1]: where each shell's begin there
    const PosedImage* poses, // [poses]
    ShellShape shape) {
    const PosedImage pose = poses[blockIdx.x];
    const Sample* image = samples + (long long)pose.image * shape.points;
    const Grid grid = {volume, shape.slice.reach};
    const int shell = blockIdx.y;
    float sums[SHELL_SUMS] = {};
    for (int i = shell_starts[shell] + (int)threadIdx.x; i < shell_starts[shell + 1]; i += SUMMING_THREADS) {
        const int point = by_shell[i];
        const float2 q = points[point];
        const Sample sample = image[point];
        if (radius_of(q) > shape.modelled) {
            sums[0] += sample.re * sample.re + sample.im * sample.im;
            continue;
        }
        const float scale = shape.slice.scale;
        float2 model = value_at(grid, place(pose, 0, q, scale), place(pose, 1, q, scale), place(pose, 2, q, scale));
        model.x *= sample.transfer;
        model.y *= sample.transfer;
        const float2 moved = moved_back(sample, pose, q);
        const float re = moved.x - model.x, im = moved.y - model.y;
        sums[0] += re * re + im * im;
        sums[1] += moved.x * model.x + moved.y * model.y;
        sums[2] += model.x * model.x + model.y * model.y;
    }
    __shared__ BlockSums<SHELL_SUMS> shared;
    block_sums(shared, sums, out + ((long long)blockIdx.x * shape.shells + shell) * SHELL_SUMS);
}
