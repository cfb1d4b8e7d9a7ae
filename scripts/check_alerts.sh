#!/usr/bin/env bash
# Asks Prometheus' own promtool whether it understands the scrape configuration, the alerts and the dashboard's
# queries, and runs the alerts' unit tests. Takes promtool from Debian's package where it is missing, without installing a service.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

promtool=$(command -v promtool || true)
if [ -z "$promtool" ]; then
  if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    echo "check_alerts: promtool is not here; install Prometheus" >&2
    exit 2
  fi
  echo "check_alerts: fetching promtool from Debian" >&2
  (cd "$folder" && apt-get download -qq prometheus >/dev/null 2>&1) || {
    [ "$(id -u)" -eq 0 ] && apt-get update -qq && (cd "$folder" && apt-get download -qq prometheus >/dev/null 2>&1)
  } || {
    echo "check_alerts: promtool is not here and cannot be fetched; install Prometheus" >&2
    exit 2
  }
  dpkg-deb -x "$folder"/prometheus_*.deb "$folder/debian"
  promtool="$folder/debian/usr/bin/promtool"
fi

# In the containers all files lie in /etc/prometheus.
cp docker/observability/*.yml "$folder"
sed -i "s#/etc/prometheus/#$folder/#" "$folder/prometheus.yml"
"$promtool" check config "$folder/prometheus.yml" >&2
"$promtool" test rules "$folder/alerts_test.yml" >&2

# The dashboard's queries as rules: a JSON string is a YAML string, too.
{
  echo "groups: [{name: dashboard, rules: ["
  sed -n 's/^ *"expr": \(".*"\),\{0,1\}$/\1/p' docker/observability/grafana/dashboards/agent-memory.json |
    sed 's/\$__rate_interval/5m/g; s/\$__range/1h/g' |
    awk '{ print "{record: \"dashboard:query" NR "\", expr: " $0 "}," }'
  echo "]}]"
} >"$folder/dashboard.yml"
"$promtool" check rules "$folder/dashboard.yml" >&2
echo "check_alerts: scrape configuration, alerts and dashboard queries are valid; alerts fire when they should"
