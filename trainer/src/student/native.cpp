// What the trainer needs of libtorch and glibc that tch does not bind. Contract: src/student/native.rs.
#include <ATen/autocast_mode.h>
#include <caffe2/core/common.h>
#include <dlfcn.h>
#include <malloc.h>

#include <cstdint>
#include <cstring>
#include <string>

// Copies the version of the libtorch that was loaded, cut to `size` bytes with a final zero. Not from at::show_config: that looks
// for CUDA, and libtorch looks once, so that a libtorch_cuda.so loaded later would not be seen.
extern "C" void logitcache_torch_version(char *out, size_t size) {
    std::string text;
    try {
        text = caffe2::GetBuildOptions().at("TORCH_VERSION");
    } catch (...) {
    }
    if (size == 0) return;
    size_t count = text.size() < size - 1 ? text.size() : size - 1;
    std::memcpy(out, text.data(), count);
    out[count] = 0;
}

// Switches this thread's autocast to bfloat16 on or off for CPU or CUDA; returns whether it was on.
extern "C" bool logitcache_autocast(bool cuda, bool enabled) {
    auto device = cuda ? at::kCUDA : at::kCPU;
    bool before = at::autocast::is_autocast_enabled(device);
    at::autocast::set_autocast_dtype(device, at::kBFloat16);
    at::autocast::set_autocast_enabled(device, enabled);
    at::autocast::set_autocast_cache_enabled(true);
    return before;
}

// Forgets the bfloat16 copies of the weights that autocast keeps between operations.
extern "C" void logitcache_autocast_clear() {
    at::autocast::clear_cache();
}

// Loads a library for the rest of the process, its symbols seen by all; looked for where libtorch lies, too.
extern "C" bool logitcache_load(const char *library) {
    return dlopen(library, RTLD_NOW | RTLD_GLOBAL) != nullptr;
}

// Lets glibc keep freed memory instead of giving it back: a training step frees and takes gigabytes, and every page that comes
// back from the system is a fault.
extern "C" bool logitcache_keep_freed_memory() {
    return mallopt(M_MMAP_THRESHOLD, INT32_MAX) == 1 && mallopt(M_TRIM_THRESHOLD, INT32_MAX) == 1 && mallopt(M_TOP_PAD, 64 << 20) == 1;
}
