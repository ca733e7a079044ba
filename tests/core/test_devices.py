import pytest
import torch

from lit_rec.core.devices import best_device, default_precision
from lit_rec.core.errors import SettingError


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """Says what torch finds on this machine; nothing but a plain CPU unless told otherwise."""
    monkeypatch.delenv("INFERENCE_DEVICE", raising=False)

    def has(cuda: bool = False, mps: bool = False, cuda_bf16: bool = False, cpu: dict[str, bool] | None = None) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        # With emulation torch says True for every device.
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation=True: cuda_bf16 or including_emulation
        )
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: cpu or {}, raising=False)

    has()
    return has


@pytest.mark.parametrize(
    ("found", "best"),
    [({}, "cpu"), ({"mps": True}, "mps"), ({"cuda": True}, "cuda"), ({"cuda": True, "mps": True}, "cuda")],
)
def test_the_best_device_that_is_there(found: dict[str, bool], best: str, machine) -> None:
    machine(**found)
    assert best_device() == best


def test_what_is_asked_comes_before_the_environment_and_that_before_the_best(machine, monkeypatch) -> None:
    machine(cuda=True, mps=True)
    monkeypatch.setenv("INFERENCE_DEVICE", "mps")
    assert best_device() == "mps"
    assert best_device("cuda:1") == "cuda:1"
    monkeypatch.setenv("INFERENCE_DEVICE", "")
    assert best_device() == "cuda"


@pytest.mark.parametrize("asked", ["cuda", "cuda:0", "tpu"])
def test_a_device_that_is_not_there_is_an_error_that_names_those_that_are(asked: str, monkeypatch) -> None:
    with pytest.raises(SettingError, match=f"'{asked}'.*cpu"):
        best_device(asked)
    monkeypatch.setenv("INFERENCE_DEVICE", asked)
    with pytest.raises(SettingError, match=f"'{asked}'"):
        best_device()


@pytest.mark.parametrize(
    ("accelerator", "found", "precision"),
    [
        ("auto", {}, "32-true"),
        ("cpu", {}, "32-true"),
        ("cpu", {"cpu": {"avx512_bf16": True}}, "bf16-mixed"),
        ("auto", {"cpu": {"amx_bf16": True}}, "bf16-mixed"),
        ("cpu", {"cpu": {"avx2": True}}, "32-true"),
        ("cpu", {"cuda": True, "cuda_bf16": True}, "32-true"),
        ("auto", {"cuda": True, "cuda_bf16": True}, "bf16-mixed"),
        ("gpu", {"cuda": True, "cuda_bf16": True}, "bf16-mixed"),
        ("cuda", {"cuda": True}, "16-mixed"),
        ("auto", {"mps": True, "cpu": {"amx_bf16": True}}, "32-true"),
        ("mps", {"mps": True}, "32-true"),
    ],
)
def test_precision_is_what_the_hardware_computes(accelerator: str, found: dict, precision: str, machine) -> None:
    machine(**found)
    assert default_precision(accelerator) == precision


def test_precision_of_training_does_not_hang_on_the_device_of_serving(machine, monkeypatch) -> None:
    machine(cuda=True, cuda_bf16=True)
    monkeypatch.setenv("INFERENCE_DEVICE", "cpu")
    assert default_precision("auto") == "bf16-mixed"
    monkeypatch.setenv("INFERENCE_DEVICE", "tpu")
    assert default_precision("auto") == "bf16-mixed"
