//! From the processor's memory to a device.

use tch::{Device, Tensor, kind::Element};

/// `[n]` the values on a device. To CUDA they go by way of page-locked memory: a copy from other memory waits for all that was
/// computed before it.
pub fn upload<T: Element>(values: &[T], device: Device) -> Tensor {
    let here = Tensor::from_slice(values);
    match device.is_cuda() {
        true => here.pin_memory(device).to_device_(device, here.kind(), true, false),
        false => here,
    }
}
