#!/usr/bin/env bash
# Written by cluster/render.py from settings.toml and templates/gcp_setup.sh: change those.
# What has to be there once before `ray up cluster/gcp.yaml`. Can be run again if it was interrupted, but makes a new
# pair of keys each time: delete the old one.
set -euo pipefail

project={{ gcp.project }}
region={{ gcp.region }}
bucket=gs://{{ gcp.bucket }}
head=aign-head@$project.iam.gserviceaccount.com
worker=aign-worker@$project.iam.gserviceaccount.com
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
umask 077

unless_there() { # describe-command... -- create-command...
  local describe=()
  while [ "$1" != -- ]; do describe+=("$1"); shift; done
  shift
  "${describe[@]}" > /dev/null 2>&1 || "$@"
}

gcloud config set project "$project"
gcloud services enable artifactregistry.googleapis.com cloudresourcemanager.googleapis.com compute.googleapis.com \
  iam.googleapis.com secretmanager.googleapis.com storage.googleapis.com

# The bucket. It is encrypted, as all of Cloud Storage is; parts of uploads that never ended go after a day.
cat > "$scratch/lifecycle.json" <<'JSON'
{"rule": [{"action": {"type": "AbortIncompleteMultipartUpload"}, "condition": {"age": 1}}]}
JSON
unless_there gcloud storage buckets describe "$bucket" -- \
  gcloud storage buckets create "$bucket" --location="$region" --uniform-bucket-level-access --public-access-prevention
gcloud storage buckets update "$bucket" --lifecycle-file="$scratch/lifecycle.json"

# The registry of images.
unless_there gcloud artifacts repositories describe aign --location="$region" -- \
  gcloud artifacts repositories create aign --location="$region" --repository-format=docker

# Who machines are. The head may start and end instances; only it, and none but as a worker.
for name in aign-head aign-worker; do
  unless_there gcloud iam service-accounts describe "$name@$project.iam.gserviceaccount.com" -- \
    gcloud iam service-accounts create "$name"
  gcloud artifacts repositories add-iam-policy-binding aign --location="$region" \
    --member="serviceAccount:$name@$project.iam.gserviceaccount.com" --role=roles/artifactregistry.reader
done
cat > "$scratch/launcher.yaml" <<'YAML'
title: Starts and ends aign's workers
stage: GA
includedPermissions:
  - compute.disks.create
  - compute.instances.create
  - compute.instances.delete
  - compute.instances.get
  - compute.instances.list
  - compute.instances.setLabels
  - compute.instances.setMetadata
  - compute.instances.setServiceAccount
  - compute.subnetworks.use
  - compute.subnetworks.useExternalIp
  - compute.zoneOperations.get
YAML
unless_there gcloud iam roles describe aignLauncher --project="$project" -- \
  gcloud iam roles create aignLauncher --project="$project" --file="$scratch/launcher.yaml"
gcloud projects add-iam-policy-binding "$project" --condition=None \
  --member="serviceAccount:$head" --role="projects/$project/roles/aignLauncher"
gcloud iam service-accounts add-iam-policy-binding "$worker" \
  --member="serviceAccount:$head" --role=roles/iam.serviceAccountUser

# Runs are stored through the S3 form of Cloud Storage, which takes keys. They are the worker's, good for this bucket
# only, and kept as a secret that machines read by their service account.
gcloud storage buckets add-iam-policy-binding "$bucket" --member="serviceAccount:$worker" --role=roles/storage.objectUser
gcloud storage hmac create "$worker" --format='value(metadata.accessId,secret)' > "$scratch/keys"
read -r key secret < "$scratch/keys"
printf 'AWS_ACCESS_KEY_ID=%s\nAWS_SECRET_ACCESS_KEY=%s\n' "$key" "$secret" > "$scratch/storage.env"
unless_there gcloud secrets describe aign-storage -- gcloud secrets create aign-storage
gcloud secrets versions add aign-storage --data-file="$scratch/storage.env"
for account in "$head" "$worker"; do
  gcloud secrets add-iam-policy-binding aign-storage --member="serviceAccount:$account" \
    --role=roles/secretmanager.secretAccessor
done
