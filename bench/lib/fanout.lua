-- fanout.lua - topics against nchan: many subscribers of one, the same events, the same clients, in turns.
local harness = require("harness")
local measure = require("measure")
local output = require("output")
local servers = require("servers")

local COUNT = measure.quick and 1000 or 5000
local ROUNDS = measure.quick and 20 or 40

-- Series of { rounds, burst, bytes }; returns the growth by the subscribers in KiB, and for each series
-- { ns =, median =, most =, kib = }.
local function fan(server, count, stalled, series)
  local argv = { servers.build .. "/fan", tostring(server.pid), tostring(server.port), "/subscribe", "/publish",
    tostring(count), tostring(stalled) }
  for _, one in ipairs(series) do
    for _, value in ipairs(one) do argv[#argv + 1] = tostring(value) end
  end
  local process <close> = assert(harness.spawn(servers.pinned(1, argv), { stdout = "pipe", stderr = "pipe" }))
  if process:wait(300) ~= 0 then error("fan: " .. process:output("stderr")) end
  local lines = process:output("stdout"):gmatch("[^\n]+")
  local growth, results = tonumber(lines()), {}
  for line in lines do
    local ns, median, most, kib = line:match("^(%d+) (%d+) (%d+) (%-?%d+)$")
    results[#results + 1] = { ns = tonumber(ns), median = tonumber(median), most = tonumber(most), kib = tonumber(kib) }
  end
  return growth, results
end

local function compare(ours, theirs)
  -- The first series warms up.
  local series = { { 5, 1, 80 }, { ROUNDS, 1, 80 }, { ROUNDS // 4, 10, 80 } }
  local ratios = { {}, {}, {}, {} }
  local growth, their_growth
  for turn = 1, measure.turns do
    local our_growth, our = fan(ours, COUNT, 0, series)
    local nchan_growth, their = fan(theirs, COUNT, 0, series)
    if turn == 1 then growth, their_growth = our_growth, nchan_growth end
    for i = 1, 2 do
      ratios[i][turn] = our[i + 1].ns / their[i + 1].ns
      ratios[i + 2][turn] = our[i + 1].median / their[i + 1].median
    end
  end
  output.add({ workload = ("event stream: an idle subscriber, of %d: memory"):format(COUNT), ratio = growth / their_growth,
    peer = "nginx+nchan", least = growth / their_growth, most = growth / their_growth, goal = 0.5,
    each_kib = growth / COUNT, peer_each_kib = their_growth / COUNT })
  local names = {
    "event stream: a delivery, one event at a time", "event stream: a delivery, ten events at once",
    "event stream: publish to the last of them, one event", "event stream: publish to the last, ten events",
  }
  local goals = { 0.5, 0.5, 1.0, 1.0 }
  for i, name in ipairs(names) do
    local ratio = measure.median(ratios[i])
    output.add({ workload = name, ratio = ratio, peer = "nginx+nchan", least = ratios[i][1], most = ratios[i][#ratios[i]],
      goal = goals[i] })
  end
end

-- 100 subscribers that do not read, 8,000 bytes an event: enough for every socket to fill up.
local function stalled(ours)
  local series = { { 5, 1, 8000 }, { ROUNDS, 1, 8000 } }
  local _, without = fan(ours, 500, 0, series)
  local _, with = fan(ours, 500, 100, { series[1], { ROUNDS, 20, 8000 }, series[2] })
  output.add({ workload = "event stream: the last of 500, 100 more stalled", growth = true,
    note = ("%.2f of the time without them; each holds %.1f KiB"):format(with[3].median / without[2].median, with[3].kib / 100) })
end

return function(wanted)
  if not wanted("event stream") then return end
  local ours = servers.tidegate({ script = "bench/topics.lua" })
  local starts, theirs = pcall(servers.nginx, "nginx+nchan", "bench/nchan.conf.in")
  if starts then
    compare(ours, theirs)
    servers.stop(theirs)
  else
    output.add({ workload = "event streams", note = "nginx with nchan is missing" })
  end
  stalled(ours)
  servers.stop(ours)
end
