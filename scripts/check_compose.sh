#!/usr/bin/env bash
# Asks Docker Compose whether it understands compose.yaml, and that it insists on a password.
# Needs no Docker engine. Installs Debian's docker-compose where it is missing and we are root.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

find_compose() {
  if command -v docker-compose >/dev/null; then
    compose=(docker-compose)
  elif docker compose version >/dev/null 2>&1; then
    compose=(docker compose)
  else
    return 1
  fi
}

accepts_password() {
  BETTERDB_VALKEY_PASSWORD="$1" "${compose[@]}" -f compose.yaml --profile observability config --quiet
}

if ! find_compose; then
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "check_compose: neither docker-compose nor 'docker compose' is here; install one" >&2
    exit 2
  fi
  echo "check_compose: installing docker-compose from Debian" >&2
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends docker-compose >/dev/null
  find_compose
fi

accepts_password 'a pass$word'
if accepts_password '' 2>/dev/null; then
  echo "check_compose: compose.yaml was accepted without a password" >&2
  exit 1
fi
echo "check_compose: compose.yaml is valid, and refused without a password"
