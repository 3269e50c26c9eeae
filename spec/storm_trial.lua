-- Everything at once: a service whose requests combine what tidegate has, clients that leave anywhere, reloads.
--
-- Not among the suite: `make specs ONLY=spec/storm_trial.lua`.  SEED and ROUNDS in the environment make it
-- another storm, and a longer one.
local cjson = require("cjson")
local raw = require("raw")
local secure = require("secure")
local server = require("server")
local storm = require("storm")

local FIRST_SEED = tonumber(os.getenv("SEED"))
local ROUNDS = tonumber(os.getenv("ROUNDS")) or 1
local CLIENTS = server.sanitized and 70 or 120

local function measure(s)
  local response, why = raw.get(s.port, "/measure", 20)
  if not response or response.status ~= 200 then
    error("/measure: " .. (why or response.body), 0)
  end
  return cjson.decode(response.body)
end

-- Nothing but the one that asks.
local function at_rest(s)
  local now, problem
  local rests = pcall(server.eventually, function()
    local asked, answer = pcall(measure, s)
    problem = not asked and answer
    now = asked and answer or now
    return problem or now.stats.exchanges.open <= 1 and now.stats.connections == 1
      and now.stats.upstream.open == 0
  end, 20)
  if problem then
    local log = s:log_text()
    error(problem .. " " .. table.concat({ tostring(s.process:wait(0)), tostring(select(2, s.process:wait(0))),
      tostring(select(3, s.process:wait(0))) }, " ") .. "\n" .. (server.sanitizer_report(log) or log:sub(-4000)), 0)
  end
  if not rests then
    local top = server.command({ "top", "--once", "--json", "--control", s.control }).stdout
    error(("%s exchanges, %s connections, %s guards are still there: %s"):format(now.stats.exchanges.open,
      now.stats.connections, now.count.guards, top), 0)
  end
  assert.equal(0, now.count.twice)
  return now
end

-- At rest, and with no more of anything than that: what is let go of a little later is waited for.
local function rests_with(s, blocks, fds)
  local now
  local rests = pcall(server.eventually, function()
    now = at_rest(s)
    return now.stats.memory.blocks <= blocks and s:fds() <= fds
  end, 3)
  return rests, now or at_rest(s)
end

-- What was never needed before may stay for the next time it is; what leaks grows each time.
local function leaves_nothing(s, blow)
  blow()
  local before, fds = at_rest(s), s:fds()
  for _ = 1, 4 do
    blow()
    local rests, after = rests_with(s, before.stats.memory.blocks, fds)
    if rests then return after end
    before, fds = after, math.max(fds, s:fds())
  end
  error(("grows: %d blocks, %d descriptors"):format(before.stats.memory.blocks, fds))
end

local function blows(options)
  return function()
    local folder = server.folder()
    server.tls = options.tls and secure.certificate(folder, "localhost")
    local s = server.start({ file = "spec/support/storm_service.lua", workers = options.workers,
      args = { "--quiet", "--control", folder .. "/control" } })
    s.control = folder .. "/control"
    server.tls = nil
    math.randomseed(FIRST_SEED or options.seed)
    for _ = 1, ROUNDS do
      leaves_nothing(s, function()
        storm.blow(s.port, CLIENTS, 24, function(i)
          if options.reload and i % 50 == 25 then s:kill("HUP") end
        end)
      end)
    end
    assert.equal("fine", raw.get(s.port, "/fine", 10).body)
    if os.getenv("STORM_LOG") then server.write(os.getenv("STORM_LOG"), s:log_text()) end
    assert.equal(0, s:stop(30))
    server.remove_folder(folder)
  end
end

describe("a storm", function()
  it("leaves nothing behind: one worker (B15)", blows({ seed = 1, workers = 1 }))
  it("leaves nothing behind: two workers, and reloads (B15, B57)", blows({ seed = 2, workers = 2, reload = true }))
  it("leaves nothing behind: TLS, and reloads (B15, B80)", blows({ seed = 3, workers = 1, reload = true, tls = true }))
end)
