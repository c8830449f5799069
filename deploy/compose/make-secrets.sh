#!/bin/sh
# Makes the files that compose.yaml names under `secrets`; what is there already stays.
#
#   ./make-secrets.sh                      # with `lingua` on the PATH
#   LINGUA="docker run --rm --user $(id -u) --volume $PWD/secrets:/out/secrets --workdir /out lingua-scheduler" ./make-secrets.sh
#
# The folder is its owner's alone; the files in it can be read by the containers' users, who have other numbers.
set -eu
cd "$(dirname "$0")"
lingua=${LINGUA:-lingua}

mkdir -p secrets
chmod 700 secrets
made() { [ -s "secrets/$1" ]; }

made keys.toml || $lingua token key --keys secrets/keys.toml
made node.token || $lingua token node --keys secrets/keys.toml --node 'node-*' --expires 365d > secrets/node.token
made admin.token || $lingua token admin --keys secrets/keys.toml --expires 365d > secrets/admin.token
made grafana.password || openssl rand -hex 16 > secrets/grafana.password
# For a trial. Where others come, put the certificate of your name there, its chain and its key behind it.
made lingua.pem || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 \
    -subj /CN=localhost -addext 'subjectAltName=DNS:localhost,IP:127.0.0.1' \
    -keyout - -out - 2> /dev/null > secrets/lingua.pem
chmod 644 secrets/*
