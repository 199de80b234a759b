//! Execution providers of ONNX Runtime.

use ort::ep::{self, ExecutionProvider, ExecutionProviderDispatch};

/// Who computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Provider {
    /// ONNX Runtime's own CPU kernels.
    Cpu,
    /// Intel OpenVINO on the CPU.
    Openvino,
    /// NVIDIA CUDA.
    Cuda,
    /// NVIDIA TensorRT.
    Tensorrt,
}

impl Provider {
    /// The name as `--provider` takes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Openvino => "openvino",
            Self::Cuda => "cuda",
            Self::Tensorrt => "tensorrt",
        }
    }

    /// The wheel whose library has the provider.
    pub(super) fn wheel(self) -> &'static str {
        match self {
            Self::Cpu => "onnxruntime",
            Self::Openvino => "onnxruntime-openvino",
            Self::Cuda | Self::Tensorrt => "onnxruntime-gpu",
        }
    }

    pub(super) fn is_in_library(self) -> ort::Result<bool> {
        match self {
            Self::Cpu => Ok(true),
            Self::Openvino => ep::OpenVINO::is_available(),
            Self::Cuda => ep::CUDA::is_available(),
            Self::Tensorrt => ep::TensorRT::is_available(),
        }
    }

    pub(super) fn dispatch(self, threads: usize) -> ExecutionProviderDispatch {
        match self {
            // Named outright: with no provider named, ONNX Runtime would choose by its own policy.
            // The arena is off unless asked for; without it every run asks the system for its memory again, which costs
            // time and, by fragmentation, gigabytes over a long build.
            Self::Cpu => ep::CPU::default().with_arena_allocator(true).build(),
            // Without the hint OpenVINO computes in bfloat16 on processors that have it.
            Self::Openvino => ep::OpenVINO::default()
                .with_device_type("CPU")
                .with_precision("ACCURACY")
                .with_num_threads(threads)
                .build(),
            Self::Cuda => ep::CUDA::default().with_tf32(false).build(),
            Self::Tensorrt => ep::TensorRT::default().build(),
        }
        .error_on_failure()
    }
}
