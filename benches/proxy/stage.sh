# shellcheck shell=bash
# The stage that benches/proxy/run and benches/proxy/latency share: nginx as a database, nginx as a pass-through rival, and
# Sudare with six protected fields, all on loopback. Sourced, with `here` and `root` set, and `say` and `die` defined. Leaves:
#   work        a folder, removed at the end, with document.json in it
#   database, keeper, rival   nginx: serves what is stored, keeps what it is sent, passes through; rival_pid is the worker
#   others      with rivals=yes: the names of other pass-through proxies, haproxy and caddy, with port_of and pid_of each
#   headers     the credential and the purpose, a line each
#   audit_root  where audit logs go, unless in work
#   admin       the port of /metrics of what is started next, if there is to be one
#   serve NAME BINARY         starts a Sudare over the database on port ${port_of[NAME]} with process id ${pid_of[NAME]}

# --- what is needed -----------------------------------------------------------------------------------------------------
missing=
command -v wrk >/dev/null || missing="$missing wrk"
command -v curl >/dev/null || missing="$missing curl"
command -v "${extra:-true}" >/dev/null || missing="$missing $extra_package"
others=
if [ "${rivals:-no}" = yes ]; then
  others="haproxy caddy"
  [ -x /usr/sbin/haproxy ] || command -v haproxy >/dev/null || missing="$missing haproxy"
  command -v caddy >/dev/null || missing="$missing caddy"
fi
[ -x /usr/sbin/nginx ] || command -v nginx >/dev/null || missing="$missing nginx-light"
if [ -n "$missing" ]; then
  say "installing$missing"
  # shellcheck disable=SC2086  # a list of packages
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing; } >/dev/null 2>&1 ||
    die "cannot install$missing; install them and run again"
fi
nginx=$(command -v nginx || echo /usr/sbin/nginx)
if [ -z "${SUDARE_BIN:-}" ]; then
  (cd "$root" && cargo build --release --quiet --bin sudare)
  SUDARE_BIN=${CARGO_TARGET_DIR:-$root/target}/release/sudare
fi

# In memory where that is possible: the audit log's disk is not what is measured.
if [ -w /dev/shm ]; then work=$(mktemp -d -p /dev/shm sudare-bench.XXXXXX); else work=$(mktemp -d); fi
pids=()
stop() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT TERM

free_port() {
  local port
  while :; do
    port=$((10000 + RANDOM % 22000)) # below those the system gives to clients
    if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then echo "$port"; return; fi
  done
}
wait_for() { # what, command ...
  local what=$1; shift
  for _ in $(seq 200); do if "$@" 2>/dev/null; then return; fi; sleep 0.05; done
  die "$what did not come up: $(tail -n 5 "$work"/*.err 2>/dev/null)"
}
answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1"); }

# --- the document: 708 bytes, six personal fields -----------------------------------------------------------------------
mkdir -p "$work/www/plain" "$work/www/customers" "$work/bodies" "$work/tmp"
personal='"id":"c-1","name":"Mei Tanaka","address":"101-0047 Tokyo, Chiyoda, Uchikanda 2-1","phone":"+81355501234","email":"mei.tanaka@example.jp","id_card":"123456789018","birth_date":"1987-04-21"'
rest='"tier":"gold","locale":"ja-JP","currency":"JPY","created":"2024-02-11T09:30:00Z","orders":[{"no":48211,"total":12800,"items":3},{"no":48977,"total":3200,"items":1}],"cart":{"items":[],"updated":"2024-05-02T18:12:44Z"},"flags":["newsletter","app"],"note":"'
padding=$((708 - ${#personal} - ${#rest} - 4))
document="{$personal,$rest$(printf "%${padding}s" | tr ' ' x)\"}"
[ ${#document} -eq 708 ] || die "the document has ${#document} bytes"
printf %s "$document" >"$work/document.json"
cp "$work/document.json" "$work/www/plain/document.json"

# --- nginx: the database, one that keeps what it is sent, and the rival -------------------------------------------------
database=$(free_port) keeper=$(free_port) rival=$(free_port)
common() { cat <<CONF
worker_processes 1; daemon off; pid $work/$1.pid; error_log $work/$1.err warn;
events { worker_connections 1024; }
CONF
}
[ "$(id -u)" -eq 0 ] && user="user root;" || user=
http="access_log off; server_tokens off; keepalive_requests 1000000000; keepalive_timeout 75s;
  client_body_temp_path $work/bodies; proxy_temp_path $work/tmp; fastcgi_temp_path $work/tmp; uwsgi_temp_path $work/tmp; scgi_temp_path $work/tmp;"
{ echo "$user"; common database; cat <<CONF
http { $http
  default_type application/json; open_file_cache max=10 inactive=1h; open_file_cache_valid 1h;
  server { listen 127.0.0.1:$database; root $work/www; if (\$request_method = POST) { return 201 '{"ok":true}'; } }
  server { listen 127.0.0.1:$keeper; location / { client_body_in_file_only on; proxy_pass http://127.0.0.1:$database; } }
}
CONF
} >"$work/database.conf"
{ echo "$user"; common rival; cat <<CONF
http { $http
  upstream database { server 127.0.0.1:$database; keepalive 64; keepalive_requests 1000000000; }
  server { listen 127.0.0.1:$rival; location / { proxy_pass http://database; proxy_http_version 1.1; proxy_set_header Connection ""; } }
}
CONF
} >"$work/rival.conf"
for name in database rival; do
  "$nginx" -p "$work" -e "$work/$name.err" -c "$work/$name.conf" 2>>"$work/$name.err" &
  pids+=($!)
done
rival_master=${pids[1]}
wait_for "the database" answers "$database"
wait_for "the rival" answers "$rival"
rival_pid=$(cat /proc/"$rival_master"/task/"$rival_master"/children)
rival_pid=${rival_pid// /}

# --- ours -------------------------------------------------------------------------------------------------------------
secret=$(head -c 32 /dev/urandom | base64 -w0 | tr '+/' '-_' | tr -d =)
cat >"$work/policy.toml" <<'POLICY'
policy = { id = "bench", version = 1 }
[category]
name       = { dpv = "pd:Name", nature = "identifying" }
address    = { dpv = "pd:PhysicalAddress", nature = "identifying" }
phone      = { dpv = "pd:TelephoneNumber", nature = "identifying" }
email      = { dpv = "pd:EmailAddress", nature = "identifying" }
id-card    = { dpv = "pd:OfficialID", nature = "identifying" }
birth-date = { dpv = "pd:BirthDate", nature = "identifying" }
[purpose.registration]
dpv     = "dpv:ServiceRegistration"
basis   = "dpv:ContractPerformance"
callers = ["shop"]
reveal  = { name = "clear", address = "clear", phone = "clear", email = "clear", id-card = "clear", birth-date = "clear" }
POLICY
configure() { # port to listen on, the database's port, what else
  local admin_line=
  [ -z "${admin:-}" ] || admin_line="admin = \"127.0.0.1:$admin\""
  cat <<TOML
controller = "bench"
policy     = "policy.toml"
[listen]
address = "127.0.0.1:$1"
$admin_line
[upstream]
url     = "http://127.0.0.1:$2"
dialect = "rest"
[keys]
ring = "keys/ring.json"
kek  = { provider = "file", path = "keys/kek" }
[store]
url = "redb:store-$1.redb"
[audit]
dir = "${audit_root:-$work}/audit-$1"
[caller.shop]
credential_sha256 = "$(printf %s "$secret" | sha256sum | cut -d' ' -f1)"
[collection.customers]
match   = "/customers/{id}"
rows    = ["\$"]
subject = "{id}"
[collection.customers.field]
name       = "\$.name"
address    = "\$.address"
phone      = "\$.phone"
email      = "\$.email"
id-card    = "\$.id_card"
birth-date = "\$.birth_date"
TOML
}
# One worker, as nginx has one.
export TOKIO_WORKER_THREADS=1
declare -A port_of pid_of
pass_through() { # name, command ...: another proxy, as a plain pass-through with one thread
  local name=$1; shift
  "$@" >"$work/$name.out" 2>"$work/$name.err" &
  pid_of[$name]=$!
  pids+=("$!")
  wait_for "$name" answers "${port_of[$name]}"
}
if [ -n "$others" ]; then
  port_of[haproxy]=$(free_port) port_of[caddy]=$(free_port)
  cat >"$work/haproxy.cfg" <<CONF
global
  nbthread 1
defaults
  mode http
  http-reuse always
  timeout connect 5s
  timeout client 75s
  timeout server 75s
frontend rival
  bind 127.0.0.1:${port_of[haproxy]}
  default_backend database
backend database
  server database 127.0.0.1:$database
CONF
  pass_through haproxy "$(command -v haproxy || echo /usr/sbin/haproxy)" -db -f "$work/haproxy.cfg"
  cat >"$work/Caddyfile" <<CONF
{
  admin off
  auto_https off
}
http://127.0.0.1:${port_of[caddy]} {
  reverse_proxy 127.0.0.1:$database
}
CONF
  XDG_CONFIG_HOME=$work XDG_DATA_HOME=$work GOMAXPROCS=1 pass_through caddy caddy run --config "$work/Caddyfile" --adapter caddyfile
fi
start() { # name, binary, the database's port
  port_of[$1]=$(free_port)
  configure "${port_of[$1]}" "$3" >"$work/$1.toml"
  [ -e "$work/keys" ] || "$2" keys init -c "$work/$1.toml" >"$work/init.out" 2>"$work/init.err" || die "keys init: $(cat "$work/init.err")"
  "$2" serve -c "$work/$1.toml" >"$work/$1.out" 2>"$work/$1.err" &
  pid_of[$1]=$!
  pids+=("${pid_of[$1]}")
  wait_for "$1" grep -q '^listening on' "$work/$1.out"
}
headers="Sudare-Credential: shop.$secret
Data-Purpose: registration"
ask() { # name, method, target, body's file or nothing: prints the reply's body
  local fields=()
  while IFS= read -r line; do fields+=(-H "$line"); done <<<"$headers"
  [ -n "${4:-}" ] && fields+=(-H 'Content-Type: application/json' --data-binary "@$4")
  curl --silent --show-error --fail-with-body --max-time 10 -X "$2" "${fields[@]}" "http://127.0.0.1:${port_of[$1]}$3"
}

# A sealed document for the database to serve: write one through Sudare and take what arrives.
start keeping "$SUDARE_BIN" "$keeper"
ask keeping POST /customers "$work/document.json" >/dev/null || die "a write failed: $(cat "$work/keeping.err")"
kept=$(find "$work/bodies" -type f | head -n 1)
[ -s "$kept" ] || die "nothing arrived at the database"
cp "$kept" "$work/www/customers/c-1"
kill "${pid_of[keeping]}" && wait "${pid_of[keeping]}" || true
unset 'pids[-1]'
grep -q sdr1 "$work/www/customers/c-1" && ! grep -q Tanaka "$work/www/customers/c-1" || die "what arrived at the database is not sealed"
rm -rf "$work/bodies"; mkdir -p "$work/bodies"

serve() { # name, binary
  start "$1" "$2" "$database"
  [ "$(ask "$1" GET /customers/c-1)" = "$document" ] || die "$1: what is revealed is not what was written"
  [ "$(ask "$1" GET /plain/document.json)" = "$document" ] || die "$1: what passes through is changed"
}
