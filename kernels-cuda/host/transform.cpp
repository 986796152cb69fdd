// The kernels of `transform` on the host.

#include "shim.h"

#include "transform.cu"

SHIM_KERNEL(transform_rows_forward);
SHIM_KERNEL(transform_rows_inverse);
SHIM_KERNEL(transform_lines_in_place);
SHIM_KERNEL(transform_lines);
SHIM_KERNEL(transform_pack_rows);
SHIM_KERNEL(transform_part_rows);
SHIM_KERNEL(transform_join_rows);
SHIM_KERNEL(transform_unpack_rows);
