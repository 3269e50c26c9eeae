-- tg.stats and tg.metrics: what the gateway does, in figures.
local raw = require("raw")
local server = require("server")

local SCRIPT = [[
local tg = require("tidegate")
return { routes = {
  { "/", get = function() return { body = "12345" } end },
  { "/fails", get = function() error("x") end },
  { "/cut", get = function() return { body = function(out) out:write("x") out:flush() error("x") end } end },
  { "/metrics", get = tg.metrics() },
} }
]]

describe("tg.metrics", function()
  it("counts every exchange once, by how it ended and what it was answered, over all workers (B81)", function()
    local s <close> = server.start({ script = SCRIPT, workers = 2 })
    local function samples()
      local response = raw.get(s.port, "/metrics")
      assert.equal("text/plain; version=0.0.4; charset=utf-8", response.headers["content-type"][1])
      local all = {}
      for name, value in response.body:gmatch("\n([%w_]+[^%s]*) ([%d.e+-]+)") do all[name] = tonumber(value) end
      return all
    end
    for _ = 1, 20 do raw.get(s.port, "/") end
    for _ = 1, 3 do raw.get(s.port, "/fails") end
    raw.get(s.port, "/nowhere")
    for _ = 1, 2 do raw.get(s.port, "/cut") end
    local now
    server.eventually(function()
      now = samples()
      return now["tidegate_exchanges_open"] == 1
    end)
    local asked = now["tidegate_exchanges_total"] - 26
    assert.is_true(asked >= 1)
    assert.equal(20 + asked - 1 + 1, now['tidegate_exchanges_ended_total{ending="done"}'])
    assert.equal(5, now['tidegate_exchanges_ended_total{ending="error"}'])
    assert.equal(3, now['tidegate_responses_total{status="5xx"}'])
    assert.equal(1, now['tidegate_responses_total{status="4xx"}'])
    assert.equal(2, now["tidegate_workers"])
    assert.is_true(now["tidegate_body_bytes_total"] >= 100 and now["tidegate_heap_bytes"] >= 0)
    assert.is_true(now["tidegate_uptime_seconds"] > 0)
  end)

  it("has a kind and a help for each metric, as Prometheus reads them", function()
    local s <close> = server.start({ script = SCRIPT })
    local body = raw.get(s.port, "/metrics").body
    for line in body:gmatch("[^\n]+") do
      local fine = line:match("^# HELP tidegate_[%w_]+ .+$") or line:match("^# TYPE tidegate_[%w_]+ %l+$")
        or line:match('^tidegate_[%w_]+ [%d.e+-]+$') or line:match('^tidegate_[%w_]+{%l+="[%w_]+"} [%d.e+-]+$')
      assert.is_truthy(fine, line)
    end
  end)
end)
