// Family `align`: CUDA twin of compute/src/cpu/align. Contract: compute/src/ops/align.rs.
//
// A block of threads for each pose, or for each shell of a pose; threads take the points in turn, so that neighbours read
// neighbouring cells of the grid. Their sums are added in one order, so nothing depends on the order of threads.

#include "device_code.cuh"

#define THREADS 128
#define SUMS 21 // logL, five of the gradient, fifteen of the Hessian

struct AlignShape {
    int poses;  // in this launch
    int points; // of the band, or of all shells
    int stride; // points from one image to the next
    int reach;  // grid steps from the origin to the last point
    float scale; // grid steps per Fourier pixel
    float per_px; // 2 pi over the box edge
};

struct Point {
    float re, im;
    float transfer; // CTF times amplitude
    float over_noise;
};

struct Pose {
    float rotation[9]; // rows: volume axes, columns: image axes
    float turns[2];    // the shift over the box edge: turns per Fourier pixel
};

// The image's coefficient moved back by the shift.
__device__ static inline float2 moved_back(const Point point, const Pose pose, const float2 q) {
    float sine, cosine;
    sincospif(2.0f * fmaf(q.x, pose.turns[0], q.y * pose.turns[1]), &sine, &cosine);
    return make_float2(point.re * cosine - point.im * sine, point.re * sine + point.im * cosine);
}

// A point of the slice, along an axis of the volume in grid steps.
__device__ static inline float along(const Pose pose, int axis, const float2 q, float scale) {
    return scale * fmaf(pose.rotation[3 * axis], q.x, pose.rotation[3 * axis + 1] * q.y);
}

extern "C" __global__ void normal_equations(
    double* out,          // [poses][21]: logL, gradient, upper triangle of the Hessian row by row
    const float2* volume, // [2 reach + 1][2 reach + 1][reach + 1]
    const float2* q,      // [points]: Fourier pixels
    const float* window,  // [points]: weight of the band
    const Point* images,  // [images][stride]
    const int* image_of,  // [poses]
    const Pose* poses,    // [poses]
    AlignShape shape) {
    __shared__ float partial[SUMS][THREADS + 1];
    const Pose pose = poses[blockIdx.x];
    const Point* image = images + (long long)image_of[blockIdx.x] * shape.stride;
    const Grid grid = {volume, shape.reach};
    float sums[SUMS];
    for (int s = 0; s < SUMS; s++) sums[s] = 0.0f;
    for (int i = threadIdx.x; i < shape.points; i += THREADS) {
        const float2 here = q[i];
        const Point point = image[i];
        const float weight = window[i] * point.over_noise;
        const ValueAndGradient found = value_and_gradient_at(
            grid, along(pose, 0, here, shape.scale), along(pose, 1, here, shape.scale), along(pose, 2, here, shape.scale));
        const float2 x = moved_back(point, pose, here);
        const float mr = point.transfer * found.value.x, mi = point.transfer * found.value.y;
        // derivatives by the rotation vector in the image's frame and by the shift
        const float slope = point.transfer * shape.scale;
        float2 in_frame[3];
        for (int column = 0; column < 3; column++) {
            float re = 0.0f, im = 0.0f;
            for (int axis = 0; axis < 3; axis++) {
                re = fmaf(found.along[axis].x, pose.rotation[3 * axis + column], re);
                im = fmaf(found.along[axis].y, pose.rotation[3 * axis + column], im);
            }
            in_frame[column] = make_float2(slope * re, slope * im);
        }
        const float ux = shape.per_px * here.x, uy = shape.per_px * here.y;
        const float2 derivative[5] = {
            make_float2(in_frame[2].x * here.y, in_frame[2].y * here.y),
            make_float2(-in_frame[2].x * here.x, -in_frame[2].y * here.x),
            make_float2(in_frame[1].x * here.x - in_frame[0].x * here.y, in_frame[1].y * here.x - in_frame[0].y * here.y),
            make_float2(ux * mi, -ux * mr),
            make_float2(uy * mi, -uy * mr),
        };
        // 2 Re(X conj M) - |M|^2
        sums[0] = fmaf(weight, mr * (2.0f * x.x - mr) + mi * (2.0f * x.y - mi), sums[0]);
        int pair = 6;
        for (int a = 0; a < 5; a++) {
            const float wr = 2.0f * weight * derivative[a].x, wi = 2.0f * weight * derivative[a].y;
            sums[1 + a] = fmaf(wr, x.x - mr, fmaf(wi, x.y - mi, sums[1 + a]));
            for (int b = a; b < 5; b++, pair++) {
                sums[pair] = fmaf(wr, derivative[b].x, fmaf(wi, derivative[b].y, sums[pair]));
            }
        }
    }
    for (int s = 0; s < SUMS; s++) partial[s][threadIdx.x] = sums[s];
    __syncthreads();
    if (threadIdx.x < SUMS) {
        double sum = 0.0;
        for (int t = 0; t < THREADS; t++) sum += partial[threadIdx.x][t];
        out[(long long)blockIdx.x * SUMS + threadIdx.x] = sum;
    }
}

extern "C" __global__ void shell_sums(
    double* out,             // [poses][shells][3]: residual, cross, model
    const float2* volume,    // [2 reach + 1][2 reach + 1][reach + 1]
    const float2* q,         // [points], shell by shell
    const int* shell_starts, // [shells + 1]
    const Point* images,     // [images][stride], in the order of q
    const int* image_of,     // [poses]
    const Pose* poses,       // [poses]
    float modelled,          // radius up to which the model is taken, Fourier pixels
    AlignShape shape) {
    __shared__ float partial[3][THREADS + 1];
    const Pose pose = poses[blockIdx.y];
    const Point* image = images + (long long)image_of[blockIdx.y] * shape.stride;
    const Grid grid = {volume, shape.reach};
    float residual = 0.0f, cross = 0.0f, model = 0.0f;
    for (int i = shell_starts[blockIdx.x] + threadIdx.x; i < shell_starts[blockIdx.x + 1]; i += THREADS) {
        const float2 here = q[i];
        const Point point = image[i];
        float2 m = make_float2(0.0f, 0.0f);
        if (sqrtf(here.x * here.x + here.y * here.y) <= modelled) {
            const float2 value = value_at(grid, along(pose, 0, here, shape.scale), along(pose, 1, here, shape.scale),
                                          along(pose, 2, here, shape.scale));
            m = make_float2(point.transfer * value.x, point.transfer * value.y);
        }
        const float2 x = moved_back(point, pose, here);
        residual += (x.x - m.x) * (x.x - m.x) + (x.y - m.y) * (x.y - m.y);
        cross += x.x * m.x + x.y * m.y;
        model += m.x * m.x + m.y * m.y;
    }
    partial[0][threadIdx.x] = residual;
    partial[1][threadIdx.x] = cross;
    partial[2][threadIdx.x] = model;
    __syncthreads();
    if (threadIdx.x < 3) {
        double sum = 0.0;
        for (int t = 0; t < THREADS; t++) sum += partial[threadIdx.x][t];
        out[((long long)blockIdx.y * gridDim.x + blockIdx.x) * 3 + threadIdx.x] = sum;
    }
}
