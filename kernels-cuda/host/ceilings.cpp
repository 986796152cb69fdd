// The kernels of `ceilings` on the host.

#include "shim.h"

#include "ceilings.cu"

SHIM_KERNEL(copy_numbers);
SHIM_KERNEL(multiply_add);
