# Run in the image, as root, after its packages are installed: takes away what serving does not use.
#   sh slim.sh onnx|torch ARCHITECTURE    such as bert, of transformers; none for a static encoder
set -eu
[ "${BENTOML_CONTAINERIZED:-}" = true ] || { echo "Only for the image: it removes pip" >&2; exit 1; }
packages=$(python -c 'import numpy, pathlib; print(pathlib.Path(numpy.__file__).parents[1])')
find "$packages" -type d \( -name tests -o -name test -o -name __pycache__ \) -prune -exec rm -rf {} +
find "$packages" -name '*.pyi' -delete
rm -rf "$packages"/sqlalchemy/testing "$packages"/alembic/testing "$packages"/numpy/_core/include "$packages"/tzdata
if [ "$1" = onnx ]; then
  imports="onnxruntime, safetensors.numpy, scipy.sparse, tokenizers"
  # Of scipy the ranker uses sparse matrices alone, which do not need the rest.
  find "$packages/scipy" -mindepth 1 -maxdepth 1 -type d ! -name sparse ! -name _lib ! -name _external -exec rm -rf {} +
  rm -rf "$packages"/scipy.libs
  # Nobody quantizes here, and the library for C is the one of Python over again.
  rm -rf "$packages"/onnxruntime/transformers "$packages"/onnxruntime/tools "$packages"/onnxruntime/quantization \
    "$packages"/onnxruntime/capi/libonnxruntime.so.*
  # tokenizers brings the client of a hub along, which a bundle never asks; onnxruntime protobuf, which quantizing needs.
  rm -rf "$packages"/huggingface_hub "$packages"/hf_xet "$packages"/httpx2 "$packages"/httpcore2 "$packages"/google
else
  imports="sentence_transformers"
  # For those who compile against torch, or graphs with it; its own tests; and fast downloads.
  rm -rf "$packages"/torch/include "$packages"/networkx "$packages"/hf_xet "$packages"/setuptools
  find "$packages/torch/bin" -type f ! -name torch_shm_manager -delete
  find "$packages" -type f \( -name '*.pxd' -o -name '*.pyx' -o -name '*.h' -o -name '*.cpp' \) -delete
  # Architectures other than the bundle's, which are imported by name; and what all are generated from.
  find "$packages/transformers/models" -name 'modeling_*.py' ! -path "*/auto/*" ! -path "*/$2/*" -delete
  find "$packages/transformers/models" -name 'modular_*.py' -delete
  [ "$2" = none ] || imports="$imports, transformers.models.$2"
fi
# Bytecode of what serving imports, not of everything: when it runs, its root is read-only.
PYTHONPATH=src python -c "import $imports
import _bentoml_impl.server.serving, _bentoml_impl.worker.service, bentoml_cli.cli
import alembic.command, psycopg, redis, sqlalchemy.dialects.postgresql, sqlalchemy.dialects.sqlite
import lit_rec.packaging.bundle, lit_rec.service.app, lit_rec.service.routes.page"
# What installed all this.
base=$(python -c 'import sys; print(sys._base_executable)')
installers=$("$base" -c 'import pip, pathlib; print(pathlib.Path(pip.__file__).parents[1])')
rm -rf "$(command -v uv)" "$(command -v uvx)" "$installers"/pip "$installers"/setuptools "$installers"/wheel \
  /usr/share/python-wheels /root/.cache /tmp/*
