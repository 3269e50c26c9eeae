-- proxy.lua - tg.proxy against nginx's proxy_pass and HAProxy, before the same server of files, in turns.
local harness = require("harness")
local measure = require("measure")
local output = require("output")
local raw = require("raw")
local servers = require("servers")

local IDLE = measure.quick and 200 or 1000

local PASS = [[proxy_pass http://behind;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header Via "1.1 nginx";
      proxy_buffering off;]]

local function start_tidegate(behind)
  servers.write(servers.dir .. "/proxy.lua", ([[
local tg = require("tidegate")
return { workers = 1, routes = { { "/*path", any = tg.proxy("http://127.0.0.1:%d") } } }
]]):format(behind))
  return servers.tidegate({ script = servers.dir .. "/proxy.lua" })
end

local function compare(name, load, ours, others, goal)
  local best
  for _, other in ipairs(others) do other.ratios = {} end
  for turn = 1, measure.turns do
    local own = measure.cost(ours, load)
    for _, other in ipairs(others) do other.ratios[turn] = own / measure.cost(other.server, load) end
  end
  local all = {}
  for i, other in ipairs(others) do
    local ratio = measure.median(other.ratios)
    all[i] = { name = other.server.name, ratio = ratio }
    if not best or ratio > best.ratio then
      best = { ratio = ratio, name = other.server.name, least = other.ratios[1], most = other.ratios[#other.ratios] }
    end
  end
  output.add({ workload = name, ratio = best.ratio, peer = best.name, least = best.least, most = best.most, goal = goal, peers = all })
end

-- The median in milliseconds, one request after the other on one connection.
local function first_byte(server)
  local client <close> = assert(raw.connect(server.port))
  local times = {}
  for i = 1, measure.quick and 200 or 1000 do
    local start = harness.now()
    client:send("GET /small HTTP/1.1\r\nHost: bench\r\n\r\n")
    client:read_response()
    times[i] = harness.now() - start
  end
  return measure.median(times)
end

local function transfer_growth(name, server, ...)
  local rss = harness.rss_kib(server.pid)
  local most = rss
  local process <close> = assert(harness.spawn(servers.pinned(1, { "curl", "-s", "-o", "/dev/null", "--max-time",
    measure.quick and "3" or "15", ... }), {}))
  repeat
    local done = process:wait(0.02)
    most = math.max(most, harness.rss_kib(server.pid))
  until done
  output.add({ workload = name, memory_kib = most - rss, note = "grows by; below 2048", growth = true })
end

-- Streams whose server has said a head and then nothing: what each takes.
local function idle_streams(count)
  local behind = assert(harness.listen(0, { backlog = 1024 }))
  local server = start_tidegate(behind:port())
  local kept = {}
  local function begin(n)
    for _ = 1, n do
      local client = assert(raw.connect(server.port))
      client:send("GET /events HTTP/1.1\r\nHost: bench\r\n\r\n")
      local connection = assert(behind:accept())
      connection:recv()
      connection:send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
      client:read_until("data: 1\n\n")
      kept[#kept + 1] = { client, connection }
    end
  end
  begin(50)
  local before = harness.rss_kib(server.pid)
  begin(count)
  local each = (harness.rss_kib(server.pid) - before) / count
  servers.stop(server)
  output.add({ workload = ("an idle proxied stream, of %d, each"):format(count), each_kib = each, growth = true,
    note = ("%.1f KiB"):format(each) })
end

return function(wanted)
  if not wanted("proxy") then return end
  servers.write(servers.dir .. "/small", ("x"):rep(100))
  assert(os.execute(("truncate -s 1G %s/large && chmod -R a+rX %s"):format(servers.dir, servers.dir)))
  local root = ("root %s;"):format(servers.dir)
  local starts, files = pcall(servers.nginx, "files", "bench/proxied.conf.in", { ROLE = "files", DOES = root }, 1)
  if not starts then
    output.add({ workload = "proxy", note = "nginx is missing" })
    return
  end
  local slow = servers.nginx("slow", "bench/proxied.conf.in", { ROLE = "slow", DOES = root .. " limit_rate 100m;" }, 1)
  local others = { { server = servers.nginx("nginx", "bench/proxied.conf.in", { ROLE = "proxy", BEHIND = files.port, DOES = PASS }) } }
  local has_haproxy, haproxy = pcall(servers.haproxy, "haproxy", "bench/haproxy.cfg.in", { BEHIND = files.port })
  if has_haproxy then others[2] = { server = haproxy } end
  local ours = start_tidegate(files.port)
  compare("proxy: small requests", measure.requests("/small"), ours, others, 1.5)
  compare("proxy: 1 GiB", measure.transfers("/large", 1), ours, others, 1.0)
  output.add({ workload = "proxy: time to the first byte, added", growth = true, note = ("%.3f ms; nginx adds %.3f ms; below 1"):format(
    first_byte(ours) - first_byte(files), first_byte(others[1].server) - first_byte(files)) })
  transfer_growth("proxy: 1 GiB to a client of 100 MB/s", ours, "--limit-rate", "100M", servers.url(ours, "/large"))
  local behind_slow = start_tidegate(slow.port)
  measure.output_of({ "curl", "-s", "-o", "/dev/null", servers.url(behind_slow, "/small") })
  transfer_growth("proxy: 1 GiB from a server of 100 MB/s", behind_slow, servers.url(behind_slow, "/large"))
  idle_streams(IDLE)
  for _, server in ipairs({ ours, behind_slow, files, slow, others[1].server, haproxy }) do
    if type(server) == "table" then servers.stop(server) end
  end
end
