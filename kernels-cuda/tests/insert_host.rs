//! The parity suite of `insert` with the kernel run on the host, one fiber per CUDA thread (`host/shim.h`): what the
//! kernel computes, and how it is called, without a GPU.
#![allow(unsafe_code)]
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test says why it skips, and may fail")]

use libloading::Library;
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_ulonglong, c_void};
use std::path::{Path, PathBuf};
use vitreous_compute::device::{Cpu, Device};
use vitreous_compute::ops::grid::PaddedGrid;
use vitreous_compute::ops::insert::{FixedGrid, FixedPoint, Insert, InsertError, SliceBatch};
use vitreous_compute::parity;
use vitreous_kernels_cuda::insert;

type Launch = unsafe extern "C" fn(
    *const c_char,
    *const c_uint,
    *const c_uint,
    *const *const c_void,
    *const usize,
    usize,
    c_int,
    c_ulonglong,
    *mut c_char,
    usize,
) -> c_int;

/// Threads of a block between barriers: forward, backward, shuffled.
const ORDERS: [c_int; 3] = [0, 1, 2];

/// Kernels compiled for the host.
struct HostShim {
    library: Library,
    order: c_int,
}

impl HostShim {
    /// Compiles the kernels of a family into a library; `None`, with a line that says why, without a C++ compiler.
    fn new(family: &str, order: c_int) -> Option<Self> {
        let host = Path::new(env!("CARGO_MANIFEST_DIR")).join("host");
        let library = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("lib{family}-{order}.so"));
        let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let mut build = cc::Build::new();
        build.cpp(true).std("c++17").opt_level(2).debug(false).pic(true);
        build.target(&triple).host(&triple).out_dir(env!("CARGO_TARGET_TMPDIR")).cargo_metadata(false);
        let Ok(compiler) = build.try_get_compiler() else {
            println!("skipped: no C++ compiler here");
            return None;
        };
        let sources = [host.join(format!("{family}.cpp")), host.join("shim.cpp")];
        let mut command = compiler.to_command();
        let status =
            command.arg("-shared").arg("-ffp-contract=off").args(&sources).arg("-o").arg(&library).status();
        match status {
            Err(error) => {
                println!("skipped: the C++ compiler cannot be started: {error}");
                None
            }
            Ok(status) => {
                assert!(status.success(), "the kernels of {family} should compile as C++");
                // SAFETY: the library was just made from our sources; its initialisers only register kernels.
                Some(Self { library: unsafe { Library::new(&library) }.unwrap(), order })
            }
        }
    }

    fn launch(&self, launch: &insert::InsertArguments, sums: &mut [i64]) -> Result<(), String> {
        let name = CString::new(launch.launch.kernel).unwrap();
        let pointers: [*const c_void; 5] = [
            sums.as_mut_ptr().cast(),
            launch.numerator.as_ptr().cast(),
            launch.weight.as_ptr().cast(),
            launch.axes.as_ptr().cast(),
            launch.row_ends.as_ptr().cast(),
        ];
        let mut arguments: Vec<*const c_void> = pointers.iter().map(|p| (&raw const *p).cast()).collect();
        arguments.push((&raw const launch.shape).cast());
        let mut sizes = vec![size_of::<*const c_void>(); 5];
        sizes.push(size_of::<insert::InsertShape>());
        let mut message = [0 as c_char; 300];
        // SAFETY: the function has this signature (shim.cpp); the arguments are those of the kernel in number, order and
        // size, which the shim checks again, and the arrays live until it returns.
        let result = unsafe {
            let function = self.library.get::<Launch>(b"shim_launch").unwrap();
            function(
                name.as_ptr(),
                launch.launch.grid.as_ptr(),
                launch.launch.block.as_ptr(),
                arguments.as_ptr(),
                sizes.as_ptr(),
                sizes.len(),
                self.order,
                1,
                message.as_mut_ptr(),
                message.len(),
            )
        };
        // SAFETY: the shim ends the message with a zero within its length.
        let message = unsafe { CStr::from_ptr(message.as_ptr()) };
        if result == 0 { Ok(()) } else { Err(message.to_string_lossy().into_owned()) }
    }
}

impl Device for HostShim {
    fn name(&self) -> String {
        "host shim".into()
    }
    fn free_bytes(&self) -> u64 {
        u64::MAX
    }
    fn synchronize(&self) {}
}

impl Insert for HostShim {
    type Accumulator = FixedGrid;

    fn accumulator(&self, grid: PaddedGrid, scale: FixedPoint) -> Result<FixedGrid, InsertError> {
        Ok(FixedGrid::zeros(grid, scale))
    }

    fn insert(&self, into: &mut FixedGrid, batch: &SliceBatch<'_>) -> Result<(), InsertError> {
        batch.check(into.grid(), into.scale())?;
        let (grid, scale) = (*into.grid(), *into.scale());
        // three images a launch, so that batches are cut
        for run in insert::runs(batch, 3) {
            if let Some(arguments) = insert::arguments(batch, run, &grid, &scale) {
                self.launch(&arguments, into.data_mut()).map_err(InsertError::Device)?;
            }
        }
        Ok(())
    }

    fn collect(&self, accumulator: FixedGrid) -> Result<FixedGrid, InsertError> {
        Ok(accumulator)
    }
}

#[test]
fn parity_on_the_host_shim_in_every_order_of_threads() {
    for order in ORDERS {
        let Some(shim) = HostShim::new("insert", order) else { return };
        parity::assert_all(&parity::insert::run(&shim));
        assert_eq!(
            parity::insert::checksum(&shim),
            parity::insert::checksum(&Cpu),
            "the bits of the CPU twin"
        );
    }
}

#[test]
fn the_ptx_is_for_the_architectures_we_promise_and_has_the_kernel() {
    assert!(insert::PTX.contains(".version 8.0") && insert::PTX.contains(".target sm_70"));
    assert!(insert::PTX.contains(&format!(".visible .entry {}(", insert::KERNEL)));
    assert!(!insert::PTX.contains("fma.rn.f32"), "products and sums should not be contracted");
}
