// Value and gradient of a volume on a padded grid.
#pragma once

#include "device_code.cuh"

__device__ static inline float2 difference(float2 a, float2 b) { return make_float2(a.x - b.x, a.y - b.y); }

// `from` and `t` times `step`.
__device__ static inline float2 stepped(float2 from, float2 step, float t) {
    return make_float2(fmaf(step.x, t, from.x), fmaf(step.y, t, from.y));
}

// The volume at a point given in grid steps, by linear interpolation, and its derivatives along x, y and z per grid
// step: those of the interpolation, constant along their axis within a cell. |k| is at most reach - 1 along each axis.
__device__ static inline float2 value_and_gradient_at(const Grid grid, float x, float y, float z, float2* gradient) {
    const float sign = x < 0.0f ? -1.0f : 1.0f;
    x *= sign;
    y *= sign;
    z *= sign;
    const float floor_x = floorf(x), floor_y = floorf(y), floor_z = floorf(z);
    const float tx = x - floor_x, ty = y - floor_y, tz = z - floor_z;
    const long long edge = 2 * grid.reach + 1, width = grid.reach + 1;
    const float2* first =
        grid.data + (((int)floor_z + grid.reach) * edge + (int)floor_y + grid.reach) * width + (int)floor_x;
    // values, and steps along x, at (z0, y0), (z0, y1), (z1, y0), (z1, y1)
    float2 at[4], step[4];
    for (int corner = 0; corner < 4; corner++) {
        const float2* row = first + ((corner >> 1) * edge + (corner & 1)) * width;
        const float2 low = row[0], high = row[1];
        step[corner] = difference(high, low);
        at[corner] = stepped(low, step[corner], tx);
    }
    const float2 near_y = difference(at[1], at[0]), far_y = difference(at[3], at[2]);
    const float2 near_value = stepped(at[0], near_y, ty), far_value = stepped(at[2], far_y, ty);
    const float2 near_x = stepped(step[0], difference(step[1], step[0]), ty);
    const float2 far_x = stepped(step[2], difference(step[3], step[2]), ty);
    gradient[0] = stepped(near_x, difference(far_x, near_x), tz);
    gradient[1] = stepped(near_y, difference(far_y, near_y), tz);
    gradient[2] = difference(far_value, near_value);
    float2 value = stepped(near_value, gradient[2], tz);
    // V(k) = conj V(-k); its derivative is minus the conjugate of the one at -k
    value.y *= sign;
    for (int axis = 0; axis < 3; axis++) gradient[axis].x *= sign;
    return value;
}
