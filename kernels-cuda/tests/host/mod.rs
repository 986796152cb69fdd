//! A runtime on the host: kernels compiled as C++, one fiber per CUDA thread (`host/shim.h`). Beyond what the shim sees it
//! finds writes beyond the ends of arrays, and makes what is read there NaN.

use libloading::Library;
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_ulonglong, c_void};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use vitreous_kernels_cuda::runtime::{Argument, KernelError, Launch, Runtime};

type ShimLaunch = unsafe extern "C" fn(
    *const c_char,
    *const c_uint,
    *const c_uint,
    usize,
    *const *const c_void,
    *const usize,
    usize,
    c_int,
    c_ulonglong,
    *mut c_char,
    usize,
) -> c_int;

/// Orders of the threads of a block between barriers: forward, backward, shuffled.
pub const ORDERS: [c_int; 3] = [0, 1, 2];

/// Where the kernels' sources lie.
pub fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The kernels of a family, compiled for the host.
#[derive(Debug)]
pub struct HostRuntime {
    /// One launch at a time: the shim has one set of fibers.
    library: Mutex<Library>,
    order: c_int,
}

/// Compiles the kernels of a family from the folder `sources` into a library `name`; `None`, with a line that says why,
/// without a C++ compiler.
pub fn compiled(family: &str, sources: &Path, name: &str) -> Option<PathBuf> {
    let host = Path::new(env!("CARGO_MANIFEST_DIR")).join("host");
    let library = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("lib{name}.so"));
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").opt_level(2).debug(false).pic(true).include(sources).warnings(false);
    build.target(&triple).host(&triple).out_dir(env!("CARGO_TARGET_TMPDIR")).cargo_metadata(false);
    let Ok(compiler) = build.try_get_compiler() else {
        println!("skipped: no C++ compiler here");
        return None;
    };
    let units = [host.join(format!("{family}.cpp")), host.join("shim.cpp")];
    let mut command = compiler.to_command();
    command.arg("-shared").arg("-ffp-contract=off").args(&units).arg("-o").arg(&library);
    match command.status() {
        Err(error) => {
            println!("skipped: the C++ compiler cannot be started: {error}");
            None
        }
        Ok(status) => {
            assert!(status.success(), "the kernels of {family} should compile as C++");
            Some(library)
        }
    }
}

impl HostRuntime {
    /// With the kernels of a library that [`compiled`] made, and launches in the given order of threads.
    pub fn new(library: &Path, order: c_int) -> Self {
        // SAFETY: the library was made from our sources; its initialisers only register kernels.
        let library = unsafe { Library::new(library) }.unwrap();
        Self { library: Mutex::new(library), order }
    }
}

/// Bytes on both sides of an array that nothing may touch, 0xff: NaN in every float.
const GUARD: usize = 64;

/// An array between guards.
#[derive(Debug)]
pub struct HostMemory {
    /// Sixteen-byte words, so that every type is aligned.
    words: Vec<u128>,
    bytes: usize,
}

impl HostMemory {
    fn new(bytes: usize) -> Self {
        let words = vec![u128::MAX; (bytes + 2 * GUARD).div_ceil(size_of::<u128>())];
        let mut memory = Self { words, bytes };
        memory.values().fill(0);
        memory
    }

    fn all(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.words)
    }

    fn values(&mut self) -> &mut [u8] {
        let end = GUARD + self.bytes;
        &mut self.all()[GUARD..end]
    }

    fn is_guarded(&self) -> bool {
        let all: &[u8] = bytemuck::cast_slice(&self.words);
        all[..GUARD].iter().chain(&all[GUARD + self.bytes..]).all(|&byte| byte == 0xff)
    }
}

fn failure(launch: &Launch, reason: String) -> KernelError {
    KernelError::Call { doing: format!("launching `{}`", launch.kernel), reason }
}

impl Runtime for HostRuntime {
    type Memory = HostMemory;

    fn name(&self) -> String {
        "host shim".into()
    }

    fn free_bytes(&self) -> u64 {
        // little, so that batches are cut
        1 << 20
    }

    fn synchronize(&self) -> Result<(), KernelError> {
        Ok(())
    }

    fn zeros(&self, bytes: usize) -> Result<HostMemory, KernelError> {
        Ok(HostMemory::new(bytes))
    }

    fn upload(&self, bytes: &[u8]) -> Result<HostMemory, KernelError> {
        let mut memory = HostMemory::new(bytes.len());
        memory.values().copy_from_slice(bytes);
        Ok(memory)
    }

    fn download(&self, memory: &HostMemory, bytes: &mut [u8]) -> Result<(), KernelError> {
        let all: &[u8] = bytemuck::cast_slice(&memory.words);
        bytes.copy_from_slice(&all[GUARD..GUARD + bytes.len()]);
        Ok(())
    }

    unsafe fn launch(
        &self,
        launch: &Launch,
        arguments: &mut [Argument<'_, HostMemory>],
    ) -> Result<(), KernelError> {
        let name = CString::new(launch.kernel).unwrap();
        let addresses: Vec<*const c_void> = arguments
            .iter_mut()
            .map(|argument| match argument {
                Argument::Reads(memory) => memory.words.as_ptr().cast::<u8>().wrapping_add(GUARD).cast(),
                Argument::Writes(memory) => memory.values().as_mut_ptr().cast_const().cast(),
                Argument::Scalars(bytes) => bytes.as_ptr().cast(),
            })
            .collect();
        let (pointers, sizes): (Vec<*const c_void>, Vec<usize>) = arguments
            .iter()
            .zip(&addresses)
            .map(|(argument, address)| match argument {
                Argument::Scalars(bytes) => (*address, bytes.len()),
                _ => (std::ptr::from_ref(address).cast(), size_of::<*const c_void>()),
            })
            .unzip();
        let mut message = [0 as c_char; 300];
        let library = self.library.lock().unwrap();
        // SAFETY: the function has this signature (shim.cpp); the arguments are those of the kernel in number, order and
        // size, which the shim checks again, and live until it returns.
        let result = unsafe {
            let function = library.get::<ShimLaunch>(b"shim_launch").unwrap();
            function(
                name.as_ptr(),
                launch.grid.as_ptr(),
                launch.block.as_ptr(),
                launch.shared_bytes as usize,
                pointers.as_ptr(),
                sizes.as_ptr(),
                sizes.len(),
                self.order,
                1,
                message.as_mut_ptr(),
                message.len(),
            )
        };
        drop(library);
        if result != 0 {
            // SAFETY: the shim ends the message with a zero within its length.
            let message = unsafe { CStr::from_ptr(message.as_ptr()) };
            return Err(failure(launch, message.to_string_lossy().into_owned()));
        }
        let is_guarded = |argument: &Argument<'_, HostMemory>| match argument {
            Argument::Reads(memory) => memory.is_guarded(),
            Argument::Writes(memory) => memory.is_guarded(),
            Argument::Scalars(_) => true,
        };
        match arguments.iter().position(|argument| !is_guarded(argument)) {
            Some(index) => Err(failure(launch, format!("argument {index} was written beyond its ends"))),
            None => Ok(()),
        }
    }
}
