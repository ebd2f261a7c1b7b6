#!/usr/bin/env bash
# Makes a node able to run the project that lies around this file, as often as it is called:
# the exact versions of requirements.lock in .venv, and environment.sh in every login.
set -euo pipefail
cd "$(dirname "$0")/.."
project=$PWD
python=${PYTHON:-python3}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "error: $python is not Python 3.11 or newer; set PYTHON to a newer one" >&2
  exit 2
}
# A copy beside the environment, written last, says what is in it.
if ! cmp -s requirements.lock .installed.lock; then
  "$python" -m venv .venv
  .venv/bin/python -m pip install -qq --progress-bar off -r requirements.lock
  cp requirements.lock .installed.lock
fi
# A lock does not say for which processor torch was built.
if nvidia-smi -L >/dev/null 2>&1 &&
  ! .venv/bin/python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
  echo "error: this node has a GPU that its torch cannot use; install torch's CUDA build of the" \
    "version in requirements.lock (pip install --index-url) into $project/.venv, or a driver" >&2
  exit 2
fi
line=". \"$project/infra/environment.sh\""
touch "$HOME/.bashrc"
grep -qxF "$line" "$HOME/.bashrc" || echo "$line" >>"$HOME/.bashrc"
