"""The exported graph: sizes that are free, int8 near float32, and what is refused."""

import shutil

import numpy as np
import onnx
import pytest

from lit_rec.core.errors import ModelFolderError, SettingError
from lit_rec.inference.backends import OnnxBackend, TorchBackend
from lit_rec.models.encoder import TextEncoder
from lit_rec.packaging.onnx_export import export_onnx, quantize

TEXTS = ["milk", "", "Product: organic milk. Aisle: milk. Department: dairy.", "[+7d w4h14] milk, bread; " * 20]


@pytest.fixture(scope="module")
def int8(onnx_model, tmp_path_factory):
    folder = shutil.copytree(onnx_model, tmp_path_factory.mktemp("int8") / "model")
    quantize(folder / "onnx" / "model.onnx", folder / "onnx" / "model_int8.onnx")
    return folder


def test_int8_is_near(int8):
    cosine = (OnnxBackend(int8, int8=True).encode(TEXTS) * TorchBackend(int8, device="cpu").encode(TEXTS)).sum(axis=1)
    assert cosine.min() > 0.995
    assert cosine.max() < 1 - 1e-7, "something was quantized"
    graph = onnx.load(int8 / "onnx" / "model_int8.onnx")
    onnx.checker.check_model(graph)
    assert "MatMulInteger" in {node.op_type for node in graph.graph.node}


def test_numbers_of_texts_and_tokens_are_free(int8):
    (inputs,) = {tuple(d.dim_param for d in i.type.tensor_type.shape.dim) for i in _graph(int8).input}
    assert all(inputs)
    encoder = OnnxBackend(int8, int8=True)
    for n_texts, n_words in ((1, 0), (1, 90), (70, 3)):
        embeddings = encoder.encode(["milk " * n_words] * n_texts)
        assert embeddings.shape == (n_texts, 16)
        np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)


def _graph(folder):
    return onnx.load(folder / "onnx" / "model_int8.onnx").graph


def test_the_same_model_gives_the_same_graph_without_names_of_files(onnx_model, tmp_path):
    again = shutil.copytree(onnx_model, tmp_path / "elsewhere")
    export_onnx(again)
    files = [folder / "onnx" / "model.onnx" for folder in (onnx_model, again)]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert b".py" not in files[0].read_bytes()


def test_it_is_written_whole_or_not_at_all(tiny_model, tmp_path, monkeypatch):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    before = sorted(folder.rglob("*"))

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("lit_rec.packaging.onnx_export._write_graph", fail)
    with pytest.raises(OSError, match="disk full"):
        export_onnx(folder)
    assert sorted(folder.rglob("*")) == before


def test_what_is_refused(tiny_model, tmp_path):
    TextEncoder(str(tiny_model), kind="static").save(tmp_path / "static")
    with pytest.raises(SettingError, match="needs no ONNX graph"):
        export_onnx(tmp_path / "static")
    with pytest.raises(ModelFolderError, match="No model could be loaded"):
        export_onnx(tmp_path / "nothing")
