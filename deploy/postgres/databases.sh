#!/bin/sh
# Runs once, when the volume is empty: a database and an owner for each of its users.
set -eu
create() { # create DATABASE OWNER
  psql -v ON_ERROR_STOP=1 -q --username "$POSTGRES_USER" -d postgres \
    -v name="$1" -v owner="$2" <<'SQL'
SELECT format('CREATE DATABASE %I', :'name')
  WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \gexec
SELECT format('ALTER DATABASE %I OWNER TO %I', :'name', :'owner') \gexec
SELECT format('REVOKE CONNECT ON DATABASE %I FROM PUBLIC', :'name') \gexec
SQL
}
user() { # user NAME, its password from the secret NAME_db; psql reads the file itself
  psql -v ON_ERROR_STOP=1 -q --username "$POSTGRES_USER" -d postgres -v name="$1" <<SQL
\set password \`cat /run/secrets/$1_db\`
SELECT format('CREATE ROLE %I LOGIN PASSWORD %L', :'name', :'password') \gexec
SQL
}
user fabpilot
user mlflow
create fabpilot fabpilot
create mlflow mlflow
create mlflow_accounts mlflow
