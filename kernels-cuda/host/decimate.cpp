// The kernels of `decimate` on the host.

#include "shim.h"

#include "decimate.cu"

SHIM_KERNEL(expand_frame);
SHIM_KERNEL(expand_large_counts);
SHIM_KERNEL(decimate_frame);
