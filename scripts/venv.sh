# Sourced by the other scripts: makes .venv and installs lit_rec with some extras, unless that is done.
#   source scripts/venv.sh quickstart,dev
# PYTHON names another interpreter than python3; it must be 3.11 or later.

extras=$1
python=${PYTHON:-python3}
if ! .venv/bin/python -m pip --version > /dev/null 2>&1; then
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "lit_rec needs Python 3.11 or later; $python is $("$python" --version 2>&1). Set PYTHON=/path/to/python3.11" >&2
    exit 1
  }
  echo "Making .venv with $("$python" --version)"
  "$python" -m venv --clear .venv
fi
stamp=.venv/lit_rec-installed-$extras
if ! cat pyproject.toml constraints.txt | cmp -s - "$stamp"; then
  echo "Installing lit_rec with $extras into .venv (minutes, the first time)"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$extras]"
  cat pyproject.toml constraints.txt > "$stamp"
fi
