-- measure.lua - what a server spends on a load: processor time of its process, by turns, and memory.
local harness = require("harness")
local servers = require("servers")

local M = { quick = os.getenv("QUICK") == "1" }

M.turns = M.quick and 3 or 7
M.seconds = M.quick and 1 or 3

--- The value in the middle of a list, which is sorted.
function M.median(list)
  table.sort(list)
  local middle = (#list + 1) // 2
  return #list % 2 == 1 and list[middle] or (list[middle] + list[middle + 1]) / 2
end

--- Runs a load on the second core, to its end, and returns what it printed.
function M.output_of(argv)
  local process <close> = assert(harness.spawn(servers.pinned(1, argv), { stdout = "pipe", stderr = "null" }))
  assert(process:wait(300))
  return process:output("stdout")
end

-- Processor time in seconds that all threads of a process have had, user and system; of those that live.
local function spent_by(pid)
  local sum = 0
  local pipe <close> = assert(io.popen(("cat /proc/%d/task/*/schedstat"):format(pid)))
  for line in pipe:lines() do sum = sum + tonumber(line:match("^%d+")) end
  return sum / 1e9
end

--- Processor time in seconds, user and system, of the server for each unit that load(server) says it did;
--- and by how much it grew for it at most, in KiB, where sample() is called meanwhile.
function M.cost(server, load)
  local rss = harness.rss_kib(server.pid)
  local most = rss
  local before = spent_by(server.pid)
  local units = load(server, function() most = math.max(most, harness.rss_kib(server.pid)) end)
  local spent = spent_by(server.pid) - before
  most = math.max(most, harness.rss_kib(server.pid))
  return spent / units, most - rss
end

-- --- Loads: each a function of (server, sample) that returns how many units it did ---------------------

--- Requests for target as fast as they are answered, over that many connections.
function M.requests(target, connections, ...)
  local more = { ... }
  return function(server)
    local argv = { "wrk", "-t1", "-c" .. (connections or 16), "-d" .. M.seconds, table.unpack(more) }
    argv[#argv + 1] = servers.url(server, target)
    local text = M.output_of(argv)
    local errors = text:match("Non%-2xx or 3xx responses: (%d+)")
    assert(not errors, server.name .. " answers " .. target .. " with errors")
    return tonumber(text:match("(%d+) requests in"))
  end
end

--- Connections with TLS, one after another, each for one request for target: mode is "-new", or "-reuse" where the
--- session is resumed.
function M.handshakes(target, mode, ...)
  local more = { ... }
  return function(server)
    local argv = { "openssl", "s_time", "-connect", "127.0.0.1:" .. server.port, "-www", target, mode, "-time",
      tostring(M.seconds), table.unpack(more) }
    local text = M.output_of(argv)
    return tonumber(text:match("(%d+) connections in %d+ real")) or error(server.name .. " shakes no hands: " .. text)
  end
end

local function run(sample, argv)
  local process <close> = assert(harness.spawn(servers.pinned(1, argv), { stdout = "pipe", stderr = "null" }))
  repeat
    local done = process:wait(0.02)
    sample()
  until done
  return process:output("stdout")
end

--- One after another; a unit is one of them.
function M.transfers(target, count, ...)
  local argv = { "curl", "-s", "-k", "-f", "-o", "/dev/null", "-w", "%{size_download} ", ... }
  return function(server, sample)
    local all = { table.unpack(argv) }
    all[#all + 1] = servers.url(server, target) .. (target:find("?", 1, true) and "&" or "?") .. "n=[1-" .. count .. "]"
    local text = run(sample, all)
    local done = 0
    for _ in text:gmatch("%d+ ") do done = done + 1 end
    assert(done == count, ("%s: %d of %d transfers of %s"):format(server.name, done, count, target))
    return count
  end
end

return M
