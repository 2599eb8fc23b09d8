#!/bin/sh
# Creates the role that the console runs with. The owner, which the image creates, only migrates.
set -eu
: "${POSTGRES_CONSOLE_PASSWORD:?}"
psql --no-psqlrc --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
    --set password="$POSTGRES_CONSOLE_PASSWORD" <<'SQL'
CREATE ROLE opsconsole LOGIN PASSWORD :'password';
SQL
