// What kernels of several families share.
#pragma once

// The block's dynamic shared memory as an array; its size comes with the launch.
#ifdef VITREOUS_HOST_SHIM
#define SHARED_ARRAY(type, name) type* name = static_cast<type*>(shim::dynamic_shared())
#else
#define SHARED_ARRAY(type, name) extern __shared__ type name[]
#endif

// A half of a Hermitian volume on a padded grid, as PaddedGrid lays it out: [2 reach + 1][2 reach + 1][reach + 1], the
// origin in the middle of the first two.
struct Grid {
    const float2* data;
    int reach;
};

// The volume at a point given in grid steps, by linear interpolation; |k| is at most reach - 1 along each axis.
__device__ static inline float2 value_at(const Grid grid, float x, float y, float z) {
    const bool mate = x < 0.0f;
    if (mate) {
        x = -x;
        y = -y;
        z = -z;
    }
    const float low_x = floorf(x), low_y = floorf(y), low_z = floorf(z);
    const float tx = x - low_x, ty = y - low_y, tz = z - low_z;
    const long long edge = 2 * grid.reach + 1, width = grid.reach + 1;
    const float2* row = grid.data + (((int)low_z + grid.reach) * edge + (int)low_y + grid.reach) * width + (int)low_x;
    float2 along_y[2];
    for (int dz = 0; dz < 2; dz++) {
        float2 along_x[2];
        for (int dy = 0; dy < 2; dy++) {
            const float2 *here = row + (dz * edge + dy) * width, low = here[0], high = here[1];
            along_x[dy].x = low.x + (high.x - low.x) * tx;
            along_x[dy].y = low.y + (high.y - low.y) * tx;
        }
        along_y[dz].x = along_x[0].x + (along_x[1].x - along_x[0].x) * ty;
        along_y[dz].y = along_x[0].y + (along_x[1].y - along_x[0].y) * ty;
    }
    float2 value;
    value.x = along_y[0].x + (along_y[1].x - along_y[0].x) * tz;
    value.y = along_y[0].y + (along_y[1].y - along_y[0].y) * tz;
    if (mate) value.y = -value.y;
    return value;
}
