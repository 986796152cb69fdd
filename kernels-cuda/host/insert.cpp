// The kernels of `insert` on the host.

#include "shim.h"

#include "../src/insert.cu"

SHIM_KERNEL(insert_slices);
