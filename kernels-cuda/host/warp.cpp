// The kernels of `warp` on the host.

#include "shim.h"

#include "warp.cu"

SHIM_KERNEL(ready_frame);
SHIM_KERNEL(place_large_counts);
SHIM_KERNEL(replace_bad_pixels);
SHIM_KERNEL(continue_frame);
SHIM_KERNEL(plan_tiles);
SHIM_KERNEL(add_warped);
