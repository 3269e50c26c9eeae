-- on_start, on_stop and check of a service.
local harness = require("harness")
local raw = require("raw")
local server = require("server")
local timed = require("timed")

local SCRIPT = [[
local tg = require("tidegate")
local NUMBER = %d
local started = "no"
return {
  limits = { drain = 0.5, response_timeout = NUMBER == 7 and 0.2 or 60 },
  on_start = function(gateway)
    tg.sleep(0.01)
    started = gateway.worker .. ":" .. gateway.generation
    tg.log.warn("started " .. NUMBER)
    if NUMBER == 13 then error("unlucky") end
  end,
  on_stop = function(gateway)
    tg.sleep(%s)
    tg.log.warn("stopped " .. NUMBER .. " " .. gateway.generation)
  end,
  check = function(gateway)
    if NUMBER == 3 then error("three is not served") end
    if NUMBER == 4 then return false, "nor is four" end
    if NUMBER == 5 then tg.sleep(0.01) error("five has waited") end
    if NUMBER == 7 then tg.sleep(100) end
  end,
  routes = { { "/", get = function() return { body = NUMBER .. " " .. started } end },
    { "/stream", get = function() return { body = function(out) out:write("x") tg.sleep(0.3) out:write("y") end } end } },
}
]]

local function script(number, pause) return SCRIPT:format(number, pause or "0.01") end

describe("a service", function()
  local function reload(s, number)
    server.write(s.script, script(number))
    local seen = #s:log()
    s:kill("HUP")
    return (s:wait_log("reload: ", nil, seen + 1))
  end

  it("is told of its start and its stop, and may wait in both", function()
    local s = server.start({ script = script(1) })
    s:wait_log("warn started 1$")
    assert.equal("1 1:1", raw.get(s.port, "/").body)
    s:stop()
    assert.matches("warn stopped 1 1\n", s:log_text())
  end)

  it("that was replaced is stopped after its last exchange (B57)", function()
    local s <close> = server.start({ script = script(1) })
    local stream <close> = assert(raw.connect(s.port))
    stream:send("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
    local response = stream:read_head()
    stream:read_chunk(response)
    assert.matches("generation 2", reload(s, 2))
    s:wait_log("warn started 2$")
    assert.equal("2 1:2", raw.get(s.port, "/").body)
    assert.is_nil(s:log_text():find("stopped 1", 1, true))
    assert.equal("y", stream:read_chunk(response))
    s:wait_log("warn stopped 1 1$")
  end)

  it("is not held by an on_stop that does not end: the drain limit counts (B61)", timed(function()
    local s = server.start({ script = script(1, "100") })
    s:wait_log("warn started 1$")
    local began = harness.now()
    assert.equal(0, s:stop())
    assert.is_true(harness.now() - began < 5000)
    assert.is_nil(s:log_text():find("stopped", 1, true))
  end))

  it("serves when on_start fails, and says so", function()
    local s <close> = server.start({ script = script(13) })
    s:wait_log("error on_start: .*unlucky")
    assert.equal(200, raw.get(s.port, "/").status)
  end)

  it("whose check fails is not switched to, and does not start (B58)", function()
    local s <close> = server.start({ script = script(1) })
    assert.matches("the last good script serves on: .*three is not served", reload(s, 3))
    assert.matches("the last good script serves on: .*check: nor is four", reload(s, 4))
    assert.matches("the last good script serves on: .*check: .*five has waited", reload(s, 5))
    assert.matches("serves on: .*check: has not ended within limits.response_timeout", reload(s, 7))
    assert.matches("^1 ", raw.get(s.port, "/").body)
    assert.matches("generation 2", reload(s, 6))
    local refused = server.command({ "check", s.script })
    assert.equal(0, refused.exit)
    server.write(s.script, script(4))
    refused = server.command({ "check", s.script })
    assert.equal(1, refused.exit)
    assert.matches("check: nor is four", refused.stderr)
    assert.is_nil(refused.stderr:find("started", 1, true))
  end)

  it("whose check tries the gateway that it was given is tried itself (B58, B71)", function()
    local text = [[
      local tg = require("tidegate")
      return {
        routes = { { "/", get = function() return { status = %d, body = "here" } end } },
        check = function(gateway)
          local response = tg.test.response_for(gateway, "GET", "/")
          assert(response.status == 200 and response.body == "here", "it answers " .. response.status)
        end,
      }]]
    local s <close> = server.start({ script = text:format(200) })
    assert.equal("here", raw.get(s.port, "/").body)
    server.write(s.script, text:format(503))
    local refused = server.command({ "check", s.script })
    assert.equal(1, refused.exit)
    assert.matches("it answers 503", refused.stderr, 1, true)
  end)

  it("starts and stops in each worker", function()
    local s = server.start({ script = script(1), workers = 3 })
    local _, at = s:wait_log("warn started 1$")
    _, at = s:wait_log("warn started 1$", nil, at + 1)
    s:wait_log("warn started 1$", nil, at + 1)
    s:stop()
    local _, count = s:log_text():gsub("warn stopped 1 1\n", "")
    assert.equal(3, count)
  end)
end)
