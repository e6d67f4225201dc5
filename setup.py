"""Build of the two compiled libraries: `_C` (operator schemas and CPU kernels) and `_C_cuda` (CUDA kernels).

Environment: VNLSDENOISE_CUDA=1 builds `_C_cuda` whatever torch is installed, =0 leaves it out; unset, it is built where
torch is a CUDA build and a CUDA toolkit is found. TORCH_CUDA_ARCH_LIST names the GPU architectures.
"""

import os
import pathlib

import torch
import torch.utils.cpp_extension as cpp_extension
from setuptools import setup
from torch.utils.cpp_extension import BuildExtension, CppExtension

ROOT = pathlib.Path(__file__).parent.resolve()
DEFAULT_ARCHITECTURES = "8.0;8.6;8.9;9.0+PTX"
# The sources are written against the torch 2.11 stable ABI; the built libraries load in any later torch.
STABLE_ABI = ["-DTORCH_TARGET_VERSION=0x020b000000000000", "-DTORCH_STABLE_ONLY"]
COMMON = ["-std=c++17", "-O3", *STABLE_ABI]


def sources(folder: str, suffix: str) -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / "csrc" / folder).glob(f"*{suffix}"))


def find_cuda_toolkit() -> str | None:
    """The first folder with both the compiler and the runtime header (a lone nvcc wrapper script does not count)."""
    for candidate in (os.environ.get("CUDA_HOME"), "/usr/local/cuda", cpp_extension.CUDA_HOME):
        if candidate and all(
            os.path.exists(os.path.join(candidate, part)) for part in ("bin/nvcc", "include/cuda_runtime.h")
        ):
            return candidate
    return None


def wants_cuda(toolkit: str | None) -> bool:
    choice = os.environ.get("VNLSDENOISE_CUDA")
    if choice not in (None, "0", "1"):
        raise SystemExit(f"VNLSDENOISE_CUDA must be 0 or 1, got {choice!r}")
    if choice == "1" and toolkit is None:
        raise SystemExit("VNLSDENOISE_CUDA=1 needs a CUDA toolkit: set CUDA_HOME to the folder that holds bin/nvcc")
    return choice == "1" or (choice is None and torch.version.cuda is not None and toolkit is not None)


headers = [str(path.relative_to(ROOT)) for path in (ROOT / "csrc").rglob("*.h*")]
headers += [str(path.relative_to(ROOT)) for path in (ROOT / "csrc").rglob("*.cuh")]
depends = headers + sources("cuda", ".cu")
# A CPU torch does not track which headers a CUDA object was made of.
newest = max(os.path.getmtime(ROOT / header) for header in headers)
for built in (ROOT / "build").glob("temp.*/csrc/cuda/*.o"):
    if built.stat().st_mtime < newest:
        built.unlink()
# Neither flag changes a result; without them GCC does not vectorise roundings and comparisons.
vectorising = ["-fno-math-errno", "-fno-trapping-math"]
host_flags = [
    *COMMON,
    *vectorising,
    "-g0",
    "-Wall",
    "-Wextra",
    "-Wno-psabi",
    "-Wno-unused-parameter",
    "-fvisibility=hidden",
    f"-ffile-prefix-map={ROOT}/=",
]
# Debian's gcc passes --as-needed, which would drop libtorch.so from the needed libraries.
link_flags = ["-Wl,--no-as-needed", "-ltorch", "-ltorch_cpu"]

extensions = [
    CppExtension(
        "vnlsdenoise._C",
        ["csrc/ops.cpp", *sources("cpu", ".cpp")],
        include_dirs=[str(ROOT / "csrc")],
        depends=depends,
        extra_compile_args={"cxx": host_flags},
        extra_link_args=link_flags,
        py_limited_api=True,
    )
]

toolkit = find_cuda_toolkit()
if wants_cuda(toolkit):
    cpp_extension.CUDA_HOME = toolkit
    os.environ.setdefault("TORCH_CUDA_ARCH_LIST", DEFAULT_ARCHITECTURES)
    extensions.append(
        CppExtension(
            "vnlsdenoise._C_cuda",
            sources("cuda", ".cu"),
            include_dirs=[str(ROOT / "csrc"), f"{toolkit}/include"],
            library_dirs=[f"{toolkit}/lib64"],
            depends=depends,
            extra_compile_args={
                "cxx": [*COMMON, "-DUSE_CUDA"],
                "nvcc": [*COMMON, "-lineinfo", "-DUSE_CUDA", "-Xcompiler", "-fvisibility=hidden,-g0"],
            },
            extra_link_args=[*link_flags, "-lcudart_static", "-ldl", "-lrt", "-lpthread"],
            py_limited_api=True,
        )
    )

setup(
    ext_modules=extensions,
    cmdclass={"build_ext": BuildExtension},
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
