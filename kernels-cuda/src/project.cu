// Family `project`: CUDA twin of compute/src/cpu/project.rs. Contract: compute/src/ops/project.rs.
//
// One thread per coefficient of one slice; neighbouring threads read neighbouring cells of the grid.

#include "device_code.cuh"

struct ProjectShape {
    int slices; // in this launch
    int n;      // box edge, pixels
    int reach;  // grid steps from the origin to the last point
};

extern "C" __global__ void project_slices(
    float2* out,          // [slices][n][n/2 + 1]
    const float2* volume, // [2 reach + 1][2 reach + 1][reach + 1]
    const float* axes,    // [slices][6]: the image's x, then y axis in grid steps per Fourier pixel
    const int* row_ends,  // [n]: coefficients of a row within the radius
    ProjectShape shape) {
    const int columns = shape.n / 2 + 1;
    const int pixel = blockIdx.x * blockDim.x + threadIdx.x;
    const int slice = blockIdx.y;
    if (pixel >= shape.n * columns || slice >= shape.slices) return;
    const int y = pixel / columns;
    const int x = pixel - y * columns;
    float2 value = make_float2(0.0f, 0.0f);
    if (x < row_ends[y]) {
        const float qx = (float)x;
        const float qy = (float)(y <= shape.n / 2 ? y : y - shape.n);
        const float* a = axes + 6 * slice;
        const Grid grid = {volume, shape.reach};
        value = value_at(grid, a[0] * qx + a[3] * qy, a[1] * qx + a[4] * qy, a[2] * qx + a[5] * qy);
    }
    out[(long long)slice * shape.n * columns + pixel] = value;
}
