# What the runs beside this file share; they source it. Nothing here runs by itself.
#
# A run sets before: here (its own folder), target (the cargo target folder) and cache (a folder of its own in it). It gets: stop, end_process, free_port,
# python_with, start_postgres, pouchdb_server; and ends what these start itself.

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
  mkdir -p "$packages"
  if ! cmp -s "$here/../couchdb/package.json" "$packages/installed.json"; then
    echo "installing pouchdb-server (about a minute, once)"
    rm -f "$packages/installed.json"
    cp "$here/../couchdb/package.json" "$packages/package.json"
    if ! (cd "$packages" && npm install --no-audit --no-fund --no-package-lock --loglevel=error) >"$packages/install.log" 2>&1; then
      tail -n 20 "$packages/install.log" >&2
      stop "npm could not install the packages; all of its output: $packages/install.log"
    fi
    cp "$here/../couchdb/package.json" "$packages/installed.json"
  fi
  pouchdb_server=$packages/node_modules/pouchdb-server/bin/pouchdb-server
}
