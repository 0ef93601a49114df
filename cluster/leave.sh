#!/usr/bin/env bash
# Waits until the cloud says that it takes this spot machine away, then tells Ray, so that runs save and go on without it.
#   aign-leave aws|gcp
set -uo pipefail
metadata=${METADATA_URL:-http://169.254.169.254}

noticed_aws() { # not found, as long as the machine may stay
  local token
  token=$(curl -sf -m 2 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$metadata/latest/api/token") &&
    curl -sf -m 2 -H "X-aws-ec2-metadata-token: $token" -o /dev/null "$metadata/latest/meta-data/spot/instance-action"
}

noticed_gcp() {
  [ "$(curl -sf -m 2 -H 'Metadata-Flavor: Google' "$metadata/computeMetadata/v1/instance/preempted")" = TRUE ]
}

case "${1:-}" in
  aws) seconds_left=110 ;; # of two minutes
  gcp) seconds_left=25 ;;  # of half a minute
  *)
    echo 'usage: aign-leave aws|gcp' >&2
    exit 2
    ;;
esac
until "noticed_$1"; do sleep 2; done
until ray drain-node --reason DRAIN_NODE_REASON_PREEMPTION --reason-message 'the cloud takes the machine away' \
  --deadline-remaining-seconds "$seconds_left"; do
  sleep 1
done
