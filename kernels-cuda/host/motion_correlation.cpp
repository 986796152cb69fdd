// The kernels of `motion_correlation` on the host.

#include "shim.h"

#include "motion_correlation.cu"

SHIM_KERNEL(sum_moved);
SHIM_KERNEL(measure_frames);
SHIM_KERNEL(ring_power_of_sums);
SHIM_KERNEL(ring_power_of_frames);
SHIM_KERNEL(products_with_others);
