//! The runtime API: `libcudart.so.12` and `.13`.

pub mod device_prop;
pub mod error;
pub mod structs;

pub use device_prop::*;
pub use error::*;
pub use structs::*;

impl From<crate::driver::CUresult> for CudaError {
    /// The two APIs share their numbers; what the runtime does not know is `cudaErrorUnknown`.
    fn from(result: crate::driver::CUresult) -> Self {
        let same = Self(result.0);
        if same.name_c().is_some() {
            same
        } else {
            cudaErrorUnknown
        }
    }
}
