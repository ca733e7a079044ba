"""Which device and precision are sound on this machine."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from lit_rec.core.errors import SettingError

Precision = Literal["bf16-mixed", "16-mixed", "32-true"]


def best_device(asked: str | None = None) -> str:
    """A device for inference: what is asked, else ``INFERENCE_DEVICE``, else CUDA, MPS or CPU as they are there.

    Args:
        asked: ``cuda``, ``cuda:1``, ``mps`` or ``cpu``; None to choose.

    Raises:
        SettingError: the device asked for is not on this machine.
    """
    name = asked or os.environ.get("INFERENCE_DEVICE") or ""
    available = _available()
    if not name:
        return available[0]
    if name.partition(":")[0] not in available:
        raise SettingError(f"No device {name!r} here", f"found {', '.join(available)}", "Ask for one of those")
    return name


def default_precision(accelerator: str = "auto") -> Precision:
    """The fastest precision that this accelerator computes in hardware and trains well in.

    bfloat16 where CUDA or the CPU has instructions for it, float16 on older CUDA, else float32: without such
    instructions a CPU is several times slower in bfloat16, and MPS has been seen to give NaN in float16.

    Args:
        accelerator: Lightning's name: ``auto``, ``cuda``, ``gpu``, ``mps`` or ``cpu``.
    """
    kind = _available()[0] if accelerator == "auto" else {"gpu": "cuda"}.get(accelerator, accelerator)
    if kind == "cuda" and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
    if kind == "cpu" and _cpu_has_bfloat16():
        return "bf16-mixed"
    return "32-true"


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread of BLAS, OpenMP and torch: in products of small matrices more only wait for each other.

    Beside other work they take many times the processor time of one.
    """
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


def _available() -> list[str]:
    """Best first."""
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return [kind for kind, is_there in found.items() if is_there]


def _cpu_has_bfloat16() -> bool:
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # not there in older torch
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
