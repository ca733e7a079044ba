"""What goes into the image: pinned, and nothing that only training needs."""

from pathlib import Path

import pytest
import yaml
from bentoml._internal.bento.build_config import BentoPathSpec
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "bento" / "requirements"


def requirements_of(file):
    lines = [line.split("#")[0].strip() for line in file.read_text(encoding="utf-8").splitlines()]
    return {canonicalize_name(each.name): each for each in map(Requirement, filter(None, lines))}


@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_requirements_are_pinned_as_they_were_tested(backend):
    pinned = requirements_of(REQUIREMENTS / f"{backend}.txt")
    assert all([one.operator for one in each.specifier] == ["=="] for each in pinned.values())
    assert set(requirements_of(REQUIREMENTS / f"{backend}.in")) <= set(pinned), "python scripts/pin_serving.py"
    tested = requirements_of(ROOT / "constraints.txt")
    for name in set(tested) & set(pinned):
        version = next(iter(pinned[name].specifier)).version.partition("+")[0]
        assert tested[name].specifier.contains(version), f"{name}: python scripts/pin_serving.py"


@pytest.mark.parametrize(
    ("backend", "forbidden"),
    [
        ("onnx", "torch transformers sentence-transformers scikit-learn"),
        ("torch", "onnxruntime onnx torchvision nvidia-cublas-cu12 triton"),
        ("onnx", "lightning torchmetrics wandb datasets polars pyarrow matplotlib pytest"),
        ("torch", "lightning torchmetrics wandb datasets polars pyarrow matplotlib pytest"),
    ],
)
def test_an_image_holds_nothing_that_its_back_end_does_not_need(backend, forbidden):
    assert not set(requirements_of(REQUIREMENTS / f"{backend}.txt")) & set(forbidden.split())


def test_torch_is_the_one_for_the_cpu():
    version = next(iter(requirements_of(REQUIREMENTS / "torch.txt")["torch"].specifier)).version
    assert version.endswith("+cpu")


def test_a_model_store_in_the_repository_is_no_part_of_a_bento():
    """As BentoML matches the patterns when it builds; its paths begin with the folder that it builds in."""
    build = yaml.safe_load((ROOT / "bentofile.yaml").read_text(encoding="utf-8"))
    specs = BentoPathSpec(build["include"], [], str(ROOT))
    for path in (
        "lit_rec/core/schema.py",
        "lit_rec/service/static/index.html",
        "bento/service.py",
        "bento/requirements/onnx.txt",
    ):
        assert (ROOT / path).is_file() or "static" in path
        assert specs.includes(path), path
    for home in ("bentoml_home", "deploy/store"):
        for path in (
            "models/lit_rec/x7/model/model.safetensors",
            "bentos/lit_rec/x7/src/lit_rec/core/schema.py",
            "bento/a.py",
        ):
            assert not specs.includes(f"{home}/{path}"), path
    assert not specs.includes("./README.md")
