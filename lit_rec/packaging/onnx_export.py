"""A transformer encoder as an ONNX graph: token ids in, unit vectors out, and its int8 form.

Shapes: Q texts, L tokens, D embedding.
"""

import logging
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from tokenizers import Tokenizer
from torch import Tensor, nn

from lit_rec.artifacts.pretrained import default_prompt, load_sentence_transformer
from lit_rec.core import schema
from lit_rec.core.errors import SettingError
from lit_rec.core.files import replaced_when_complete
from lit_rec.inference.backends import is_static_folder

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of operators of packages that are not installed

_OUTPUT = "sentence_embedding"  # with "embedding", the name of a table of weights, the exporter makes an invalid model
_OPSET = 20  # the first whose GELU is one node


def export_onnx(model_dir: Path, *, int8: bool = False) -> Path:
    """Write ``onnx/`` into a model folder: the graph, and a tokenizer that truncates and pads as the model does.

    Transformer, pooling and normalisation become one graph, for any number of texts and tokens. ONNX Runtime computes
    it without torch or transformers, in a smaller image; measured in ``docs/performance.md``.

    Args:
        model_dir: a model folder with a transformer.
        int8: write the graph with int8 weights too, a quarter of the size.

    Returns:
        ``onnx/``.

    Raises:
        ModelFolderError: the model cannot be loaded.
        SettingError: the model is static, or cannot be exported.
    """
    if is_static_folder(model_dir):
        raise SettingError("A static encoder needs no ONNX graph", f"{model_dir} is one", "numpy serves it")
    model = load_sentence_transformer(str(model_dir))
    if default_prompt(model) and not all(getattr(module, "include_prompt", True) for module in model):
        found = f"the pooling of {model_dir} leaves its default prompt out"
        raise SettingError("The graph pools over all tokens of a text", found, "Take --backend torch")
    tokenizer = _tokenizer_of(model)
    folder = model_dir / schema.ONNX
    with replaced_when_complete(folder) as unfinished:
        _write_graph(model, unfinished / schema.ONNX_GRAPH)
        if int8:
            quantize(unfinished / schema.ONNX_GRAPH, unfinished / schema.ONNX_INT8_GRAPH)
        tokenizer.save(str(unfinished / "tokenizer.json"))
    return folder


def quantize(graph: Path, to: Path) -> None:
    """Write a graph whose matrices are int8, with a scale for each column: a quarter of the size, and faster.

    Activations are quantized to uint8 by their range in each batch as it comes ("dynamic" quantization), so nothing
    has to be calibrated on data.

    Args:
        graph: the float32 graph.
        to: the file to write.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as scratch:
        prepared = Path(scratch) / graph.name
        quant_pre_process(str(graph), str(prepared), skip_symbolic_shape=True)
        # reduce_range makes weights of seven bits: eight would overflow the 16-bit sums of CPUs without VNNI.
        quantize_dynamic(str(prepared), str(to), per_channel=True, reduce_range=True, weight_type=QuantType.QInt8)


class _Graph(nn.Module):
    """What is exported: everything after the tokenizer, down to vectors of length 1."""

    def __init__(self, model: "SentenceTransformer") -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        features = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None:
            features["token_type_ids"] = token_type_ids
        embeddings: Tensor = self.model(features)["sentence_embedding"]
        return F.normalize(embeddings[:, : self.model.truncate_dim].float(), dim=-1)


def _write_graph(model: "SentenceTransformer", file: Path) -> None:
    # Two texts of several tokens: the exporter would take a size of 1 for a constant.
    features: dict[str, Any] = dict(model.preprocess(["[+7d w4h14] milk, bread.", "Product: milk."]))
    names = [name for name in ("input_ids", "attention_mask", "token_type_ids") if name in features]
    texts, tokens = torch.export.Dim("texts"), torch.export.Dim("tokens", max=int(model.max_seq_length or 512))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about its own parts
        program = torch.onnx.export(
            _Graph(model).eval(),
            tuple(features[name] for name in names),
            input_names=names,
            output_names=[_OUTPUT],
            dynamic_shapes=tuple({0: texts, 1: tokens} for _ in names),
            opset_version=_OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None, "dynamo exports a program"
    # It holds file names and lines of this machine; without them the same model gives the same file.
    ClearMetadataAndDocStringPass()(program.model)
    program.save(str(file), external_data=False)


def _tokenizer_of(model: "SentenceTransformer") -> Tokenizer:
    """The model's own tokenizer, which truncates and pads as the model does, without transformers."""
    own: Any = model.tokenizer
    backend = getattr(own, "backend_tokenizer", None)
    if backend is None:
        raise SettingError("ONNX needs a fast tokenizer", f"{type(own).__name__} is none", "Take --backend torch")
    tokenizer: Any = Tokenizer.from_str(backend.to_str())
    tokenizer.enable_truncation(int(model.max_seq_length or 512), direction=own.truncation_side)
    tokenizer.enable_padding(direction=own.padding_side, pad_id=own.pad_token_id, pad_token=own.pad_token)
    return tokenizer  # type: ignore[no-any-return]
