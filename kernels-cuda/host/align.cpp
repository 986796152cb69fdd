// The kernels of `align` on the host.

#include "shim.h"

#include "align.cu"

SHIM_KERNEL(align_samples);
SHIM_KERNEL(align_normal_equations);
SHIM_KERNEL(align_shell_sums);
