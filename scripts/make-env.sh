#!/usr/bin/env bash
# Makes `.env` of `.env.example` with fresh secrets. It never touches a `.env` that is there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ -e .env ]; then
    echo ".env is there already and stays as it is; secrets are changed by hand" >&2
    exit 1
fi
secret() { od -An -tx1 -N32 /dev/urandom | tr -d ' \n'; }
password=$(secret)
umask 077
sed -e "s|^POSTGRES_PASSWORD=.*|POSTGRES_PASSWORD=$password|" \
    -e "s|\${POSTGRES_PASSWORD}|$password|" \
    -e "s|^JWT_SECRET=.*|JWT_SECRET=$(secret)|" \
    -e "s|^BOOTSTRAP_ADMIN_API_KEY=.*|BOOTSTRAP_ADMIN_API_KEY=ss_admin_$(secret)|" \
    -e "s|^VES_SEQUENCER_ID=.*|VES_SEQUENCER_ID=$(cat /proc/sys/kernel/random/uuid)|" \
    -e "s|^VES_SEQUENCER_SIGNING_KEY=.*|VES_SEQUENCER_SIGNING_KEY=$(secret)|" \
    -e "s|^BOWLINE_SECRETS_KEY=.*|BOWLINE_SECRETS_KEY=$(secret)|" \
    .env.example > .env.tmp
mv .env.tmp .env
echo "made .env, readable by you alone; keep a copy of it in a safe place"
