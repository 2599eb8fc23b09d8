#!/bin/sh
# Prints an .env for compose.yaml, with new random secrets: sh deploy/new-env.sh ops.example.com > deploy/.env
set -eu
host=${1:?give the name under which people reach the console, such as ops.example.com}
random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
owner=$(random) console=$(random)
cat <<END
COMPOSE_PROFILES=postgres
POSTGRES_PASSWORD=$owner
POSTGRES_CONSOLE_PASSWORD=$console
DATABASE_URL=postgres://opsconsole:$console@postgres:5432/opsconsole
OPSCONSOLE_OWNER_DATABASE_URL=postgres://owner:$owner@postgres:5432/opsconsole
VALKEY_PASSWORD=$(random)
OPSCONSOLE_SECRET_KEY=$(random)$(random)
OPSCONSOLE_ALLOWED_HOSTS=$host
OPSCONSOLE_PUBLIC_URL=https://$host
SQS_QUEUE_URL=
SQS_DLQ_URL=
AWS_DEFAULT_REGION=
SLACK_WEBHOOK_URL=
END
