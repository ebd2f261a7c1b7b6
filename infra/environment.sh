# shellcheck shell=bash
# What a login on a cluster's node sees. ~/.bashrc sources it, which `ray submit` and `ray exec`
# read before they run `python ~/tune.py`; Ray's own processes inherit it from `ray start`.
sagan_lab=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PATH="$sagan_lab/.venv/bin:$PATH"
export PYTHONPATH="$sagan_lab"
export RAY_ADDRESS=auto  # the cluster that this node belongs to, not one of this node alone
if [ -f "$sagan_lab/.environment" ]; then
  # shellcheck source=/dev/null
  . "$sagan_lab/.environment"  # what the cluster's file sets besides
fi
