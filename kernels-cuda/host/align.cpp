// The kernels of `align` on the host.

#include "shim.h"

#include "align.cu"

SHIM_KERNEL(normal_equations);
SHIM_KERNEL(shell_sums);
