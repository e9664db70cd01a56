-- Sends one kind of request over and over and, at the end, one line for ./run to read:
--   result <requests> <replies that are no 2xx> <socket errors> <p50 in µs> <p99 in µs>
-- From the environment: METHOD, TARGET, BODY_FILE (may be empty), HEADERS (lines of `name: value`).

local headers = {}
for name, value in (os.getenv("HEADERS") or ""):gmatch("([^:\n]+):%s*([^\n]+)") do
  headers[name] = value
end
local body
local file = os.getenv("BODY_FILE") or ""
if file ~= "" then
  local handle = assert(io.open(file, "rb"))
  body = handle:read("*a")
  handle:close()
  headers["Content-Type"] = "application/json"
end
local bytes

function init()
  bytes = wrk.format(os.getenv("METHOD"), os.getenv("TARGET"), headers, body)
end

function request()
  return bytes
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format("result %d %d %d %d %d\n", summary.requests, e.status, e.connect + e.read + e.write + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
