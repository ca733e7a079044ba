#!/usr/bin/env bash
# What tests need that PyPI does not have, from Debian: promtool for the alert rules, Chromium for the page.
set -euo pipefail
missing=()
command -v promtool > /dev/null || missing+=(prometheus)
command -v chromium > /dev/null || missing+=(chromium)
if [ ${#missing[@]} = 0 ]; then exit; fi
install=(apt-get install --yes --no-install-recommends "${missing[@]}")
if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
  echo "Missing programs. On Debian, as root: ${install[*]}" >&2
  exit 1
fi
apt-get update
DEBIAN_FRONTEND=noninteractive "${install[@]}"
