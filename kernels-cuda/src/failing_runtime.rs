//! A runtime on which nothing works, for tests of what is then done on the CPU.

use crate::runtime::{Argument, KernelError, Launch, Runtime};

/// What fails.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Failing {
    /// Every allocation.
    Memory,
    /// Every launch.
    Launches,
}

impl Failing {
    fn memory(self, bytes: usize) -> Result<(), KernelError> {
        match self {
            Self::Memory => Err(KernelError::OutOfMemory { wanted_mib: bytes as u64 >> 20, free_mib: 0 }),
            Self::Launches => Ok(()),
        }
    }
}

impl Runtime for Failing {
    type Memory = Vec<u8>;

    fn name(&self) -> String {
        "a device that fails".into()
    }

    fn free_bytes(&self) -> u64 {
        1 << 20
    }

    fn synchronize(&self) -> Result<(), KernelError> {
        Ok(())
    }

    fn zeros(&self, bytes: usize) -> Result<Vec<u8>, KernelError> {
        self.memory(bytes)?;
        Ok(vec![0; bytes])
    }

    fn upload(&self, bytes: &[u8]) -> Result<Vec<u8>, KernelError> {
        self.memory(bytes.len())?;
        Ok(bytes.to_vec())
    }

    fn download(&self, memory: &Vec<u8>, bytes: &mut [u8]) -> Result<(), KernelError> {
        bytes.copy_from_slice(&memory[..bytes.len()]);
        Ok(())
    }

    unsafe fn launch(
        &self,
        launch: &Launch,
        _arguments: &mut [Argument<'_, Vec<u8>>],
    ) -> Result<(), KernelError> {
        let doing = format!("launching `{}`", launch.kernel);
        Err(KernelError::Call { doing, reason: "nothing works here".into() })
    }
}
