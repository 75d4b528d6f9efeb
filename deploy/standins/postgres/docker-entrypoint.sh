#!/bin/bash
# What the real image does on its first start, for the variables that docker-compose.yml sets.
set -euo pipefail
if [[ ! -s $PGDATA/PG_VERSION ]]; then
  initdb --username="$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" --encoding=UTF8 \
    ${POSTGRES_INITDB_ARGS:-} >/dev/null
  printf 'host all all all scram-sha-256\n' >>"$PGDATA/pg_hba.conf"
  pg_ctl -w -s start -o "-c listen_addresses=''"
  export PGUSER=$POSTGRES_USER PGDATABASE=postgres
  psql -v ON_ERROR_STOP=1 -qc "CREATE DATABASE \"$POSTGRES_DB\"" 2>/dev/null || true
  for script in /docker-entrypoint-initdb.d/*; do
    case $script in *.sh) . "$script" ;; *.sql) psql -v ON_ERROR_STOP=1 -qf "$script" ;; esac
  done
  pg_ctl -w -s stop
fi
exec "$@" -c listen_addresses='*'
