# What the runs beside this file share; they source it. Nothing here runs by itself.
#
# A run sets before: here (its own folder), target (the cargo target folder) and cache (a folder of its own in it), and ends what is started for it: server_pid,
# proxy_pid, postgres_pid.

stop() {
  echo "$1" >&2
  exit 1
}

end_process() { # pid
  [ -n "$1" ] || return 0
  kill "$1" 2>/dev/null || return 0
  for _ in $(seq 100); do
    kill -0 "$1" 2>/dev/null || break
    sleep 0.1
  done
  kill -KILL "$1" 2>/dev/null || true
  wait "$1" 2>/dev/null || true
}

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# A virtual environment in $cache/venv with what a requirements.txt lists, made once per version; $python is its interpreter.
python_with() { # requirements.txt
  command -v python3 >/dev/null || stop "python3 is not installed; this test needs Python 3.10 or later"
  python=$cache/venv/bin/python
  cmp -s "$1" "$cache/installed.txt" && return 0
  echo "installing Python packages (once)"
  rm -rf "$cache/venv" "$cache/installed.txt"
  python3 -m venv "$cache/venv" >"$cache/install.log" 2>&1 || stop "python3 has no venv (Debian/Ubuntu: apt-get install python3-venv); $cache/install.log"
  "$python" -m pip install --quiet --disable-pip-version-check -r "$1" >>"$cache/install.log" 2>&1 ||
    { tail -n 20 "$cache/install.log" >&2; stop "pip could not install the packages (is the index reachable?); all of its output: $cache/install.log"; }
  cp "$1" "$cache/installed.txt"
}

# A PostgreSQL server of its own in a folder, on a free loopback port, without Debian's clusters. It does not run as root, so as root it runs as
# `nobody`. Sets postgres_pid and postgres_url; psql works with it.
start_postgres() { # folder, [-c SETTING ...]
  local bin port as=()
  bin=$(dirname "$(readlink -f "$(command -v initdb || ls /usr/lib/postgresql/*/bin/initdb 2>/dev/null | tail -n 1)")")
  [ -x "$bin/postgres" ] || stop "PostgreSQL is not installed (Debian/Ubuntu: apt-get install postgresql)"
  mkdir -p "$1"
  if [ "$(id -u)" = 0 ]; then
    as=(setpriv --reuid=65534 --regid=65534 --clear-groups env HOME=/nonexistent)
    chown 65534:65534 "$1"
  fi
  (cd "$1" && "${as[@]}" "$bin/initdb" -D "$1/data" -U sudare --auth=trust --no-sync -E UTF8 --locale=C >"$1/initdb.log" 2>&1) || { cat "$1/initdb.log"; stop "initdb failed"; }
  for _ in 1 2 3; do
    port=$(free_port)
    (cd "$1" && exec "${as[@]}" "$bin/postgres" -D "$1/data" -h 127.0.0.1 -p "$port" -k "" "${@:2}") >"$1/output.log" 2>&1 </dev/null &
    postgres_pid=$!
    postgres_url=postgres://sudare@127.0.0.1:$port/postgres
    for _ in $(seq 300); do
      "$bin/pg_isready" -q -h 127.0.0.1 -p "$port" && return 0
      kill -0 "$postgres_pid" 2>/dev/null || break
      sleep 0.1
    done
    end_process "$postgres_pid"
    postgres_pid=
  done
  stop "postgres did not start"
}

# PouchDB Server, from the packages of couchdb/run, installed once per version. Sets pouchdb_server to its program.
pouchdb_server() {
  local packages=$target/interop/couchdb
  for tool in node npm; do
    command -v "$tool" >/dev/null || stop "$tool is not installed; this test needs node 20 or later, with npm"
  done
  [ "$(node -p 'Number(process.versions.node.split(".")[0])')" -ge 20 ] || stop "node $(node --version) is too old; this test needs 20 or later"
  mkdir -p "$packages"
  if ! cmp -s "$here/../couchdb/package.json" "$packages/installed.json"; then
    echo "installing pouchdb-server (about a minute, once)"
    rm -f "$packages/installed.json"
    cp "$here/../couchdb/package.json" "$packages/package.json"
    if ! (cd "$packages" && npm install --no-audit --no-fund --no-package-lock --loglevel=error) >"$packages/install.log" 2>&1; then
      tail -n 20 "$packages/install.log" >&2
      stop "npm could not install the packages (is the registry reachable, is there a C++ compiler?); all of its output: $packages/install.log"
    fi
    cp "$here/../couchdb/package.json" "$packages/installed.json"
  fi
  pouchdb_server=$packages/node_modules/pouchdb-server/bin/pouchdb-server
}

# Starts it on a free port, with its files in a folder. Sets server_pid and server_url.
start_pouchdb() { # folder
  local port
  mkdir -p "$1/data"
  for _ in 1 2 3; do
    port=$(free_port)
    (cd "$1" && exec node "$pouchdb_server" -o 127.0.0.1 -p "$port" -d data -c config.json -n) >"$1/output.log" 2>&1 </dev/null &
    server_pid=$!
    server_url=http://127.0.0.1:$port
    for _ in $(seq 300); do
      python3 -c "import urllib.request; assert b'express-pouchdb' in urllib.request.urlopen('$server_url/', timeout=5).read()" 2>/dev/null && return 0
      kill -0 "$server_pid" 2>/dev/null || break
      sleep 0.1
    done
    end_process "$server_pid"
    server_pid=
  done
  stop "pouchdb-server did not start"
}

# Makes a configuration of a template: @NAME@ becomes what NAME=... says, every other @CALLER@ the hash of a fresh secret, which goes into a file of its own.
fill_in() { # template, configuration, secrets, [NAME=VALUE ...]
  python3 - "$@" <<'PY'
import base64, hashlib, json, os, re, sys
template, config, secrets_file, *given = sys.argv[1:]
given, secrets = dict(pair.split("=", 1) for pair in given), {}
def value(match):
    if match[1] in given:
        return given[match[1]]
    secret = secrets.setdefault(match[1].lower(), base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip("="))
    return hashlib.sha256(secret.encode()).hexdigest()
open(config, "w").write(re.sub("@([A-Z]+)@", value, open(template).read()))
with open(os.open(secrets_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
    json.dump(secrets, file)
PY
}

# `sudare serve` with $1/sudare.toml, whose ring is made, until it is ready. Uses sudare, its program. Sets config, proxy_pid, address and admin.
start_proxy() { # folder
  config=$1/sudare.toml
  "$sudare" keys init -c "$config" >"$1/keys.log"
  "$sudare" check -c "$config" >"$1/check.log" || { cat "$1/check.log"; stop "sudare check found mistakes"; }
  "$sudare" serve -c "$config" >"$1/stdout.log" 2>"$1/stderr.log" </dev/null &
  proxy_pid=$!
  for _ in $(seq 300); do
    [ "$(grep -c '^listening on ' "$1/stdout.log")" -ge 2 ] && break
    kill -0 "$proxy_pid" 2>/dev/null || stop "sudare serve ended before it was ready"
    sleep 0.1
  done
  address=$(sed -n '/(admin)/!s/^listening on //p' "$1/stdout.log" | head -n 1)
  admin=$(sed -n 's/^listening on \(.*\) (admin)$/\1/p' "$1/stdout.log")
  [ -n "$address" ] || stop "sudare serve did not say where it listens"
}
