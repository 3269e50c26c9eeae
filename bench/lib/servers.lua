-- servers.lua - starts what is compared: tidegate, nginx, HAProxy, node; each on the first core.
local harness = require("harness")
local raw = require("raw")

local M = {}

M.build = os.getenv("TIDEGATE_BUILD") or "build"
M.dir = assert(harness.mkdtemp())

local running = {}

function M.pinned(cpu, argv)
  return { "taskset", "-c", tostring(cpu), table.unpack(argv) }
end

function M.write(path, text)
  local file <close> = assert(io.open(path, "wb"))
  file:write(text)
end

-- A certificate that all who speak TLS show; made at the first use.
local identity

local function certificate()
  if identity then return identity end
  identity = { cert = M.dir .. "/tls.pem", key = M.dir .. "/tls.key" }
  assert(os.execute(("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -days 2 -nodes -subj /CN=localhost "
    .. "-keyout '%s' -out '%s' 2>/dev/null"):format(identity.key, identity.cert)))
  return identity
end

local function filled(template, values)
  local file <close> = assert(io.open(template))
  return (file:read("a"):gsub("@(%u+)@", values))
end

function M.free_port()
  local socket <close> = assert(harness.listen(0))
  return socket:port()
end

local function started(name, process, port, tls)
  local server = { name = name, process = process, pid = process:pid(), port = port, tls = tls }
  running[#running + 1] = server
  local deadline = harness.now() + 15000
  while true do
    local client = raw.connect(port)
    if client then
      client:close()
      return server
    end
    if harness.now() > deadline then
      error(name .. " does not start: " .. tostring(process:output("stderr")))
    end
    harness.sleep(0.02)
  end
end

function M.stop(server)
  for i, one in ipairs(running) do
    if one == server then table.remove(running, i) break end
  end
  server.process:close()
end

function M.stop_all()
  while running[1] do M.stop(running[#running]) end
end

--- options: script (bench/app.lua), env (a list of NAME=VALUE), workers, tls.
function M.tidegate(options)
  options = options or {}
  local argv = { "env", "BENCH_DIR=" .. M.dir }
  for _, pair in ipairs(options.env or {}) do argv[#argv + 1] = pair end
  for _, word in ipairs({ M.build .. "/tidegate", "run", options.script or "bench/app.lua", "--workers",
    tostring(options.workers or 1), "--quiet", "--listen", "127.0.0.1:0" }) do
    argv[#argv + 1] = word
  end
  if options.tls then
    local files = certificate()
    table.move({ "--tls-cert", files.cert, "--tls-key", files.key }, 1, 4, #argv + 1, argv)
  end
  local process = assert(harness.spawn(M.pinned(0, argv), { stdout = "null", stderr = "pipe" }))
  local line = assert(process:read_line("stderr", 60), "tidegate does not start")
  return started("tidegate", process, tonumber(line:match(":(%d+)$")), options.tls)
end

-- The versions and ciphers that tidegate has by itself.
local NGINX_TLS = [[
ssl_certificate %s;
    ssl_certificate_key %s;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_ciphers ECDHE+AESGCM:ECDHE+CHACHA20;
    ssl_prefer_server_ciphers on;
]]

--- template is one of bench/*.conf.in; values fill it in.
function M.nginx(name, template, values, cpu, tls)
  local port = M.free_port()
  local conf = ("%s/%s.conf"):format(M.dir, values and values.ROLE or "nginx")
  local files = tls and certificate()
  local all = { DIR = M.dir, PORT = port, SSL = tls and " ssl" or "",
    TLS = tls and NGINX_TLS:format(files.cert, files.key) or "" }
  for key, value in pairs(values or {}) do all[key] = value end
  all.BEHIND = all.BEHIND or port
  M.write(conf, filled(template, all))
  local process = assert(harness.spawn(M.pinned(cpu or 0, { "nginx", "-p", "/usr/share/nginx", "-c", conf }),
    { stdout = "null", stderr = "pipe" }))
  return started(name, process, port, tls)
end

function M.haproxy(name, template, values)
  local port = M.free_port()
  local all = { PORT = port, DIR = M.dir }
  for key, value in pairs(values or {}) do all[key] = value end
  M.write(M.dir .. "/haproxy.cfg", filled(template, all))
  local process = assert(harness.spawn(M.pinned(0, { "haproxy", "-db", "-f", M.dir .. "/haproxy.cfg" }),
    { stdout = "null", stderr = "pipe" }))
  return started(name, process, port)
end

function M.node()
  local port = M.free_port()
  local process = assert(harness.spawn(M.pinned(0, { "env", "BENCH_DIR=" .. M.dir, "node", "bench/peer.js", tostring(port) }),
    { stdout = "null", stderr = "pipe" }))
  return started("node", process, port)
end

function M.url(server, target)
  return ("%s://127.0.0.1:%d%s"):format(server.tls and "https" or "http", server.port, target)
end

function M.clean()
  M.stop_all()
  os.execute("rm -rf '" .. M.dir .. "'")
end

return M
